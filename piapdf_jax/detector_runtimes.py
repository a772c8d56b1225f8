"""What runs the network of a detector: JAX an export, onnxruntime and OpenCV an .onnx file."""

import importlib.util
import pathlib
from collections.abc import Callable

import numpy as np

from piapdf_jax import commands
from piapdf_jax.model_json import Model, ModelError, read_model

#: Of uint8 RGB crops [B, S, S, 3], [B, C] float32.
Probabilities = Callable[[np.ndarray], np.ndarray]

RUNTIMES = ("jax", "onnx", "opencv")
_MODULES = {"jax": "jax", "onnx": "onnxruntime", "opencv": "cv2"}
_SUFFIX = ".onnx"


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
        raise ValueError(f"runtime {runtime!r} is none of {', '.join(RUNTIMES)}")
    if not path.exists():
        raise FileNotFoundError(f"model {path} is not there")
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
    return f"{path} is no .onnx file, which runtime {runtime} takes: make one by {command}"


def _how_to_install(name: str) -> str:
    return (
        commands.install("export-check") if name == "onnx" else f"{_MODULES[name]} is not installed"
    )


def _jax(path: pathlib.Path) -> tuple[Model, Probabilities]:
    from piapdf_jax.load import load_export

    return load_export(path)


def _onnxruntime(path: pathlib.Path) -> tuple[Model, Probabilities]:
    import onnxruntime

    model = _model_beside(path)
    try:
        session = onnxruntime.InferenceSession(
            str(path), providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # pybind's, of several kinds
        raise ModelError(f"{path} cannot be read by onnxruntime: {_one_line(error)}") from error
    digest = session.get_modelmeta().custom_metadata_map.get("digest", "")
    if digest != model.digest:
        raise ModelError(
            f"{path} is of export {digest or 'unknown'}, the {model.digest} of the model.json beside it"
        )
    (entry,) = session.get_inputs()
    as_float = entry.type == "tensor(float)"

    def probabilities(crops: np.ndarray) -> np.ndarray:
        images = crops.astype(np.float32) / np.float32(255) if as_float else crops
        return np.asarray(session.run(None, {entry.name: images})[0])

    return model, probabilities


def _opencv(path: pathlib.Path) -> tuple[Model, Probabilities]:
    import cv2

    model = _model_beside(path)
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise ModelError(f"{path} cannot be read by OpenCV: {_one_line(error)}") from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        net.setInput(np.ascontiguousarray(crops), "images")
        return np.asarray(net.forward("probabilities"), np.float32).reshape(len(crops), -1)

    return model, probabilities


def _model_beside(path: pathlib.Path) -> Model:
    return read_model(path.with_name("model.json"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
