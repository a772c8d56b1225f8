"""File formats of a light detector: how they are written, the packages needed, and the runtimes that run them."""

import importlib.metadata
import importlib.util
import pathlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from piapdf_jax import commands
from piapdf_jax.detector_runtimes import Probabilities, choose
from piapdf_jax.types import JsonObject

if TYPE_CHECKING:
    from piapdf_jax.export.detector_file import Light

#: The version whose private modules litert_file.py calls.
CONVERTER = "litert-converter==0.5.0"


class Wanted(NamedTuple):
    """What every file of a folder has.

    Attributes:
        dtype: of weights and arithmetic.
        input_type: of images.
        calibration: frames [N, S, S, 3] uint8 that show the ranges of activations, for int8; else None.
    """

    dtype: str
    input_type: str
    calibration: np.ndarray | None = None


class Runtime(NamedTuple):
    """What runs a file.

    Attributes:
        title: as tables have it.
        packages: distributions of which one must be installed.
        extra: of this package that installs one; "" where it is no matter of pip.
        load: makes a file's path a function of uint8 frames.
        version: returns that of what is installed, "" for nothing; None asks the distributions.
        wrong: type of weights -> why its numbers are wrong there.
    """

    title: str
    packages: tuple[str, ...]
    extra: str
    load: Callable[[pathlib.Path], Probabilities]
    version: Callable[[], str] | None = None
    wrong: dict[str, str] = {}

    def installed(self) -> str:
        """Returns the version of what is installed; "" where nothing is."""
        if self.version is not None:
            return self.version()
        for name in self.packages:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""

    def missing(self) -> str:
        """Returns how to install it."""
        return commands.install(self.extra) if self.extra else f"install {self.title}"


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        file: its name in a folder.
        write: of a path, a ``detector_file.Light`` and what is wanted; returns what ``model.json`` says beside the
            things that it says of every file.
        runtimes: what runs it, by short name.
        modules: that writing needs.
        extra: of this package that installs them; "" where nothing is needed.
        alone: what must be installed without what it asks for; "" for nothing.
        dtypes: that it can have.
    """

    file: str
    write: Callable[[pathlib.Path, "Light", Wanted], JsonObject]
    runtimes: dict[str, Runtime]
    modules: tuple[str, ...] = ()
    extra: str = ""
    alone: str = ""
    dtypes: tuple[str, ...] = ("float32", "float16")

    def missing(self) -> str:
        """Returns how to install what writing needs; "" where all is there."""
        if all(importlib.util.find_spec(name) is not None for name in self.modules):
            return ""
        told = commands.install(self.extra)
        if self.alone:
            told += f" and {commands.python('pip', 'install', '--no-deps', self.alone)}"
        return told


def _write_onnx(path: pathlib.Path, light: "Light", wanted: Wanted) -> JsonObject:
    from piapdf_jax.export.detector_file import write_file

    if wanted.dtype != "int8":
        write_file(path, light, dtype=wanted.dtype, input_type=wanted.input_type)
        return {}
    from piapdf_jax.export.quantized import quantize_onnx

    write_file(path, light, dtype="float32", input_type=wanted.input_type)
    return quantize_onnx(path, wanted.calibration, wanted.input_type)


def _write_stablehlo(path: pathlib.Path, light: "Light", wanted: Wanted) -> JsonObject:
    from piapdf_jax.export.stablehlo_file import write_stablehlo

    return write_stablehlo(path, light.operations, **_settings(light, wanted))


def _write_litert(path: pathlib.Path, light: "Light", wanted: Wanted) -> JsonObject:
    from piapdf_jax.export.litert_file import write_litert

    model = light.model
    metadata = {"digest": model.digest, "units": " ".join(map(str, model.units))}
    return write_litert(path, light.operations, metadata=metadata, **_settings(light, wanted))


def _write_web(path: pathlib.Path, light: "Light", wanted: Wanted) -> JsonObject:
    from piapdf_jax.export.detector_file import write_file
    from piapdf_jax.export.web_file import write_web
    from piapdf_jax.export.web_runtime import PACKAGE

    with tempfile.TemporaryDirectory() as folder:
        onnx = pathlib.Path(folder) / "model.onnx"
        write_file(onnx, light, dtype=wanted.dtype, input_type=wanted.input_type)
        write_web(path, onnx.read_bytes(), light.model)
    return {"runtime": PACKAGE}


def _settings(light: "Light", wanted: Wanted) -> JsonObject:
    kinds = {"dtype": wanted.dtype, "input_type": wanted.input_type}
    return {"image_size": light.model.image_size, **kinds}


def _load_stablehlo(path: pathlib.Path) -> Probabilities:
    from piapdf_jax.export.stablehlo_file import load_stablehlo

    return load_stablehlo(path)


def _load_litert(path: pathlib.Path) -> Probabilities:
    from piapdf_jax.export.litert_file import load_litert

    return load_litert(path)


def _load_web(path: pathlib.Path) -> Probabilities:
    from piapdf_jax.export.web_check import load_web

    return load_web(path)


def _chromium() -> str:
    from piapdf_jax.export.web_check import browser_version

    return browser_version()


def _loader(runtime: str) -> Callable[[pathlib.Path], Probabilities]:
    return lambda path: choose(path, runtime)[2]


_ONNX = {
    "onnx": Runtime("onnxruntime", ("onnxruntime",), "export-check", _loader("onnx")),
    "opencv": Runtime(
        *("OpenCV", ("opencv-python-headless", "opencv-python"), "", _loader("opencv")),
        wrong={"int8": "OpenCV 5.0 refuses layers of this kind, or says nonsense"},
    ),
}
FORMATS = {
    "onnx": Format(
        *("model.onnx", _write_onnx, _ONNX, ("onnx",), "export"),
        dtypes=("float32", "float16", "int8"),
    ),
    "stablehlo": Format(
        "model.stablehlo", _write_stablehlo, {"jax": Runtime("JAX", ("jax",), "", _load_stablehlo)}
    ),
    "litert": Format(
        *("model.tflite", _write_litert),
        {"litert": Runtime("LiteRT", ("ai-edge-litert",), "litert", _load_litert)},
        *(("litert_converter", "ai_edge_quantizer"), "litert"),
        # With what it asks for it does not go beside chex; nothing of that is used here.
        *(CONVERTER, ("float32", "float16", "int8")),
    ),
    "web": Format(
        *("model.html", _write_web),
        {"chromium": Runtime("Chromium", (), "", _load_web, _chromium)},
        *(("onnx",), "export"),
    ),
}
#: Name of a file -> its format.
BY_FILE = {found.file: found for found in FORMATS.values()}
