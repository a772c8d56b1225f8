"""Runtimes for the network of a detector: JAX for exports, onnxruntime and OpenCV for .onnx files."""

import hashlib
import importlib.util
import pathlib
from collections.abc import Callable

import numpy as np

from piapdf_jax import commands
from piapdf_jax.model_json import FILE_NAME, Model, ModelError, read_model

#: Of uint8 RGB crops [B, S, S, 3], [B, C] float32.
Probabilities = Callable[[np.ndarray], np.ndarray]

RUNTIMES = ("jax", "onnx", "opencv")
_MODULES = {"jax": "jax", "onnx": "onnxruntime", "opencv": "cv2"}
_SUFFIX = ".onnx"
_INPUT, _OUTPUT = "images", "probabilities"
Prepare = Callable[[np.ndarray], np.ndarray]
#: By what a file takes: pixels of 0 to 255, or of 0 to 1.
PREPARE: dict[str, Prepare] = {
    "uint8": np.ascontiguousarray,
    "float32": lambda crops: crops.astype(np.float32) / np.float32(255),
}


def choose(path: pathlib.Path, runtime: str | None) -> tuple[Model, str, Probabilities]:
    """Loads a model in the runtime that is asked for.

    Args:
        path: folder of an export, or an .onnx file.
        runtime: a name of ``RUNTIMES``; None takes the first that is installed and runs such a path.

    Returns:
        What ``model.json`` says, the runtime's name, and what computes probabilities.

    Raises:
        FileNotFoundError: where there is nothing, or the runtime is not installed.
        ValueError: for another runtime, or one that does not run such a path.
        ModelError: for a file that is not what it should be.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")
    if not path.exists():
        raise FileNotFoundError(f"model {path} does not exist")
    if path.is_file() and path.suffix.lower() != _SUFFIX:
        raise ModelError(f"{path} is neither the folder of an export nor an {_SUFFIX} file")
    able = RUNTIMES[1:] if path.suffix.lower() == _SUFFIX else RUNTIMES[:1]
    if runtime is not None and runtime not in able:
        raise ValueError(_mismatch(path, runtime))
    installed = [name for name in able if importlib.util.find_spec(_MODULES[name])]
    name = runtime or (installed or able)[0]
    if name not in installed:
        raise FileNotFoundError(f"runtime {name}: {_how_to_install(name)}")
    load = {"jax": _jax, "onnx": _onnxruntime, "opencv": _opencv}[name]
    model, probabilities = load(path)
    return model, name, probabilities


def _mismatch(path: pathlib.Path, runtime: str) -> str:
    if path.suffix.lower() == _SUFFIX:
        return f"{path} runs in onnx or opencv, not in jax, which takes the folder of an export"
    command = commands.python("experiments.export", str(path), "--out=FOLDER")
    return f"{path} is not an .onnx file, which runtime {runtime} takes: make one by {command}"


def _how_to_install(name: str) -> str:
    return (
        commands.install("export-check") if name == "onnx" else f"{_MODULES[name]} is not installed"
    )


def _jax(path: pathlib.Path) -> tuple[Model, Probabilities]:
    from piapdf_jax.load import load_export

    return load_export(path)


def _onnxruntime(path: pathlib.Path) -> tuple[Model, Probabilities]:
    import onnxruntime

    model, prepare = _described(path)
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # pybind's, of several kinds
        raise ModelError(f"{path} cannot be read by onnxruntime: {_one_line(error)}") from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([_OUTPUT], {_INPUT: prepare(crops)})[0])

    return model, probabilities


def _opencv(path: pathlib.Path) -> tuple[Model, Probabilities]:
    import cv2

    model, prepare = _described(path)
    try:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(path.read_bytes(), np.uint8))
    except cv2.error as error:
        raise ModelError(f"{path} cannot be read by OpenCV: {_one_line(error)}") from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        net.setInput(prepare(crops), _INPUT)
        return np.array(net.forward(_OUTPUT), np.float32).reshape(len(crops), -1)

    return model, probabilities


def _described(path: pathlib.Path) -> tuple[Model, Prepare]:
    """What ``model.json`` beside a file says, and how crops become the file's input.

    Raises:
        ModelError: for a file that is not ours, or of another export than ``model.json``.
    """
    model = read_model(path.with_name(FILE_NAME))
    data = path.read_bytes()
    if not is_whole(data):
        raise ModelError(
            f"{path} is not an .onnx file of experiments.export, or is damaged or cut off: export it again"
        )
    digest, kind = (property_of(data, key) for key in ("digest", "input"))
    if kind not in PREPARE:
        raise ModelError(f"{path} has an input of kind {kind!r}, unknown to this version")
    if digest != model.digest:
        raise ModelError(
            f"{path} belongs to export {digest}, the {FILE_NAME} beside it to {model.digest}"
        )
    return model, PREPARE[kind]


def property_of(data: bytes, key: str) -> str:
    """Returns a short metadata property of an .onnx file; "" if it is missing.

    In protocol buffers' encoding: the key is field 1, its value field 2, lengths below 128 are one byte. No package
    is needed to read so much of it.
    """
    start = b"\n" + bytes([len(key)]) + key.encode() + b"\x12"
    place = data.rfind(start) + len(start)
    if place < len(start) or place >= len(data):
        return ""
    return data[place + 1 : place + 1 + data[place]].decode("ascii", "replace")


def sealed(data: bytes) -> bytes:
    """Returns an .onnx file with a last property: the SHA-256 of what stands before it.

    In protocol buffers' encoding a message goes on with what is appended: field 14 of a model is a property.
    """
    return data + _seal(data)


def is_whole(data: bytes) -> bool:
    """Returns whether a file ends with the checksum of what stands before it, as ``sealed`` leaves it."""
    length = len(_seal(b""))
    return data[-length:] == _seal(data[:-length])


def _seal(data: bytes) -> bytes:
    value = hashlib.sha256(data).hexdigest().encode()
    entry = b"\n\x06sha256\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
