"""Settings of the study on faces: worlds, numbers of seeds, and candidates for tuning."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from experiments.feedback_study import faces_arms
from experiments.feedback_study.faces_data import PEOPLE
from experiments.feedback_study.faces_training import Lengths
from experiments.feedback_study.faces_worlds import Sizes, World
from piapdf_jax import folds

#: Worlds in which is tuned and ablated: own frames with few wrong labels, new people with many.
_TWO = (World(20, 0, 5), World(20, 20, 20))
#: Worlds whose counts by person are kept.
REPORTED = tuple(World(20, pool, wrong) for pool in (0, 20) for wrong in (5, 20))


class Study(NamedTuple):
    """What is run.

    Attributes:
        people, tasks: who is drawn, doing what.
        sizes: of roles.
        lengths: of trainings.
        lanes: trainings side by side.
        worlds: pairs of a world and its number of seeds, in order of work.
        arms, ablations: names.
        two: worlds in which is tuned and ablated.
        ablated: seeds of ablations.
        tuning_seeds: others than the study's, which are 0, 1, ...
        rates, weights, fine_rates: candidates of arms with feedback; of those without, and of the start.
        adamw_rate: learning rate of AdamW, the demo's.
        counted: arms whose counts by person are kept.
        mechanism: starts in supervised steps, seeds, batches a seed.
        mechanism_in: the world of these.
    """

    people: tuple[str, ...] = PEOPLE
    tasks: tuple[str, ...] = folds.BP4D_TASKS
    sizes: Sizes = Sizes()
    lengths: Lengths = Lengths()
    lanes: int = 64
    worlds: tuple[tuple[World, int], ...] = ()
    arms: tuple[str, ...] = tuple(faces_arms.ARMS)
    ablations: tuple[str, ...] = tuple(faces_arms.ABLATIONS)
    two: tuple[World, ...] = _TWO
    ablated: int = 64
    tuning_seeds: tuple[int, ...] = tuple(range(1000, 1005))
    rates: tuple[float, ...] = tuple(0.0025 * 2.0**k for k in range(8))
    weights: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    fine_rates: tuple[float, ...] = tuple(float(x) for x in np.geomspace(0.0025, 0.32, 32).round(5))
    adamw_rate: float = 5e-4
    counted: tuple[str, ...] = (
        *("supervised", "df_threshold", "df_matched", "df_matched_labeled"),
    )
    mechanism: tuple[tuple[int, ...], int, int] = ((30, 300, 3000), 64, 16)
    mechanism_in: World = World(20, 20, 5)

    def candidates(self, name: str) -> list[tuple[float, float]]:
        """Returns pairs (learning rate, weight) that an arm chooses among: equally many for every arm."""
        arm = faces_arms.find(name)
        if arm.unit:
            return [(r, arm.unit * w) for r, w in itertools.product(self.rates, self.weights)]
        return [(rate, 0.0) for rate in self.fine_rates]

    def seeds(self, world: World) -> int:
        """Returns the number of seeds of a world."""
        return dict(self.worlds)[world]


def _worlds() -> tuple[tuple[World, int], ...]:
    every = [World(n, p, w) for n in (5, 10, 20) for p in (0, 20, 100) for w in (0, 5, 10, 20)]
    often = [w for w in every if w.people in (5, 20) and w.wrong in (5, 20)]
    order = [*REPORTED, *(w for w in often if w not in REPORTED)]
    rest = [w for w in every if w not in often]
    return tuple([(w, 64) for w in order] + [(w, 24) for w in rest])


FULL = Study(worlds=_worlds())
QUICK = Study(
    people=(*PEOPLE[:6], *PEOPLE[-6:]),
    tasks=folds.BP4D_TASKS[:2],
    sizes=Sizes(tuning=2, test=4, labeled=4, pool=2, inputs=16),
    lengths=Lengths(start=4, steps=6, batch=8),
    lanes=2,
    worlds=((World(4, 2, 20), 2),),
    arms=("supervised", "df_matched", "exact_judges"),
    ablations=("matched_finetuned", "df_matched_tuned"),
    two=(World(4, 2, 20),),
    ablated=2,
    tuning_seeds=(1000,),
    rates=(0.05, 0.1),
    weights=(1.0,),
    fine_rates=(0.05, 0.1),
    counted=("df_matched",),
    mechanism=((4,), 2, 2),
    mechanism_in=World(4, 2, 20),
)


def as_json(study: Study) -> dict[str, Any]:
    """Returns the settings as JSON holds them."""
    told = study._asdict() | {"sizes": study.sizes._asdict()}
    lengths = study.lengths._asdict() | {"network": study.lengths.network._asdict()}
    worlds = [[world.key, seeds] for world, seeds in study.worlds]
    told |= {"lengths": lengths, "worlds": worlds, "two": [w.key for w in study.two]}
    told["mechanism_in"] = study.mechanism_in.key
    return told | {"people": len(study.people)}
