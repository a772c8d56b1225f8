"""The stage of each training, from its configuration and the facts of its data."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.config import ConfigError
from experiments.job import Job
from experiments.sections import LongerSection
from piapdf_jax.action_units import record_columns
from piapdf_jax.losses import LossWeights
from piapdf_jax.metrics import base_rates
from piapdf_jax.model_json import FILE_NAME, ModelError
from piapdf_jax.runtime import hosts
from piapdf_jax.stages.base import Stage
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions
from piapdf_jax.stages.identity import IdentityStage
from piapdf_jax.stages.landmarks import LandmarkStage
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.pi2_refine import PI2Stage
from piapdf_jax.stages.piap import PERSON_TRAININGS, PIAPStage

log = logging.getLogger("piapdf")


def pi1(job: Job) -> Stage:
    """Returns PI stage 1."""
    return PI1Stage(
        job.model,
        job.section.optimizer_config(),
        image_size=job.config.data.image_size,
        num_maps=len(job.maps),
        **_pi_loss(job),
    )


def pi2(job: Job) -> Stage:
    """Returns PI stage 2."""
    optimizer = job.section.optimizer_config()
    return PI2Stage(job.model, optimizer, **_sizes(job))


def identity(job: Job) -> Stage:
    """Returns Encoder P, with a class for every person of the training set."""
    section, table = job.section, job.slices.train.records().table()
    people = len(set(table.get("identity", ())))
    if people < 2:
        raise ConfigError(
            f"{job.training.section}.dataset={job.dataset} has {people} people to tell apart, not"
            " at least 2"
        )
    return IdentityStage(
        job.model,
        section.optimizer_config(),
        image_size=job.config.data.image_size,
        num_identities=int(table["identity"].max()) + 1,
        arcface=section.arcface,
        margin=section.margin,
        scale=section.scale,
    )


def landmarks(job: Job) -> Stage:
    """Returns landmark regression."""
    optimizer = job.section.optimizer_config()
    return LandmarkStage(job.model, optimizer, image_size=job.config.data.image_size)


def piap(job: Job) -> Stage:
    """Returns a training under L_PIAP: baseline, PI-3, AP, LP, PIAP, DISFA."""
    weights = loss_weights(job)
    return PIAPStage(
        job.model,
        job.section.optimizer_config(),
        weights,
        init_from=_start(job),
        keep_head=isinstance(job.section, LongerSection),
        person=_person(job),
        landmarks=functools.partial(_training_landmarks, job),
        **_pi_targets(job, weights),
        **_sizes(job, maps=bool(weights.pi)),
    )


def feedback(job: Job) -> Stage:
    """Returns discrete feedback on the training it starts from, under that one's weights of the losses."""
    section, weights = job.section, loss_weights(job)
    _check_given(job)
    names = [field.name for field in dataclasses.fields(FeedbackOptions)]
    return _checked(
        FeedbackStage,
        options=FeedbackOptions(**{name: getattr(section, name) for name in names}),
        model=job.model,
        teacher_optimizer=section.optimizer_config(),
        student_optimizer=section.student_optimizer(),
        finetune_optimizer=section.finetune_optimizer(),
        weights=weights,
        init_from=_start(job),
        labeled_rates=functools.partial(_labeled_rates, job),
        compile=section.compile,
        **_pi_targets(job, weights),
        **_sizes(job, maps=bool(weights.pi)),
    )


def nothing(job: Job) -> tuple[str, ...]:
    """Returns the dependencies of a training that needs no other: none."""
    return ()


def generator(job: Job) -> tuple[str, ...]:
    """Returns the dependency of a training that starts from PI Generator 0."""
    return ("pi1",)


def by_weights(job: Job) -> tuple[str, ...]:
    """Returns the dependencies of a training: its start, PI Generator 1 and the source of P where their loss counts."""
    weights, start = loss_weights(job), _start(job)
    person = PERSON_TRAININGS[_person(job)] if weights.ap else None
    return tuple(name for name in ("pi2" if weights.pi else None, person, start) if name)


