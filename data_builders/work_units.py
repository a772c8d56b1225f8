"""Units of work (blocks of frames, people, clips) whose records are kept on disk until the data set is whole.

An interrupted build thus resumes where it stopped: each unit is made once, and read back from then on.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_builders import target_files

#: Modules of the core that records depend on, beside everything in this package.
_CORE = (
    *("action_units", "folds", "records", "pi_maps", "pictures"),
    *(f"faces/{name}" for name in ("face", "reading", "dlib_finder", "cropping")),
)


class Made(NamedTuple):
    """What became of a unit.

    Attributes:
        examples: (key, example) of each record.
        faults: (reason, case) of what was left out.
        reused: whether an earlier build had made it.
    """

    examples: Sequence[tuple[str, dict[str, Any]]]
    faults: Sequence[tuple[str, str]] = ()
    reused: bool = False


@dataclasses.dataclass(frozen=True)
class Kept:
    """A function from units to records that caches its results on disk.

    Attributes:
        make: makes a unit; importable by name. A unit holds numbers, text, arrays and tuples or
            dataclasses of them; its attribute ``paths``, where there is one, names the files it is made from.
        folder: of the finished units, one for each recipe; None keeps nothing.
    """

    make: Callable[[Any], Made]
    folder: str | None

    def __call__(self, unit: Any) -> Made:
        """Makes the records of a unit, or reads them where they are on disk."""
        if self.folder is None:
            return self.make(unit)
        path = pathlib.Path(self.folder, f"{digest(self.make, unit)}.npz")
        found = _unpack(target_files.read_arrays(path))
        if found is not None:
            return found
        made = self.make(unit)
        target_files.write_arrays(path, **_pack(made))
        return made


def digest(make: Callable[[Any], Made], unit: Any) -> str:
    """Computes the name of a unit from all that its records depend on, with size and change time of its files."""
    states = [os.stat(path) for path in getattr(unit, "paths", ())]
    told = [
        make.__module__,
        make.__qualname__,
        unit,
        [(state.st_size, state.st_mtime_ns) for state in states],
    ]
    return hashlib.sha256(json.dumps(told, default=_plain).encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=1)
def recipe() -> str:
    """Computes a digest of the sources that make records, and of the libraries whose results they hold.

    Returns:
        Name of a folder for ``Kept`` that other sources or another decoder do not share.
    """
    import cv2
    import simplejpeg

    package = pathlib.Path(__file__).parent
    core = package.parent / "piapdf_jax"
    sources = sorted(package.rglob("*.py")) + [core / f"{name}.py" for name in _CORE]
    versions = f"OpenCV {cv2.__version__}, simplejpeg {simplejpeg.__version__}"
    state = hashlib.sha256(f"{versions}, NumPy {np.__version__}".encode())
    for path in sources:
        state.update(f"\n{path.relative_to(package.parent)}\n".encode() + path.read_bytes())
    return state.hexdigest()[:16]


def recipe_outside(module: str) -> str:
    """Computes a digest of the sources of a builder from outside this package, a second part of the recipe's name.

    Args:
        module: that holds the ``Builder``, imported.

    Returns:
        "" for a builder of this package; else it covers the module and what it has imported from its
        folder or below.
    """
    if module.startswith(f"{__package__}."):
        return ""
    own = sys.modules[module].__file__
    loaded = [getattr(found, "__file__", None) for found in list(sys.modules.values())]
    folder = pathlib.Path(own or "").parent
    beside = sorted({path for path in loaded if path and pathlib.Path(path).is_relative_to(folder)})
    state = hashlib.sha256()
    for path in beside:
        state.update(pathlib.Path(path).read_bytes())
    return f"-{state.hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes().hex()]
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a unit of work may not hold {type(value)}")


def _pack(made: Made) -> dict[str, np.ndarray]:
    """One array a feature: an archive of many small ones would take longer than the work."""
    arrays = {
        "keys": np.array([key for key, _ in made.examples], np.str_),
        "faults": np.array(made.faults, np.str_).reshape(-1, 2),
    }
    for feature in made.examples[0][1] if made.examples else ():
        values = [example[feature] for _, example in made.examples]
        if isinstance(values[0], bytes):
            arrays[f"bytes/{feature}"] = np.frombuffer(b"".join(values), np.uint8)
            arrays[f"ends/{feature}"] = np.cumsum([len(value) for value in values])
        else:
            arrays[f"plain/{feature}"] = np.array(values)
    return arrays


def _unpack(arrays: dict[str, np.ndarray] | None) -> Made | None:
    if arrays is None or not {"keys", "faults"} <= arrays.keys():
        return None
    examples: list[tuple[str, dict[str, Any]]] = [(key, {}) for key in arrays["keys"].tolist()]
    for name, array in arrays.items():
        kind, _, feature = name.partition("/")
        if kind == "bytes":
            ends = arrays[f"ends/{feature}"].tolist()
            data = array.tobytes()
            for (_, example), start, end in zip(examples, [0, *ends], ends, strict=False):
                example[feature] = data[start:end]
        elif kind == "plain":
            values = array.tolist() if array.ndim == 1 else array
            for (_, example), value in zip(examples, values, strict=True):
                example[feature] = value
    faults = [(reason, case) for reason, case in arrays["faults"].tolist()]
    return Made(examples, faults, reused=True)
