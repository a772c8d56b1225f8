"""Synthetic faces: people that never were, whose action units and landmarks are known.

python -m data_builders.prepare synthetic_faces/bp4d --data_dir=SHARDS
"""

import dataclasses
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from data_builders import record_builder, schema, work_units
from data_builders.synthetic_faces import population, truth
from data_builders.synthetic_faces.render import Picture, render
from data_builders.synthetic_faces.scene import draw_scene
from data_builders.synthetic_faces.wild import behavior
from data_builders.synthetic_faces.wild import draw as wild
from piapdf_jax import folds
from piapdf_jax.action_units import DISFA_POSITIVE_INTENSITY


@dataclasses.dataclass
class SyntheticFacesConfig(tfds.core.BuilderConfig):
    """Which data set to stand in for, and the switches the method is about.

    Attributes:
        kind: ``bp4d``, ``disfa``, ``afew_va``, ``webface``, ``lfw``, or ``wild``, which stands in for nothing.
        wrong_labels: share of published labels that are flipped.
        unknown: share of published labels that are unknown (BP4D's 9).
        habits: whether people show some AUs at rest, or more or less often than others.
        people: at most so many people in a split; None takes all.
        new_people: ``population.NEW_PEOPLE`` in the place of BP4D's participants, dealt to no parts.
    """

    kind: str = "bp4d"
    wrong_labels: float = 0.04
    unknown: float = 0.01
    habits: bool = True
    people: int | None = None
    new_people: bool = False

    def __post_init__(self) -> None:
        # Not the builder's for all: it stands in the checksum of a data set, with the notes.
        self.version = schema.IDENTITY_VERSION if self.identity else None
        self.release_notes = schema.IDENTITY_RELEASES if self.identity else None

    @property
    def identity(self) -> bool:
        """Whether the records are those of face recognition."""
        return self.kind in population.IDENTITY_KINDS

    @property
    def labeled(self) -> bool:
        """Whether action units are coded."""
        return self.kind in ("bp4d", "disfa", behavior.KIND)

    @property
    def rules(self) -> population.Rules:
        """The switches as ``population`` takes them."""
        unknown = self.unknown if self.kind == "bp4d" else 0.0
        return population.Rules(self.kind, self.wrong_labels, unknown, self.habits)


class SequenceSpec(NamedTuple):
    """A sequence to draw, or all pictures of a person; ``number`` counts the people of a split."""

    rules: population.Rules
    subject: str
    task: str
    coded: bool
    number: int


