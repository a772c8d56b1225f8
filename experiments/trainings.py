"""Table 3 of the paper as data: what trains, on what, how it is scored, and what it needs.

A method is an ordered list of trainings that are connected by their exports.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments import landmark_scores, pair_scores, scoring, stages
from experiments.config import ExperimentConfig
from experiments.feeds import FEEDBACK, FRAMES, LABELED, LANDMARKED, LANDMARKS, PORTRAITS, Feed
from experiments.job import Job
from experiments.sections import TrainSection
from piapdf_jax import ranges
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: by which ``--stages``, exports and folders know it.
        title: what a person reads.
        section: of the configuration that it reads.
        stage: makes what trains.
        feed: where its batches come from.
        score: of its export on unseen people, as ``results.json`` holds it.
        depends_on: the trainings whose exports it needs.
        start: training whose encoder it goes on from.
        scores_maps: whether scores read predefined PI maps.
        settings: its section with the values to start from, for a training from outside; None for a
            section that every configuration has.
    """

    name: str
    title: str
    section: str
    stage: Callable[[Job], Stage]
    feed: Feed
    score: Callable[[Job, Parts, scoring.Tools], dict[str, Any]]
    depends_on: Callable[[Job], tuple[str, ...]] = stages.nothing
    start: str | None = None
    scores_maps: bool = False
    settings: TrainSection | None = None


_ROWS = (
    Training("pi1", "PI stage 1 (PI Generator 0)", "pi1", stages.pi1, FRAMES,
             scoring.map_overlap, scores_maps=True),
    Training("pi2", "PI stage 2 (PI Generator 1)", "pi2", stages.pi2, LABELED,
             scoring.refinement, stages.generator, scores_maps=True),
    Training("identity", "Encoder P", "identity", stages.identity, PORTRAITS,
             pair_scores.verification),
    Training("landmarks", "Landmark regression", "landmarks", stages.landmarks, LANDMARKS,
             landmark_scores.landmark_identity),
    Training("baseline", "Baseline", "baseline", stages.piap, LABELED,
             scoring.action_units, stages.by_weights),
    Training("pi3", "PI stage 3", "pi3", stages.piap, LABELED,
             scoring.action_units, stages.by_weights),
    Training("ap", "AP", "ap", stages.piap, LABELED, scoring.action_units, stages.by_weights),
    Training("lp", "LP (landmarks, ours)", "lp", stages.piap, LANDMARKED,
             scoring.action_units, stages.by_weights),
    Training("piap", "PIAP", "piap", stages.piap, LABELED, scoring.action_units, stages.by_weights),
    Training("longer", "PIAP for as long as PIAP-DF", "longer", stages.piap, LABELED,
             scoring.action_units, stages.by_weights, start="piap"),
    Training("df", "DF on the baseline", "df", stages.feedback, FEEDBACK,
             scoring.action_units, stages.by_weights, start="baseline"),
    Training("piapdf", "PIAP-DF", "df", stages.feedback, FEEDBACK,
             scoring.action_units, stages.by_weights, start="piap"),
    Training("disfa", "PIAP on DISFA", "disfa", stages.piap, LABELED,
             scoring.action_units, stages.by_weights, start="piap"),
)  # fmt: skip
TRAININGS = {training.name: training for training in _ROWS}

#: Rows of table 3 (and table 2 for ``disfa``), and section 3.2's case of landmarks: the last training of each is what
#: the row scores. Others come in where
#: settings have a training go on from them, see ``ordered``.
METHODS: dict[str, tuple[str, ...]] = {
    "landmarks": ("identity", "landmarks"),
    "baseline": ("baseline",),
    "pi2": ("pi1", "pi2"),
    "pi3": ("pi1", "pi2", "pi3"),
    "ap": ("identity", "ap"),
    "lp": ("lp",),
    "df": ("baseline", "df"),
    "piap": ("pi1", "pi2", "identity", "piap"),
    "longer": ("pi1", "pi2", "identity", "piap", "longer"),
    "piapdf": ("pi1", "pi2", "identity", "piap", "piapdf"),
    "disfa": ("pi1", "pi2", "identity", "piap", "disfa"),
}


def au_methods() -> tuple[str, ...]:
    """Returns the methods that tell action units: rows of the paper's tables, and those of plugins."""
    return tuple(m for m, names in METHODS.items() if TRAININGS[names[-1]].feed.labels)


def ordered(methods: tuple[str, ...], job: Callable[[str], Job] | None = None) -> tuple[str, ...]:
    """Returns the trainings of some methods, each once, every one after those it goes on from.

    Args:
        methods: keys of ``METHODS``.
        job: makes the job of a training, whose settings may name further ones; None to leave those out.
    """
    wanted: set[str] = set()
    waiting = [training for method in methods for training in METHODS[method]]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += job(name).depends_on if job is not None else ()
    return tuple(name for name in TRAININGS if name in wanted)


def register_training(training: Training, *, after: tuple[str, ...] = ()) -> None:
    """Adds a training from outside, and the method of its name, for ``--plugin``.

    Args:
        training: its ``settings`` become a section of every configuration.
        after: trainings that its method runs before it, in their order.

    Raises:
        ValueError: for a name or a section that is taken, a section that is not there or whose type
            hints cannot be read, or a training in ``after`` that is unknown.
    """
    unknown = [name for name in after if name not in TRAININGS]
    if training.name in TRAININGS or unknown:
        taken = f"training {training.name!r} is already registered"
        raise ValueError(f"unknown training {unknown[0]!r}" if unknown else taken)
    _check_section(training)
    TRAININGS[training.name] = training
    METHODS[training.name] = (*after, training.name)


def _check_section(training: Training) -> None:
    """Refuses names that would hide keys of the configuration, or that ``--set`` could not spell."""
    name, section = training.name, training.section
    for spelled in (name, section):
        if not spelled.isidentifier():
            raise ValueError(f"a training's name and section are letters and _, not {spelled!r}")
    fields = {field.name: field.default for field in dataclasses.fields(ExperimentConfig)}
    plugins = [t.settings for t in TRAININGS.values() if t.section == section and t.settings]
    if training.settings is not None:
        ranges.hints(training.settings)
    # A section that is made of another's is a property.
    ours = section in fields or hasattr(ExperimentConfig, section)
    if training.settings is not None and (ours or plugins):
        raise ValueError(f"section {section!r} already exists")
    if training.settings is None and not plugins and section not in fields:
        raise ValueError(f"there is no section {section!r}: give training {name!r} its settings")
    if training.settings is None and not (plugins or isinstance(fields[section], TrainSection)):
        raise ValueError(f"{section!r} is a key of the configuration, not a section of a training")
