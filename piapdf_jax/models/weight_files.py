"""Files of weights: where a published one lies, and arrays by name out of each format. Nothing is unpickled."""

import fcntl
import hashlib
import importlib
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax import commands, paths

_CACHE_VARIABLE = "PIAPDF_WEIGHTS_DIR"


class WeightsError(ValueError):
    """A file of weights is missing or is not what it should be; the message says what to do."""


class Published(NamedTuple):
    """A file that its publisher offers for download.

    Attributes:
        url: where it lies; its last part is the file's name.
        pin: ``algorithm:digits`` of its hash as the publisher gives it; fewer digits than the
            algorithm has are its first ones.
        convention: of its network, a key of ``layers.CONVENTIONS``.
        terms: of its use, and where they stand.
    """

    url: str
    pin: str
    convention: str
    terms: tuple[str, str]


#: First bytes by format; a safetensors file begins with a length and an opening brace instead.
_MAGIC = {"h5": (b"\x89HDF\r\n\x1a\n",), "torch": (b"PK\x03\x04", b"\x80")}
#: The first PyTorch whose ``weights_only`` keeps what it promises, as far as is known.
_SAFE_TORCH = (2, 10)
_SUFFIXES = {
    ".safetensors": "safetensors",
    ".h5": "h5",
    ".hdf5": "h5",
    ".pth": "torch",
    ".pt": "torch",
    ".bin": "torch",
}


def cache_folder() -> pathlib.Path:
    """Returns the folder of downloads: ``PIAPDF_WEIGHTS_DIR``, else below ``~/.cache/piapdf_jax``.

    Raises:
        WeightsError: for what is no folder on this machine, or where no home directory is known.
    """
    named = os.environ.get(_CACHE_VARIABLE)
    try:
        return (
            paths.local_folder(named, _CACHE_VARIABLE) if named else paths.cache_folder("weights")
        )
    except paths.NoHome as error:
        raise WeightsError(f"{error}: name a folder in {_CACHE_VARIABLE}") from error
    except paths.PathError as error:
        raise WeightsError(str(error)) from error


def locate(name: str, known: Mapping[str, Published]) -> pathlib.Path:
    """Returns the file that a name stands for, downloaded where it is a published one that is not there yet.

    Args:
        name: a key of ``known``, or a path.
        known: published files by name.

    Returns:
        The file; a published one has the hash that its publisher gives.

    Raises:
        WeightsError: when there is no such file, it cannot be downloaded, or it is another one.
    """
    if name not in known:
        try:
            path = paths.local_path(name, "file")
        except paths.PathError as error:
            raise WeightsError(str(error)) from error
        if not path.is_file():
            raise WeightsError(
                f"{name!r} is neither a file nor one of {', '.join(('none', *known))}"
            )
        return path.resolve()
    published = known[name]
    path = cache_folder() / published.url.rpartition("/")[2]
    if not path.exists():
        _download(published.url, path)
    algorithm, _, digits = published.pin.partition(":")
    found = file_hash(path, algorithm)
    if not found.startswith(digits):
        raise WeightsError(
            f"{path} is not the file that {published.url} should be: its {algorithm} is {found},"
            f" not {digits}; delete it, and it is downloaded again"
        )
    return path.resolve()


def file_hash(path: pathlib.Path, algorithm: str = "sha256") -> str:
    """Computes the hash of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(url: str, path: pathlib.Path) -> None:
    """Downloads to a path, going on where an earlier try stopped; its hash is the caller's to check."""
    pooch = _module("pooch")
    pooch.get_logger().setLevel("WARNING")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            # Of several processes that want the file, one downloads it and the others wait.
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists():
                # A first hash is the caller's, so that prefixes are pins too.
                pooch.retrieve(
                    url, None, fname=path.name, path=path.parent, downloader=_Resuming(part)
                )
    except OSError as error:
        raise WeightsError(
            f"cannot download {url} ({error}): put that file at {path}, or name one of your own"
        ) from error