class Builder(record_builder.RecordBuilder):
    """Draws the data sets."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        SyntheticFacesConfig(name="bp4d", description="BP4D's participants and tasks."),
        SyntheticFacesConfig(name="disfa", kind="disfa", description="DISFA's participants."),
        SyntheticFacesConfig(name="afew_va", kind="afew_va", description="Faces without labels."),
        SyntheticFacesConfig(name="webface", kind="webface", description="Pictures by person."),
        SyntheticFacesConfig(name="lfw", kind="lfw", description="Pairs for verification."),
        SyntheticFacesConfig(name="bp4d_no_habits", habits=False, description="No habits."),
        SyntheticFacesConfig(name="bp4d_clean", wrong_labels=0.0, description="No wrong labels."),
        SyntheticFacesConfig(name="bp4d_more", new_people=True, description="Other people."),
        SyntheticFacesConfig(
            name="wild",
            kind="wild",
            wrong_labels=0.0,
            unknown=0.0,
            habits=False,
            description="Hundreds of strangers under every light.",
        ),
    ]

    @property
    def _config(self) -> SyntheticFacesConfig:
        config = self.builder_config
        assert isinstance(config, SyntheticFacesConfig)
        return config

    def _info(self) -> tfds.core.DatasetInfo:
        config = self._config
        features = schema.identity_features() if config.identity else schema.au_features()
        metadata = tfds.core.MetadataDict()
        if config.kind == "lfw":
            names = population.subjects("lfw")[: config.people]
            metadata["pairs"] = [list(row) for row in population.pairs(names)]
        return self.dataset_info_from_configs(features=features, metadata=metadata)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        config = self._config
        splits = _splits(config)
        if config.labeled:
            specs = [spec for split, found in splits.items() for spec in found if spec.coded]
            truth.write(
                truth.truth_path(self.data_dir_root, config.name, version=str(self.version)),
                [_sequence(spec) for spec in specs],
            )
        coded = population.label_units(config.kind) if config.labeled else ()
        people = {split: [spec.subject for spec in specs] for split, specs in splits.items()}
        self.describe(action_units=coded, people=people, kind=config.kind)
        self.expected_examples = {split: sum(map(_count, specs)) for split, specs in splits.items()}
        return {split: self._generate_examples(specs) for split, specs in splits.items()}

    def _generate_examples(self, specs: list[SequenceSpec]) -> Any:
        return self.records(make, specs)


_PARTS = {"bp4d": folds.BP4D_PARTS, "disfa": folds.DISFA_PARTS, behavior.KIND: behavior.parts()}


def _sequence(spec: SequenceSpec) -> population.Clip:
    if spec.rules.kind == behavior.KIND:
        return behavior.clip(spec.subject, spec.task)
    return population.sequence(spec.rules, spec.subject, spec.task)


def _splits(config: SyntheticFacesConfig) -> dict[str, list[SequenceSpec]]:
    kind, rules = config.kind, config.rules
    people = population.subjects(kind) if kind != behavior.KIND else behavior.subjects()
    if config.new_people:
        new = population.NEW_PEOPLE
        members = {"train": (new, True), "train_uncoded": (new, False)}
    elif config.labeled:
        parts = _PARTS[kind]
        coded = (True,) if kind == "disfa" else (True, False)
        members = {
            folds.part_split(part, coded=flag): (names, flag)
            for flag in coded
            for part, names in parts.items()
        }
    elif kind == "afew_va":
        cut = len(people) * 3 // 4
        members = {"train": (people[:cut], True), "test": (people[cut:], True)}
    else:
        members = {"train" if kind == "webface" else "test": (people, True)}
    return {
        split: [
            SequenceSpec(rules, subject, task, flag, number)
            for number, subject in enumerate(names[: config.people])
            for task in (behavior.SESSIONS if kind == behavior.KIND else population.tasks(kind))
        ]
        for split, (names, flag) in members.items()
    }


def _count(spec: SequenceSpec) -> int:
    kind = spec.rules.kind
    if kind in population.IDENTITY_KINDS:
        return population.IDENTITIES[kind][1]
    return int((_sequence(spec).coded == spec.coded).sum())


def make(spec: SequenceSpec) -> work_units.Made:
    """Makes the records of a spec, as a unit of work; runs in a worker process."""
    return work_units.Made(draw(spec))


def draw(spec: SequenceSpec) -> list[tuple[str, dict[str, Any]]]:
    """Draws the records of a spec."""
    if spec.rules.kind in population.IDENTITY_KINDS:
        return _draw_pictures(spec)
    kind, subject, task = spec.rules.kind, spec.subject, spec.task
    sequence, examples = _sequence(spec), []
    for k, frame in enumerate(sequence.frames.tolist()):
        if sequence.coded[k] != spec.coded:
            continue
        picture = _picture(kind, subject, task, frame, sequence.strengths[k])
        published = {au: int(values[k]) for au, values in sequence.published.items()}
        intensities = published if kind == "disfa" else {}
        if kind == "disfa":
            published = {au: int(v >= DISFA_POSITIVE_INTENSITY) for au, v in published.items()}
        example = schema.au_example(
            image=picture.image,
            landmarks=picture.landmarks,
            labels=published if spec.coded else {},
            intensities=intensities,
            subject=subject,
            task=task,
            frame=frame,
            coded=spec.coded and kind != "afew_va",
        )
        examples.append((f"{subject}_{task}_{frame:05d}", example))
    return examples


def _picture(kind, subject, task, frame, strengths) -> Picture:
    if kind == behavior.KIND:
        return wild.frame(subject, task, frame, strengths)
    scene = draw_scene(population.generator("scene", kind, subject, task, frame))
    return render(population.person(kind, subject), strengths, scene)


def _draw_pictures(spec: SequenceSpec) -> list[tuple[str, dict[str, Any]]]:
    kind, name = spec.rules.kind, spec.subject
    face, examples = population.person(kind, name), []
    for number in range(1, population.IDENTITIES[kind][1] + 1):
        rng = population.generator("picture", kind, name, number)
        strengths = population.loose_expression(rng)
        picture = render(face, strengths, draw_scene(rng))
        example = schema.identity_example(
            image=picture.image,
            landmarks=picture.landmarks,
            name=name,
            identity=spec.number,
            number=number,
        )
        examples.append((f"{name}_{number:04d}", example))
    return examples
