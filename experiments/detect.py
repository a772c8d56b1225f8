"""Action units of the faces in pictures, folders, films and cameras: a row for every frame.

python -m experiments.detect PHOTO.jpg FILM.mp4 FOLDER camera:0 --out=units
python -m experiments.detect FILM.mp4 --model=runs/exports/piapdf/0123456789abcdef --out=units --overlay=video

Writes NAME.csv, one row a face of each frame, and NAME.json, which says where it comes from. The same command goes on
where it was stopped.
"""

import math
import os
import pathlib
import signal
import sys
from typing import Any

from absl import app, flags

from data_builders.registry import import_plugins
from experiments.detection.settings import FACES
from experiments.detection.tables import FORMS, KINDS
from piapdf_jax import action_units, command_line, commands, faces, paths

_MODEL = flags.DEFINE_string(
    "model",
    "",
    "folder of an export, or an .onnx file beside its model.json (default: the package's own)",
)
_OUT = flags.DEFINE_string("out", "", "folder of the tables, created if it does not exist")
_RUNTIME = flags.DEFINE_enum(
    "runtime", None, ["jax", "onnx", "opencv"], "what runs the network (default: what fits --model)"
)
_FINDER = flags.DEFINE_enum("finder", faces.DEFAULT_FINDER, list(faces.FINDERS), "finds the faces")
_FACES = flags.DEFINE_enum("faces", "all", list(FACES), "all faces of a frame or the clearest")
_EVERY = flags.DEFINE_integer("every", 1, "look at every N-th frame of a film", lower_bound=1)
_FPS = flags.DEFINE_float(
    "fps", None, "look at so many frames a second of a film", lower_bound=1e-3
)
_START = flags.DEFINE_float("start", 0.0, "seconds of a film to begin at", lower_bound=0.0)
_END = flags.DEFINE_float("end", None, "seconds of a film to end before", lower_bound=0.0)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    "0.5",
    "a unit is present from this probability on; matched: from model.json's cuts",
)
_FORMAT = flags.DEFINE_enum("format", "native", list(FORMS), "columns")
_TABLE = flags.DEFINE_enum("table", "csv", list(KINDS), "kind of table")
_OVERLAY = flags.DEFINE_enum(
    "overlay", "none", ["none", "pictures", "video"], "draw boxes and bars on the frames"
)
_MAPS = flags.DEFINE_list(
    "maps", [], "draw where PI Generator 1 of the run looks for units: AU12,AU6"
)
_RECURSIVE = flags.DEFINE_bool("recursive", False, "look into folders below folders")
_BATCH = flags.DEFINE_integer("batch", 32, "faces of a batch", lower_bound=1, upper_bound=4096)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "processes that decode and find (default: one a core); 0: none", lower_bound=0
)
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers the encoder of the export, repeatable"
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace tables that are there")


def main(arguments: list[str]) -> int:
    """Makes the tables that the flags ask for; returns the exit code, 1 where some input is broken."""
    # Spawned processes import this file again, and find faces without what follows.
    from experiments.detection import command, inputs, progress
    from piapdf_jax.detector import Detector

    if not arguments[1:]:
        example = ("PHOTO", "--out=FOLDER")
        raise app.UsageError(
            f"name pictures, films, folders or camera:0: {commands.python('experiments.detect', *example)}"
        )
    if not _OUT.value:
        raise app.UsageError("--out is not given")
    command_line.quiet()
    try:
        import_plugins(_PLUGIN.value)
        settings = _settings()
        wanted = _outputs()
        detector = Detector.load(
            _MODEL.value or None, runtime=_RUNTIME.value, finder=settings.finder
        )
        _start(detector)
        wanted.out.mkdir(parents=True, exist_ok=True)
        _tell_of(detector)
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from error
    sources, faults = inputs.collect(arguments[1:], recursive=_RECURSIVE.value)
    for line in faults:
        progress.say(f"error: {line}", sys.stderr)
    if _OVERLAY.value != "none" and any(source.kind == "camera" for source in sources):
        raise app.UsageError("--overlay cannot be used with a camera: its frames are not kept")
    workers = _cores() if _WORKERS.value is None else _WORKERS.value
    try:
        faults += command.run(
            sources, settings, detector, wanted, workers=workers, overwrite=_OVERWRITE.value
        )
    except KeyboardInterrupt:
        print("stopped; the same command resumes from there", file=sys.stderr)
        return 128 + signal.SIGINT
    return int(bool(faults))


def _start(detector: Any) -> None:
    """What can be wrong before the first input: no files of the finder."""
    _ = detector.finder
    if detector.runtime == "jax":
        from piapdf_jax import compile_cache

        compile_cache.enable()


def _tell_of(detector: Any) -> None:
    """Whose detector it is where none was named, and which units it does not tell well."""
    from experiments.detection import summary
    from experiments.detection.progress import say

    if not _MODEL.value:
        say(f"no --model: {detector.model.title}, which this package ships, trained on drawn faces")
    if weak := summary.weak_units(detector):
        say(f"weak units, to be read with care: {', '.join(weak)}")


def _settings() -> Any:
    from experiments.detection.settings import Settings

    for flag in (_FPS, _START, _END):
        if flag.value is not None and not math.isfinite(flag.value):
            raise ValueError(f"--{flag.name}={flag.value} is not a number")
    if _END.value is not None and _END.value <= _START.value:
        raise ValueError(f"--end={_END.value} is not after --start={_START.value}")
    return Settings(
        finder=_FINDER.value,
        faces=_FACES.value,
        every=_EVERY.value,
        fps=_FPS.value,
        start=_START.value,
        end=_END.value,
        threshold=_threshold(_THRESHOLD.value),
        batch=_BATCH.value,
    )


def _threshold(text: str) -> float | None:
    if text == "matched":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"--threshold={text} is neither a number from 0 to 1 nor matched")
    return value


def _outputs() -> Any:
    from experiments.detection import maps
    from experiments.detection.outputs import Outputs

    mapped = tuple(dict.fromkeys(map(_unit, _MAPS.value)))
    if mapped and _OVERLAY.value == "none":
        raise ValueError(
            "--maps are drawn on an overlay: give --overlay=pictures or --overlay=video"
        )
    return Outputs(
        out=paths.target_folder(_OUT.value, "--out"),
        form=_FORMAT.value,
        kind=_TABLE.value,
        overlay=_OVERLAY.value,
        mapped=mapped,
        maps=maps.load_maps(_export(), mapped) if mapped else None,
    )


def _export() -> pathlib.Path:
    if not _MODEL.value:
        raise ValueError(
            "--maps needs the run that trained the detector: give its export as --model"
        )
    return paths.local_path(_MODEL.value, "--model")


def _unit(text: str) -> int:
    digits = text.strip().upper().removeprefix("AU")
    if not digits.isdigit() or int(digits) not in action_units.RECORD_AUS:
        raise ValueError(f"--maps: {text!r} is not an action unit; write AU12,AU6")
    return int(digits)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run() -> None:
    """Runs ``python -m experiments.detect`` and ``piapdf-detect``."""
    command_line.as_script(__name__, __doc__)
    command_line.run(main, arguments=10**6)


if __name__ == "__main__":
    run()
