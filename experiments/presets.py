"""Named groups of settings: ``--set model=tiny`` for sizes of networks, ``--set df=chosen`` for feedback."""

import dataclasses
from typing import Any

from experiments.sections import FeedbackSection
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.feedback_options import FeedbackOptions

#: The paper's networks as its experiments start them.
FULL_SIZE = dataclasses.replace(MODELS["b1"], pretrained="imagenet")
#: Settings that say what feedback is. Lengths, rates, batches and data are those of each configuration.
_OF_FEEDBACK = (
    *(f.name for f in dataclasses.fields(FeedbackOptions) if not f.metadata.get("runtime_only")),
    *("optimizer", "start", "judge_subjects", "relabel_fraction", "unlabeled_ratio"),
    "finetune_steps",
)
_PRINTED = {
    field.name: field.default
    for field in dataclasses.fields(FeedbackSection)
    if field.name in _OF_FEEDBACK
}
#: Steps of fine-tuning a step of feedback, where it is as chosen.
_FINETUNED = 0.15
#: Names of feedback, and what titles call them.
FEEDBACK = {"paper": "as printed", "chosen": "as chosen"}


def _feedback(name: str, steps: int) -> dict[str, Any]:
    """Settings of a name: ``paper`` is section 3.3 as printed, ``chosen`` what docs/feedback.md found best.

    Args:
        name: key of ``FEEDBACK``.
        steps: of feedback; fine-tuning is a share of them.
    """
    if name == "paper":
        return _PRINTED
    finetuned = {"finetune_steps": round(_FINETUNED * steps)}
    return _PRINTED | {"labels": "matched", "matched_on": "labeled"} | finetuned


def sized(name: str) -> tuple[ModelConfig, int]:
    """Returns the networks of a name, as experiments start them, and the side of their images in pixels."""
    return FULL_SIZE if name == "b1" else MODELS[name], 256 if name.startswith("b") else 128


def with_feedback(section: FeedbackSection, name: str) -> FeedbackSection:
    """Returns a section with the settings of a name; what the name does not set stays."""
    return dataclasses.replace(section, **_feedback(name, section.steps))


def feedback_title(settings: dict[str, Any]) -> str:
    """Returns what a table calls the feedback of a configuration's section ``df``, as JSON holds it.

    A key that is not there has the printed value: the run is older than the key. New people in x_u are told as well,
    which no name sets.
    """
    told = {key: settings.get(key, value) for key, value in _PRINTED.items()}
    asked = settings.get("unlabeled_fraction") and settings.get("unlabeled_dataset")
    people = [f"unlabeled_dataset={asked}"] if asked else []
    for name, title in FEEDBACK.items():
        if told == _feedback(name, settings.get("steps", 0)):
            return ", ".join([title, *people])
    changed = [f"{key}={told[key]}" for key, value in _PRINTED.items() if told[key] != value]
    return f"with {', '.join(changed + people)}"
