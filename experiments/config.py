"""Typed configurations: sections as frozen dataclasses, a registry of names, and ``--set a.b=v``."""

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from typing import Annotated, Any

from experiments import presets
from experiments.sections import (
    AUSection,
    DataSection,
    DISFASection,
    EvalSection,
    FeedbackSection,
    IdentitySection,
    LandmarksSection,
    LongerSection,
    LPSection,
    PI1Section,
    PISection,
    RunSection,
    TrainSection,
)
from experiments.settings import ConfigError, keys, replaced, unknown
from piapdf_jax import drawn_detector, paths, ranges
from piapdf_jax.action_units import record_columns
from piapdf_jax.models import shipped
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.pretrained import weights_of
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.ranges import Range, Seed

#: Which part of the people is tested.
Fold = Annotated[int, Range(1, 3)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One experiment: a fold, the rows of table 3 to train, and every section they read.

    ``folds`` and ``seeds`` stand for several experiments, one a pair; () for ``fold`` and ``seed`` alone.
    """

    name: str
    fold: Fold
    folds: tuple[Fold, ...] = ()
    methods: tuple[str, ...] = ("piapdf",)
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()
    data: DataSection = DataSection()
    model: ModelConfig = presets.FULL_SIZE
    pi: PISection = PISection()
    pi1: PI1Section = PI1Section(steps=20_000)
    pi2: TrainSection = TrainSection(steps=30_000, learning_rate=5e-4)
    identity: IdentitySection = IdentitySection(steps=60_000, batch_size=128)
    landmarks: LandmarksSection = LandmarksSection(steps=20_000, batch_size=64)
    baseline: AUSection = AUSection(steps=30_000, learning_rate=5e-4)
    pi3: AUSection = AUSection(steps=30_000, learning_rate=5e-4, au=0.5, pi=0.5)
    ap: AUSection = AUSection(steps=30_000, learning_rate=5e-4, au=0.9, ap=0.1)
    lp: LPSection = LPSection(steps=30_000, learning_rate=5e-4, au=0.9, ap=0.1)
    piap: AUSection = AUSection(steps=30_000, learning_rate=5e-4, au=0.5, pi=0.45, ap=0.05)
    df: FeedbackSection = FeedbackSection(
        steps=10_000, learning_rate=1e-4, student_learning_rate=1e-4
    )
    disfa: DISFASection = DISFASection(steps=10_000, learning_rate=2e-4, au=0.5, pi=0.45, ap=0.05)
    eval: EvalSection = EvalSection()
    run: RunSection = RunSection()
    #: Sections of trainings that plugins have registered, by name; their keys are top-level ones.
    plugins: tuple[tuple[str, TrainSection], ...] = ()
    #: Keys that ``--set`` gave: no setting itself, but who names what is not there is told so.
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False)

    @property
    def longer(self) -> LongerSection:
        """What trains PIAP on labels for as long as feedback does."""
        return LongerSection.of(self.df)

    def _check_units(self) -> None:
        """Refuses action units that no record holds, and those named twice."""
        for key, units in (("data", self.data), ("pi", self.pi), ("disfa", self.disfa)):
            try:
                record_columns(units.units)
            except ValueError as error:
                raise ConfigError(f"{key}.units: {error}") from error
            if len(set(units.units)) < len(units.units):
                raise ConfigError(f"{key}.units={units.units} names a unit twice")
        if not self.pi.units:
            raise ConfigError("pi.units must name the units of the PI maps")

    def _check_values(self) -> None:
        """Refuses values that their fields do not allow, whatever the others are."""
        try:
            ranges.check(self)
            for name, section in self.plugins:
                ranges.check(section, f"{name}.")
            self.df.check()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _check_model(self) -> None:
        """Refuses settings that the encoder does not follow, and weights that there are not."""
        model = self.model
        try:
            weights = weights_of(encoder_of(model))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model.encoder={model.encoder}: {error}") from error
        known = ("none", *(weights.published if weights else ()))
        if model.pretrained in known:
            return
        without = "; to start from random values: --set model.pretrained=none"
        if model.pretrained == drawn_detector.NAME:
            try:
                shipped.read_description(model.encoder)
            except WeightsError as error:
                raise ConfigError(
                    f"model.pretrained={drawn_detector.NAME}: {error}{without}"
                ) from error
            return
        if weights is None:
            raise ConfigError(
                f"model.pretrained={model.pretrained!r}: encoder {model.encoder!r} takes no file of"
                f" weights{without}"
            )
        try:
            paths.local_file(model.pretrained, "model.pretrained")
        except (FileNotFoundError, paths.PathError) as error:
            names = f"one of {', '.join(weights.published)}, which are"
            if not weights.published:
                names = "published"
            raise ConfigError(
                f"model.pretrained={model.pretrained!r} is neither a file nor {names} for encoder"
                f" {model.encoder!r}: {error}{without}"
            ) from error

    def _check_trainings(self) -> None:
        """Refuses sections whose values mean nothing together."""
        from experiments.trainings import TRAININGS

        if self.df.accumulate != 1:
            raise ConfigError(
                "df.accumulate must be 1: feedback measures a single step of the student"
            )
        for name in dict.fromkeys(training.section for training in TRAININGS.values()):
            section = self.section(name)
            try:
                section.optimizer_config().build()
                if isinstance(section, AUSection):
                    section.weights()
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from error

    def _check_repeats(self) -> None:
        """Refuses folds and seeds that are named twice."""
        for one, several in (("fold", "folds"), ("seed", "seeds")):
            values = getattr(self, several)
            told = ",".join(map(str, values))
            if len(set(values)) < len(values):
                raise ConfigError(f"{several}={told} names a {one} twice")
            if values and {one, several} <= self.given:
                raise ConfigError(
                    f"{one}={getattr(self, one)} and {several}={told} are both set: give"
                    f" --set {several}={told} alone"
                )

    def sections(self) -> list[Any]:
        """Returns all sections, a plugin's too."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return [v for v in values if dataclasses.is_dataclass(v)] + list(
            dict(self.plugins).values()
        )

    def section(self, name: str) -> Any:
        """Returns the section of a name, whether it is a field here or a plugin's."""
        return dict(self.plugins)[name] if name in dict(self.plugins) else getattr(self, name)

    def check(self) -> None:
        """Refuses values that mean nothing together; not earlier, because settings come one by one.

        Raises:
            ConfigError: naming the key.
        """
        from experiments.trainings import METHODS

        self._check_values()
        self._check_repeats()
        for method in self.methods:
            if method not in METHODS:
                raise ConfigError(unknown("method", method, METHODS))
        if not self.methods or len(set(self.methods)) < len(self.methods):
            wrong = "names a method twice" if self.methods else "names no method"
            raise ConfigError(
                f"methods={','.join(self.methods)} {wrong}: use all, or some of {', '.join(METHODS)}"
            )
        self._check_model()
        self._check_units()
        self._check_trainings()