def loss_weights(job: Job) -> LossWeights:
    """Returns the weights of the losses: the section's own, else those of the training it starts from."""
    section, start = job.section, job.training.start
    if not hasattr(section, "weights") and start:
        section = job.config.section(start)
    return section.weights()


def _person(job: Job) -> str:
    """Where P comes from: Encoder P, but for the section that has a choice."""
    return getattr(job.section, "person", "identity")


def _training_landmarks(job: Job) -> np.ndarray:
    """Landmarks of all frames that a training reads, in pixels of their records; reads every record.

    Raises:
        ConfigError: for coordinates that are no numbers.
    """
    train = job.slices.train
    landmarks = train.records().table()["landmarks"]
    if not np.isfinite(landmarks).all():
        raise ConfigError(f"{train} holds landmarks that are not finite: {job.name} learns by them")
    return landmarks


def _labeled_rates(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Rates and cuts of the labeled frames [C], from what the start says of them; fresh networks know no cut.

    Raises:
        ConfigError: for a start that says nothing of its training frames, or whose ``model.json`` is damaged.
    """
    start = _start(job)
    if start is None:
        labels = job.slices.train.records().table()["labels"][:, record_columns(job.units)]
        known = np.array([np.nan if rate is None else rate for rate in base_rates(labels)])
        _warn_impossible(job, known)
        return known, np.full(len(job.units), 0.5)
    try:
        model = job.described(start)
    except ModelError as error:
        raise ConfigError(f"{job.training.section}.labels=matched: {error}") from error
    if model is None or set(job.units) - model.base_rates.keys():
        raise ConfigError(
            f"{job.training.section}.labels=matched needs the rates of the training frames: the export of"
            f" {start!r} has no {FILE_NAME} with those of units {', '.join(map(str, job.units))}"
        )
    rates, cuts = (
        np.array([np.nan if told[au] is None else told[au] for au in job.units], float)
        for told in (model.base_rates, model.cuts)
    )
    _warn_impossible(job, rates)
    return rates, cuts


def _warn_impossible(job: Job, rates: np.ndarray) -> None:
    """Names units whose rates no labels have of which so many are flipped."""
    noise = job.section.label_noise
    odd = [
        f"AU{au} {rate:.3f}"
        for au, rate in zip(job.units, rates, strict=True)
        if noise and (rate <= noise or rate >= 1 - noise)
    ]
    if odd and hosts.primary():
        log.warning(
            "%s.label_noise=%g allows rates above %g and below %g, those of the training frames are %s:"
            " pseudo labels of these units will become all 0 or all 1",
            *(job.training.section, noise, noise, 1 - noise, ", ".join(odd)),
        )


def _check_given(job: Job) -> None:
    """Refuses lengths and rates of a trained start that ``--set`` gives to a fresh one.

    Raises:
        ConfigError: naming the key that has an effect.
    """
    section, name = job.section, job.training.section
    for key in ("steps", "learning_rate", "student_learning_rate"):
        if section.start == "fresh" and f"{name}.{key}" in job.config.given:
            value = getattr(section, key)
            raise ConfigError(
                f"{name}.{key}={value} has no effect with {name}.start=fresh: use"
                f" --set {name}.fresh_{key}={value}"
            )


def _start(job: Job) -> str | None:
    fresh = getattr(job.section, "start", "trained") == "fresh"
    return None if fresh else job.training.start


def _pi_loss(job: Job) -> dict[str, float]:
    """How maps are compared in L_PI, wherever it counts."""
    return {"positive_weight": job.config.pi.positive_weight, "dice": job.config.pi.dice}


def _pi_targets(job: Job, weights: LossWeights) -> dict[str, Any]:
    """L_PI against the generator's maps; without L_PI there is nothing to compare."""
    return {"binarize": job.config.pi.binarize, **_pi_loss(job)} if weights.pi else {}


def _sizes(job: Job, *, maps: bool = True) -> dict[str, Any]:
    size, num_maps = job.config.data.image_size, len(job.maps) if maps else 0
    return {"image_size": size, "num_aus": len(job.units), "num_maps": num_maps}


def _checked(make: Callable[..., Any], **settings: Any) -> Any:
    """Makes a stage; settings that mean nothing together are the user's mistake."""
    try:
        return make(**settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error
