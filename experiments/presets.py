"""Several settings under one name: ``--set model=tiny`` for sizes of networks, ``--set df=chosen`` for feedback."""

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
#: ``paper``: section 3.3 as printed; ``chosen``: what the study on drawn faces found best, docs/feedback.md.
FEEDBACK: dict[str, dict[str, Any]] = {
    "paper": _PRINTED,
    "chosen": _PRINTED | {"labels": "matched"},
}
_TITLES = {"paper": "as printed", "chosen": "as chosen"}


def sized(name: str) -> tuple[ModelConfig, int]:
    """Returns the networks of a name, as experiments start them, and the side of their images in pixels."""
    return FULL_SIZE if name == "b1" else MODELS[name], 256 if name.startswith("b") else 128


def with_feedback(section: FeedbackSection, name: str) -> FeedbackSection:
    """Returns a section with the settings of a name; what the name does not set stays."""
    return dataclasses.replace(section, **FEEDBACK[name])


def feedback_title(settings: dict[str, Any]) -> str:
    """Returns what a table calls the feedback of a configuration's section ``df``, as JSON holds it.

    A key that is not there has the printed value: the run is older than the key. New people in x_u are told as well,
    which no name sets.
    """
    told = {key: settings.get(key, value) for key, value in _PRINTED.items()}
    asked = settings.get("unlabeled_fraction") and settings.get("unlabeled_dataset")
    people = [f"unlabeled_dataset={asked}"] if asked else []
    for name, preset in FEEDBACK.items():
        if told == preset:
            return ", ".join([_TITLES[name], *people])
    changed = [f"{key}={told[key]}" for key, value in _PRINTED.items() if told[key] != value]
    return f"with {', '.join(changed + people)}"
