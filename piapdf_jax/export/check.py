"""Whether an .onnx file says in every installed runtime what JAX said of the golden frames; JAX is not needed."""

import hashlib
import importlib.metadata
import json
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.detector_runtimes import RUNTIMES, choose, property_of
from piapdf_jax.model_json import ModelError

MODEL_FILE, GOLDEN_FILE, CHECK_FILE = "model.onnx", "golden.npz", "check.json"
#: Largest difference of a probability to that of JAX in float32.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3}
_PACKAGES = {"onnx": ("onnxruntime",), "opencv": ("opencv-python-headless", "opencv-python")}
_RUNS = 3


class Golden(NamedTuple):
    """Frames [N, S, S, 3] uint8 RGB, probabilities [N, C] float32 of JAX, and the type of the file's weights."""

    frames: np.ndarray
    probabilities: np.ndarray
    dtype: str


class Result(NamedTuple):
    """What a runtime makes of a file.

    Attributes:
        runtime: its name.
        version: of its package.
        difference: the largest of a probability, over all golden frames together and one by one; None where the
            runtime cannot run the file.
        milliseconds: a frame, of all golden frames together; None as above.
        unsupported: why it cannot run the file, else "".
    """

    runtime: str
    version: str
    difference: float | None = None
    milliseconds: float | None = None
    unsupported: str = ""


def check(folder: pathlib.Path) -> list[Result]:
    """Runs the file of a folder in every installed runtime that takes .onnx files.

    Args:
        folder: as ``experiments.export`` wrote it.

    Returns:
        One result a runtime; one that is not installed is left out, one that cannot read the file is unsupported.

    Raises:
        FileNotFoundError: where a file is missing.
        ModelError: for a file that is not what it should be, or that no runtime can read.
    """
    golden = read_golden(folder / GOLDEN_FILE)
    results, refused = [], []
    for runtime in RUNTIMES[1:]:
        version = _version(runtime)
        if not version:
            continue
        try:
            results.append(_run(folder / MODEL_FILE, runtime, version, golden))
        except ModelError as error:
            refused.append(error)
            results.append(Result(runtime, version, unsupported=str(error)))
    if refused and len(refused) == len(results):
        raise refused[0]
    return results


def within(results: list[Result], dtype: str) -> bool:
    """Returns whether some runtime ran the file, and none differs by more than ``TOLERANCES`` allow."""
    found = [result.difference for result in results if result.difference is not None]
    # A difference that is no number is none that is small.
    return bool(found) and all(difference <= TOLERANCES[dtype] for difference in found)


def told(folder: pathlib.Path, results: list[Result], dtype: str, parameters: int | None) -> str:
    """Returns the text of ``check.json``.

    Args:
        folder: that was checked.
        results: of ``check``.
        dtype: of the file's weights.
        parameters: how many the file holds; None where nobody counted.
    """
    runtimes = {}
    for result in results:
        entry: dict[str, Any] = {"version": result.version}
        if result.unsupported:
            entry["unsupported"] = result.unsupported
        else:
            entry["max_difference"] = result.difference
            entry["milliseconds_a_frame"] = round(result.milliseconds or 0.0, 3)
        runtimes[result.runtime] = entry
    file = folder / MODEL_FILE
    found = {
        "file": MODEL_FILE,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
        "parameters": parameters,
        "dtype": dtype,
        "tolerance": TOLERANCES[dtype],
        "passed": within(results, dtype),
        "runtimes": runtimes,
    }
    return json.dumps(found, indent=1) + "\n"


def read_golden(path: pathlib.Path) -> Golden:
    """Reads ``golden.npz``; nothing in it is unpickled.

    Raises:
        FileNotFoundError: where it is missing.
        ModelError: for a file that is not what it should be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: export the model again")
    try:
        with np.load(path, allow_pickle=False) as stored:
            golden = Golden(stored["frames"], stored["probabilities"], str(stored["dtype"]))
    except Exception as error:  # NumPy and its zip files raise all kinds
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} holds no golden frames: {reason}") from error
    frames, probabilities, dtype = golden
    shapes = (frames.ndim, probabilities.ndim, frames.shape[:1] == probabilities.shape[:1])
    types = (frames.dtype, probabilities.dtype, dtype in TOLERANCES)
    if shapes != (4, 2, True) or not len(frames) or types != (np.uint8, np.float32, True):
        raise ModelError(f"{path} holds no golden frames of {', '.join(TOLERANCES)}")
    return golden


def _run(path: pathlib.Path, runtime: str, version: str, golden: Golden) -> Result:
    model, _, probabilities = choose(path, runtime)
    frames, wanted, dtype = golden
    if property_of(path.read_bytes(), "dtype") != dtype:
        raise ModelError(
            f"{path.with_name(GOLDEN_FILE)} says that {path.name} is of {dtype}: it is not"
        )
    sides = (model.image_size, model.image_size, 3, len(model.units))
    if (*frames.shape[1:], wanted.shape[1]) != sides:
        raise ModelError(f"{path.with_name(GOLDEN_FILE)} holds the golden frames of another model")
    try:
        whole = probabilities(frames)
        single = np.concatenate([probabilities(frame[None]) for frame in frames])
        begun = time.perf_counter()
        for _ in range(_RUNS):
            probabilities(frames)
        spent = (time.perf_counter() - begun) / _RUNS / len(frames)
    except Exception as error:  # each runtime has its own
        return Result(runtime, version, unsupported=" ".join(str(error).split())[:300])
    difference = max(float(np.abs(found - wanted).max()) for found in (whole, single))
    return Result(runtime, version, difference, 1000 * spent)


def _version(runtime: str) -> str:
    """Of the installed package; "" where there is none."""
    for name in _PACKAGES[runtime]:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
