"""One training, ready to run: its stage, its data, what it takes, and its digest."""

import dataclasses
import pathlib
from typing import Any

import piapdf_jax
from experiments.methods import TRAININGS
from piapdf_jax.data import source
from piapdf_jax.runtime import exports
from piapdf_jax.stages.base import Stage

_CORE = pathlib.Path(piapdf_jax.__file__).parent
_STAGE_FILES = {
    "pi1": "pi1_generator.py",
    "pi2": "pi2_refine.py",
    "identity": "identity.py",
    "au": "piap.py",
    "feedback": "discrete_feedback.py",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """Some records of a data set: where it lies, a split expression of it, and of which people."""

    dataset: str
    folder: pathlib.Path
    split: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def records(self) -> Any:
        """Opens them."""
        records = source.Records(self.folder, self.split)
        if not self.only and not self.without:
            return records
        return source.SomePeople(records, only=self.only, without=self.without)


@dataclasses.dataclass(frozen=True)
class Job:
    """One training, ready to run.

    Attributes:
        name: of the training.
        stage: what trains.
        seed: of its random streams and data order.
        section: its section of the configuration.
        train: what it trains on, and for feedback the unlabeled pools after it.
        pools: unlabeled pools with their share of x_u.
        test: what its export is scored on.
        takes: trainings whose exports it needs.
        settings: everything of the configuration that its numbers depend on.
        inner: people of the training part on whom the best state is chosen; None for the last state.
    """

    name: str
    stage: Stage
    seed: int
    section: Any
    train: Part
    test: Part
    takes: tuple[str, ...]
    settings: dict[str, Any]
    pools: tuple[tuple[Part, float], ...] = ()
    inner: Part | None = None

    def identity(self, taken: dict[str, str], *, cache: pathlib.Path) -> dict[str, Any]:
        """All that decides its numbers: settings, data, exports taken, and sources; its digest names the export.

        Args:
            taken: digests by training name.
            cache: file of known checksums of shards.
        """
        data = [
            [part.dataset, part.split, source.fingerprint(part.folder, cache=cache), share]
            + ([{"without": part.without}] if part.without else [])
            for part, share in ((self.train, 1.0), *self.pools)
        ]
        kind = TRAININGS[self.name].kind
        files = [*sorted((_CORE / "models").glob("*.py")), *sorted((_CORE / "data").glob("*.py"))]
        names = ("losses.py", "feedback.py", "batch.py", "keys.py", "stages/base.py")
        files += [_CORE / name for name in (*names, f"stages/{_STAGE_FILES[kind]}")]
        return {
            "training": self.name,
            "settings": self.settings,
            "seed": self.seed,
            "data": data,
            "takes": {name: taken[name] for name in self.takes},
            "sources": exports.source_digest(files),
        }
