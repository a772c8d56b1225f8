"""Writes the card of a detector that was trained on drawn strangers: what it is, what it is worth, what it cannot do.

python -m experiments.model_card FOLDER --judged=judged.json --frames=frames.npz

``FOLDER`` is a folder of ``experiments.ship``, whose ``MODEL_CARD.md`` is written; ``--judged`` what
``experiments.judge`` said of it on people whom no choice looked at, ``--frames`` what it said of drawn strangers.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from data_builders.synthetic_faces.wild import behavior, draw
from experiments import frame_table, judged_report, markdown
from experiments.frame_table import FrameTable, FrameTableError
from experiments.shipping import LEAST_AUC
from piapdf_jax import command_line, commands, intervals, paths, person_sums
from piapdf_jax.model_json import License, Model, ModelError, read_model
from piapdf_jax.runtime.filesystem import replacing

_JUDGED = flags.DEFINE_string("judged", "", "what experiments.judge wrote of the export")
_FRAMES = flags.DEFINE_string("frames", "", "frames.npz of the training, of drawn strangers")

FILE_NAME = "MODEL_CARD.md"
#: Upper bounds of melanin, 0 to 1, of drawn people.
TONES = {"light": 1 / 3, "medium": 2 / 3, "dark": 1.0}


class CardError(ValueError):
    """The numbers are not of this detector, or not of drawn strangers; a line that says which."""


def by_skin_tone(table: FrameTable) -> list[tuple[str, ...]]:
    """Returns rows of a table: ROC AUC by unit for drawn people of light, medium and dark skin.

    Args:
        table: frames of drawn strangers.

    Raises:
        CardError: where somebody is no stranger.
    """
    known = set(behavior.subjects())
    if lost := sorted(set(table.subject.tolist()) - known):
        raise CardError(f"{lost[0]!r} is not a person of synthetic_faces/{behavior.KIND}")
    skin = {name: draw.stranger(name).identity.skin for name in sorted(set(table.subject.tolist()))}
    tones = np.array([_tone(skin[name]) for name in table.subject.tolist()])
    labels = table.coded if table.true is None else table.true
    found = []
    for tone in TONES:
        rows = tones == tone
        if not rows.any():
            raise CardError(f"the table of frames has no people with {tone} skin")
        fold = person_sums.auc_pairs(table.probs[rows], labels[rows], table.subject[rows])
        found.append(intervals.summarize([fold]))
    names = [f"AU{au}" for au in table.aus] + ["mean"]
    return [
        (name, *(_number(summary.value[k], summary.low[k], summary.high[k]) for summary in found))
        for k, name in enumerate(names)
    ]


def _tone(skin: float) -> str:
    return next(name for name, most in TONES.items() if skin <= most)


def _number(value: float, low: float, high: float) -> str:
    between = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return "" if np.isnan(value) else f"{value:.2f}{between}"


def card(model: Model, judged: dict[str, Any], table: FrameTable) -> str:
    """Returns the text of the card.

    Args:
        model: what ``model.json`` says of the detector.
        judged: what ``experiments.judge`` said of it alone.
        table: what it said of frames of drawn strangers.

    Raises:
        CardError: for numbers of another export, or where nobody said which units are weak.
    """
    told = [entry["digest"] for entry in judged["models"]]
    if told != [model.digest] or table.digest != model.digest:
        raise CardError(
            f"the numbers are of {', '.join([*told, table.digest])}, and the detector is {model.digest}"
        )
    if model.weak_units is None:
        raise CardError(
            "model.json does not say which units are weak: give experiments.ship --judged"
        )
    lines = [*_origin(model), *_worth(model, judged), *_tones(table), *_LIMITS]
    return "\n".join(lines)


def _origin(model: Model) -> list[str]:
    read = [
        f"- `{data.name}` {data.version}, {data.split}: {data.people} people ({data.training})"
        for data in model.data
    ]
    return [
        f"# Model card: {model.title}, drawn strangers",
        "",
        f"Export `{model.digest}`. Takes aligned RGB faces of {model.image_size} px, gives the probability of",
        f"{len(model.units)} action units: {_listed(model.units)}.",
        "",
        "## What it was trained on",
        "",
        *read,
        "",
        "All of them are drawn by a program. No picture of a person was learned from.",
        "",
        "## License",
        "",
        *(_terms(license) for license in model.licences),
        "",
    ]


def _terms(license: License) -> str:
    source = f" ({license.source})" if license.source else ""
    return f"- {license.of}: {license.terms}{source}"


def _worth(model: Model, judged: dict[str, Any]) -> list[str]:
    weak = model.weak_units or ()
    half = "both halves" if judged["half"] == "all" else f"the {judged['half']} half by name"
    return [
        "## What it is worth where it was not made",
        "",
        f"By `experiments.judge`, people of {half}. The frames are of people whom another program drew.",
        "The pairs are photographs of people, neutral and smiling, in which nobody coded units: a smile raises",
        "AU12 and mostly AU6, and should raise AU1, AU2 and AU15 as often as it lowers them.",
        "",
        judged_report.report(judged),
        "",
        f"**Weak** (below {LEAST_AUC}): {_listed(weak) if weak else 'none'}.",
        "",
    ]


def _tones(table: FrameTable) -> list[str]:
    return [
        "## By drawn skin tone",
        "",
        f"ROC AUC (95 % over people) of {len(set(table.subject.tolist()))} drawn strangers in no training.",
        "Light and dark are numbers of a program: that it does as well on each proves nothing about people.",
        "",
        *markdown.heading(("unit", *TONES)),
        *map(markdown.line, by_skin_tone(table)),
        "",
    ]


_LIMITS = (
    "## What it cannot do",
    "",
    "- It sees muscles that move a face, and not what somebody feels, thinks, means or suffers from.",
    "  Nothing that it says is a diagnosis, and a smile is not joy.",
    "- It was never scored on coded recordings of people: BP4D and DISFA are licensed, and nobody here has them.",
    "- It knows no intensities, no left and right, and no units but these.",
    "- A face at rest that looks like a unit (a low brow, thin lips) is taken for one: compare pictures of one",
    "  person, and not people.",
    "- Children, medical conditions, masks and profiles were not drawn, and no make-up but eye shadow with red lips,",
    "  on three of ten people.",
    "- Three of ten pictures were recorded with 52 to 139 px a side, of which a face is about 0.6 wide: faces below",
    "  about 30 px were not drawn.",
    "- Do not decide anything about anybody with it.",
    "",
)


def _listed(units: Sequence[int]) -> str:
    return ", ".join(f"AU{au}" for au in units)


def main(arguments: list[str]) -> None:
    """Writes the card; exit code 2 with one line for a mistake."""
    if len(arguments) != 2 or not (_JUDGED.value and _FRAMES.value):
        example = ("FOLDER", "--judged=FILE", "--frames=FILE")
        raise app.UsageError(
            f"give a folder, --judged and --frames: {commands.python('experiments.model_card', *example)}"
        )
    try:
        folder = paths.local_path(arguments[1], "folder")
        judged = json.loads(paths.local_file(_JUDGED.value, "--judged").read_text(encoding="utf-8"))
        table = frame_table.read(pathlib.Path(paths.local_file(_FRAMES.value, "--frames")))
        text = card(read_model(folder), judged, table)
        with replacing(folder / FILE_NAME) as part:
            part.write_text(text, encoding="utf-8")
    except (CardError, FrameTableError, ModelError, OSError, KeyError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    print(folder / FILE_NAME)


if __name__ == "__main__":
    command_line.run(main, arguments=1)
