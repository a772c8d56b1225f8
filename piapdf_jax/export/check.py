"""Checks that exported files reproduce JAX's probabilities of the golden frames in every installed runtime."""

import hashlib
import json
import pathlib
import time
from typing import NamedTuple

import numpy as np

from piapdf_jax.export.formats import BY_FILE, FORMATS, Runtime
from piapdf_jax.model_json import FILE_NAME, Model, ModelError, read_model
from piapdf_jax.types import JsonObject

MODEL_FILE, GOLDEN_FILE, CHECK_FILE = FORMATS["onnx"].file, "golden.npz", "check.json"
#: Largest difference of a probability to that of JAX in float32; 8 bits are judged by F1 on labeled frames.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "int8": None}
_RUNS = 3
#: What ``check.json`` repeats of ``model.json``.
_KEPT = ("sha256", "bytes", "parameters", "f1_units", "f1_before", "f1_after")
#: Probabilities nearer than this to 0 or 1 hide what logits differ by.
_SATURATED = 1e-3


class Golden(NamedTuple):
    """Frames [N, S, S, 3] uint8 RGB, probabilities [N, C] float32 of JAX, and the type of the files' weights."""

    frames: np.ndarray
    probabilities: np.ndarray
    dtype: str

    def saturated(self) -> bool:
        """Returns whether no probability could show a difference: all are 0 or 1, or nearly."""
        return bool((np.abs(self.probabilities - 0.5) > 0.5 - _SATURATED).all())


class Result(NamedTuple):
    """What a runtime makes of a file.

    Attributes:
        file: its name.
        runtime: name of the runtime.
        version: of its package, "" where it is not installed.
        difference: the largest of a probability, over all golden frames together and one by one; None where the
            runtime cannot run the file.
        milliseconds: a frame, of all golden frames together; None as above.
        unsupported: why it cannot run the file, else "".
    """

    file: str
    runtime: str
    version: str
    difference: float | None = None
    milliseconds: float | None = None
    unsupported: str = ""


def check(folder: pathlib.Path) -> list[Result]:
    """Runs each file of a folder in each of its runtimes that is installed.

    Args:
        folder: as ``experiments.export`` wrote it.

    Returns:
        One result a file and runtime; one that is not installed has no version and how to install it.

    Raises:
        FileNotFoundError: where a file is missing.
        ModelError: for a file that is not what it should be, or that none of its installed runtimes can read.
    """
    golden = read_golden(folder / GOLDEN_FILE)
    model = read_model(folder)
    _check_golden(folder, golden, model)
    results = []
    for file in model.files:
        results += _check_file(folder, file, model, golden)
    return results


def within(results: list[Result], dtype: str) -> bool:
    """Returns whether some runtime ran each file, and none differs by more than ``TOLERANCES`` allow.

    In 8 bits any number does: what they cost stands beside, in F1.
    """
    ran = {result.file for result in results if result.difference is not None}
    found = [result.difference for result in results if result.difference is not None]
    limit = TOLERANCES[dtype]
    # A difference that is no number is none that is small.
    small = all(np.isfinite(d) if limit is None else d <= limit for d in found)
    return bool(found) and small and ran == {result.file for result in results}


def to_json(folder: pathlib.Path, results: list[Result], golden: Golden) -> str:
    """Returns the text of ``check.json``.

    Args:
        folder: that was checked.
        results: of ``check``.
        golden: its golden frames.
    """
    model = read_model(folder)
    files: dict[str, JsonObject] = {}
    for result in results:
        facts = model.files[result.file]
        kept = {key: facts[key] for key in _KEPT if key in facts}
        entry = files.setdefault(result.file, {**kept, "runtimes": {}})
        entry["runtimes"][result.runtime] = _entry(result)
    found = {
        "dtype": golden.dtype,
        "tolerance": TOLERANCES[golden.dtype],
        "passed": within(results, golden.dtype),
        "saturated": golden.saturated(),
        "files": files,
    }
    return json.dumps(found, indent=1) + "\n"


def described(path: pathlib.Path) -> JsonObject:
    """Returns what ``model.json`` says of every file: its size in bytes and its SHA-256."""
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


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


def _check_golden(folder: pathlib.Path, golden: Golden, model: Model) -> None:
    sides = (model.image_size, model.image_size, 3, len(model.units))
    if (*golden.frames.shape[1:], golden.probabilities.shape[1]) != sides:
        raise ModelError(f"{folder / GOLDEN_FILE} holds the golden frames of another model")
    if not model.files:
        raise ModelError(f"{folder / FILE_NAME} lists no exported file")


def _check_file(folder: pathlib.Path, file: str, model: Model, golden: Golden) -> list[Result]:
    path, facts = folder / file, model.files[file]
    if file not in BY_FILE:
        raise ModelError(f"{folder / FILE_NAME} names {file!r}, which is of no known format")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: export the model again")
    if facts.get("dtype") != golden.dtype:
        raise ModelError(
            f"{folder / GOLDEN_FILE} expects {golden.dtype} in {file}, which has another type"
        )
    # Before anything runs it: some of these files are programs.
    if described(path)["sha256"] != facts.get("sha256"):
        raise ModelError(f"{path} is damaged or belongs to another export than {FILE_NAME}")
    return _results(path, golden)


def _results(path: pathlib.Path, golden: Golden) -> list[Result]:
    results, refused, file = [], [], path.name
    for name, runtime in BY_FILE[file].runtimes.items():
        version = runtime.installed()
        why = runtime.wrong.get(golden.dtype, "") if version else runtime.missing()
        if why:
            words = why if version else f"not installed: {why}"
            results.append(Result(file, name, version, unsupported=words))
            continue
        try:
            results.append(_run(path, name, version, runtime, golden))
        except (ModelError, RuntimeError) as error:  # or a browser that does not start
            refused.append(error)
            results.append(Result(file, name, version, unsupported=str(error)))
    if refused and not any(result.difference is not None for result in results):
        raise refused[0]
    return results


def _run(path: pathlib.Path, name: str, version: str, runtime: Runtime, golden: Golden) -> Result:
    probabilities = runtime.load(path)
    frames, wanted, _ = golden
    try:
        whole = probabilities(frames)
        single = np.concatenate([probabilities(frame[None]) for frame in frames])
        begun = time.perf_counter()
        for _ in range(_RUNS):
            probabilities(frames)
        spent = 1000 * (time.perf_counter() - begun) / _RUNS / len(frames)
    except Exception as error:  # each runtime has its own
        reason = " ".join(str(error).split())[:300]
        return Result(path.name, name, version, unsupported=reason)
    difference = max(float(np.abs(found - wanted).max()) for found in (whole, single))
    # A page tells its own time, without the way there and back.
    spent = getattr(probabilities, "milliseconds", spent)
    return Result(path.name, name, version, difference, spent)


def _entry(result: Result) -> JsonObject:
    entry: JsonObject = {"version": result.version}
    if result.difference is None:
        return {**entry, "unsupported": result.unsupported}
    spent = round(result.milliseconds or 0.0, 3)
    return {**entry, "max_difference": result.difference, "milliseconds_a_frame": spent}
