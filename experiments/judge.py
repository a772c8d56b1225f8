"""Judges detectors where they were not made: on another renderer's faces, and on pairs of photographs.

python -m experiments.judge MODEL --tree=DIR --truth=FILE --pairs=DIR
python -m experiments.judge MODEL MODEL --pairs=DIR --half=all --out=judged.json

A MODEL is whatever ``experiments.detect`` takes. Use the first half of the people (by name, the default) for choices,
and the second half only for final results. docs/judge.md says what the numbers mean.
"""

import json
import sys
from typing import Any

from absl import app, flags

from data_builders.registry import import_plugins
from experiments import judged, judged_report
from experiments.judged import Frames, JudgeError
from piapdf_jax import command_line, commands, faces, paths
from piapdf_jax.detector import Detector
from piapdf_jax.model_json import Model, ModelError
from piapdf_jax.runtime.filesystem import replacing

_TREE = flags.DEFINE_string("tree", "", "pictures in BP4D's layout: <subject>/<task>/<frame>.jpg")
_TRUTH = flags.DEFINE_string("truth", "", "npz file of the tree's true labels")
_PAIRS = flags.DEFINE_string("pairs", "", "folder of neutral/NAME and smiling/NAME pictures")
_HALF = flags.DEFINE_enum("half", "first", list(judged.HALVES), "of the people, by name")
_FINDER = flags.DEFINE_enum("finder", faces.DEFAULT_FINDER, list(faces.FINDERS), "finds the faces")
_CROPS = flags.DEFINE_string("crops", "", "folder that keeps what was cut out, for other models")
_OUT = flags.DEFINE_string("out", "", "file of all numbers, such as judged.json")
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers the encoder of an export, repeatable"
)

_MISTAKES = (JudgeError, ModelError, paths.PathError, OSError, ValueError)


def main(arguments: list[str]) -> None:
    """Judges what the flags name; exit code 2 with one line for a mistake."""
    if len(arguments) < 2:
        example = ("MODEL", "--tree=DIR", "--truth=FILE", "--pairs=DIR")
        raise app.UsageError(f"give a model: {commands.python('experiments.judge', *example)}")
    if bool(_TREE.value) != bool(_TRUTH.value):
        raise app.UsageError("--tree and --truth go together")
    if not (_TREE.value or _PAIRS.value):
        raise app.UsageError("give --tree and --truth, or --pairs, or all three")
    command_line.quiet()
    try:
        import_plugins(_PLUGIN.value)
        found = judge(arguments[1:])
        if _OUT.value:
            with replacing(paths.target_file(_OUT.value, "--out")) as part:
                part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except _MISTAKES as error:
        raise app.UsageError(str(error)) from error
    print(judged_report.report(found))


def judge(models: list[str]) -> dict[str, Any]:
    """Judges models on the pictures that the flags name.

    Args:
        models: of ``experiments.detect``.

    Returns:
        What was judged and all numbers; what ``--out`` writes.

    Raises:
        JudgeError: for pictures, labels or a model that cannot be judged.
    """
    detectors = [Detector.load(model, finder=_FINDER.value) for model in models]
    for detector in detectors:
        _check_strange(detector)
    which = _HALF.value
    found: dict[str, Any] = {"half": which, "finder": _FINDER.value}
    told = [_of_model(detector.model) for detector in detectors]
    if _TREE.value:
        folder = paths.local_path(_TREE.value, "--tree")
        truth = paths.local_file(_TRUTH.value, "--truth")
        frames, images, found["tree"] = _shown("tree", judged.tree(folder, truth, which))
        for detector, numbers in zip(detectors, told, strict=True):
            said = judged.said(detector, images)
            numbers["tree"] = judged.by_unit(said, detector.model.units, frames)
            absent, unasked = judged.unknown_units(detector.model.units, frames)
            numbers["tree"] |= {"without_labels": absent, "not_in_model": unasked}
    if _PAIRS.value:
        folder = paths.local_path(_PAIRS.value, "--pairs")
        frames, images, found["pairs"] = _shown("pairs", judged.pairs(folder, which))
        for detector, numbers in zip(detectors, told, strict=True):
            said = judged.said(detector, images)
            numbers["pairs"] = judged.by_pair(said, detector.model.units, frames)
    return found | {"models": told}


def _of_model(model: Model) -> dict[str, Any]:
    weak = None if model.weak_units is None else list(model.weak_units)
    return {
        "title": model.title,
        "digest": model.digest,
        "units": list(model.units),
        "weak_units": weak,
    }


def _check_strange(detector: Detector) -> None:
    """Refuses a model that learned from a data set in the tree's layout: its people may be those of the tree."""
    names = {data.name.partition("/")[0] for data in detector.model.data}
    if _TREE.value and "bp4d" in names:
        raise JudgeError(
            f"{detector.model.title} {detector.model.digest} was trained on bp4d, the layout of --tree: what it says"
            " of people that it may have seen is no judgment"
        )


def _shown(kind: str, frames: Frames) -> tuple[Frames, Any, dict[str, Any]]:
    """Pictures in which a face is found, their crops, and what is said of all."""
    print(
        f"{kind}: {len(frames.paths)} pictures of {len(set(frames.subject))} people",
        file=sys.stderr,
    )
    kept = None
    if _CROPS.value:
        kept = (
            paths.local_path(_CROPS.value, "--crops") / f"{kind}_{_HALF.value}_{_FINDER.value}.npz"
        )
    images, rows = judged.crops(
        frames, _FINDER.value, kept, lambda line: print(f"{kind}: {line}", file=sys.stderr)
    )
    if not len(rows):
        raise JudgeError(f"no face is found in any of the {len(frames.paths)} pictures of --{kind}")
    people = sorted(set(frames.subject.tolist()))
    facts = {"people": people, "pictures": len(frames.paths), "faces": len(rows)}
    missed = sorted(set(range(len(frames.paths))) - set(rows.tolist()))
    facts["missed"] = ["/".join(frames.paths[row].parts[-3:]) for row in missed]
    return frames.of(rows), images, facts


if __name__ == "__main__":
    command_line.run(main, arguments=100)