class _Resuming:
    """Downloader for pooch, which begins anew by itself: asks for the bytes that ``part`` lacks."""

    def __init__(self, part: pathlib.Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Downloads to ``output_file``, whose name pooch chose."""
        requests = _module("requests")
        have = self.part.stat().st_size
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=30) as response:
            if response.status_code == 416:  # all of it is there
                have = self.part.stat().st_size
            else:
                response.raise_for_status()
                with self.part.open("ab" if response.status_code == 206 else "wb") as file:
                    for chunk in response.iter_content(1 << 16):
                        file.write(chunk)
        shutil.move(self.part, output_file)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads all arrays of a file by name.

    Args:
        path: safetensors, a PyTorch state dict, or Keras's HDF5. The content says which; a suffix
            that says another is refused.

    Returns:
        Name -> array; those of Keras are called ``layer/leaf``.

    Raises:
        WeightsError: for a file of another format, a damaged one, or one that holds more than
            arrays.
    """
    kind = _kind(path)
    readers = {"safetensors": _read_safetensors, "h5": _read_h5, "torch": _read_torch}
    try:
        return readers[kind](path)
    except WeightsError:
        raise
    except Exception as error:  # each library raises what it likes
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} cannot be read as {kind}, it may be damaged: {reason}"
        ) from error


def _kind(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        first = file.read(9)
    found = [kind for kind, magic in _MAGIC.items() if first.startswith(magic)]
    if first[8:] == b"{":
        # The length before the brace may begin as a pickle does.
        found = ["safetensors"]
    expected = _SUFFIXES.get(path.suffix.lower())
    if not found:
        raise WeightsError(f"{path} is neither safetensors nor HDF5 nor a PyTorch state dict")
    if expected and expected != found[0]:
        raise WeightsError(f"{path} is called {path.suffix} but holds {found[0]}: refused")
    return found[0]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        torch = commands.python("pip", "install", "torch")
        command = torch if name == "torch" else commands.install("weights")
        raise WeightsError(f"weights in this form need {name}: {command}") from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    return _module("safetensors.numpy").load_file(path)


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A state dict; ``weights_only`` refuses a pickle that would run anything."""
    torch = _module("torch")
    have = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if have < _SAFE_TORCH:
        least = ".".join(map(str, _SAFE_TORCH))
        raise WeightsError(
            f"{path} is not read with torch {torch.__version__}, which a hostile file can take over"
            f" (CVE-2025-32434, CVE-2026-24747): install torch>={least}, or save it as safetensors"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(torch.is_tensor(x) for x in state.values()):
        raise WeightsError(f"{path} holds more than tensors by name: save its state dict alone")
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def _read_h5(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Keras's older HDF5: a group for each layer, by the layer's name."""
    h5py, arrays = _module("h5py"), {}

    def inside(group: Any, name: str) -> Any:
        # HDF5 would follow a link, and gather a data set's values, from any other file.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise WeightsError(f"{path} links to another place at {name!r}: refused")
        item = group[name]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise WeightsError(f"{path} keeps {name!r} in another file: refused")
        return item

    def visit(group: Any, trail: tuple[str, ...]) -> None:
        for name in group:
            item = inside(group, name)
            if isinstance(item, h5py.Group):
                visit(item, (*trail, name))
            else:
                leaf = name.removesuffix(":0").removeprefix("depthwise_")
                arrays[f"{trail[0] if trail else ''}/{leaf}"] = item[()]

    with h5py.File(path, "r") as file:
        weights = inside(file, "model_weights") if "model_weights" in set(file) else file
        if "layers" in weights and "vars" in weights:
            raise WeightsError(
                f"{path} is Keras's .weights.h5, which numbers layers: save the model as .h5"
            )
        visit(weights, ())
    # A layer that counts up its name when several models are made.
    return {re.sub(r"^normalization(_\d+)?/", "normalization/", k): v for k, v in arrays.items()}