def configs() -> dict[str, Callable[[], ExperimentConfig]]:
    """Returns every named configuration, as a function that makes it."""
    found: dict[str, Callable[[], ExperimentConfig]] = {}
    for module in ("demo", "bp4d", "disfa", "landmark_identity", "evidence", "drawn"):
        found |= importlib.import_module(f"experiments.configs.{module}").CONFIGS
    return found


def load(name: str, overrides: list[str] | tuple[str, ...] = ()) -> ExperimentConfig:
    """Makes a named configuration, with ``a.b=v`` settings applied in order.

    Raises:
        ConfigError: for an unknown name (lists the names and the nearest), key or value.
    """
    known = configs()
    if name not in known:
        raise ConfigError(unknown("config", name, sorted(known)))
    config = dataclasses.replace(known[name](), plugins=_plugin_sections())
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, not {override!r}")
        key, every = key.strip(), keys(config)
        if key not in every:
            near = difflib.get_close_matches(key, every, n=3, cutoff=0.0)
            raise ConfigError(f"unknown key {key!r}: nearest are {', '.join(near)}")
        config = replaced(config, key.split("."), text.strip(), key)
        config = dataclasses.replace(config, given=config.given | {key})
    for one, several in (("fold", "folds"), ("seed", "seeds")):
        if one in config.given and several not in config.given:
            config = dataclasses.replace(config, **{several: ()})
    config.check()
    return config


def _plugin_sections() -> tuple[tuple[str, TrainSection], ...]:
    from experiments.trainings import TRAININGS

    made = [(t.section, t.settings) for t in TRAININGS.values() if t.settings is not None]
    return tuple(dict(made).items())


def as_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Returns a configuration as JSON holds it, sections of plugins beside the others."""
    told = dataclasses.asdict(config)
    del told["given"]
    return told | dict(told.pop("plugins"))
