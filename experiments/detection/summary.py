"""Writes ``NAME.json``: origin, content and license terms of a table of detections."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
from typing import Any

from experiments.detection.engine import Finished
from experiments.detection.inputs import Input
from experiments.detection.settings import Settings, digest
from piapdf_jax.detector import Detector

#: Grows by 1 with every change of a key or of its meaning.
SCHEMA = 2
_PACKAGES = {"jax": ("jax", "jaxlib", "flax"), "onnx": ("onnxruntime",), "opencv": ()}
_ALWAYS = ("piapdf_jax", "numpy", "opencv-python-headless")
_TIME_OF_DAY = "created"


def fingerprint(source: Input, checksum: str, settings: Settings, detector: Detector) -> str:
    """Returns a digest of all that decides an input's rows."""
    told = {
        "input": [source.text, source.kind, checksum],
        "model": [detector.model.digest, detector.file_sha256, detector.runtime],
        "finder": detector.finder.digest,
        "settings": settings.as_dict(),
    }
    return digest(told)


def build(
    source: Input,
    checksum: tuple[str, int],
    settings: Settings,
    detector: Detector,
    finished: Finished,
    outputs: dict[str, Any],
    mark: str,
) -> dict[str, Any]:
    """Builds the content of ``NAME.json``: the input (SHA-256 and bytes), what made the rows, and their counts.

    ``mark`` is a digest of all that decides it, which ``written_by`` returns.
    """
    model, counts, told = detector.model, finished.counts, finished.description
    return {
        "schema": SCHEMA,
        _TIME_OF_DAY: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "fingerprint": mark,
        "input": {
            "name": source.text,
            "kind": source.kind,
            "sha256": checksum[0],
            "bytes": checksum[1],
        },
        **_made_by(detector, settings),
        "frames": {
            "read": told["read"],
            "expected": told["expected"],
            "looked_at": counts.frames,
            "with_a_face": counts.with_face,
        },
        "faces": counts.faces,
        "reasons": dict(sorted(counts.reasons.items())),
        "notes": list(told["notes"]),
        "faults": faults(finished),
        "stand_ins": model.stand_ins,
        "licences": _licenses(detector, settings),
        "outputs": outputs,
    }


def _made_by(detector: Detector, settings: Settings) -> dict[str, Any]:
    model = detector.model
    return {
        "model": {
            "digest": model.digest,
            "file_sha256": detector.file_sha256,
            "title": model.title,
            "training": model.training,
            "weak_units": weak_units(detector),
        },
        "runtime": detector.runtime,
        "finder": {"name": settings.finder, "digest": detector.finder.digest},
        "versions": versions(detector.runtime),
        "settings": settings.as_dict(),
        "cuts": {f"AU{au:02d}": cut for au, cut in cuts(settings, detector).items()},
    }


def _licenses(detector: Detector, settings: Settings) -> list[dict[str, str]]:
    finder = {
        "of": f"face finder {settings.finder}",
        "terms": detector.finder.license,
        "source": "",
    }
    return [*(license._asdict() for license in detector.model.licences), finder]


def cuts(settings: Settings, detector: Detector) -> dict[int, float | None]:
    """Returns the probability from which each unit counts as present; None where the model has no cut for it."""
    if settings.threshold is None:
        return dict(detector.model.cuts)
    return dict.fromkeys(detector.model.units, settings.threshold)


def weak_units(detector: Detector) -> list[str] | None:
    """Returns the names of units that the detector does not tell well; None where nobody has judged it."""
    weak = detector.model.weak_units
    return None if weak is None else [f"AU{au:02d}" for au in weak]


def versions(runtime: str) -> dict[str, str]:
    """Returns versions of Python and of what decides numbers."""
    found = {"python": platform.python_version()}
    for name in (*_ALWAYS, *_PACKAGES[runtime]):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def write(path: pathlib.Path, told: dict[str, Any]) -> pathlib.Path:
    """Writes it; returns its path."""
    # A name that is no text in UTF-8 is written as escapes.
    text = json.dumps(told, indent=1, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def faults(finished: Finished) -> list[str]:
    """Returns what is wrong with an input that was read, a line each."""
    told = finished.description
    early = [f"ends early: {told['read']} of {told['expected']} frames came"]
    return [*finished.counts.faults, *(early if told["broken"] else [])]


def faults_of(path: pathlib.Path) -> list[str]:
    """Returns the faults that a ``NAME.json`` names."""
    return json.loads(path.read_text(encoding="utf-8"))["faults"]


def files_of(path: pathlib.Path) -> list[str]:
    """Returns the names of the table and of the overlay that a ``NAME.json`` tells of."""
    told = json.loads(path.read_text(encoding="utf-8")).get("outputs", {})
    return [name for name in (told.get("table"), told.get("overlay")) if name]


def written_by(path: pathlib.Path) -> str | None:
    """Returns the fingerprint of a ``NAME.json`` that is there; None where there is none that can be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
