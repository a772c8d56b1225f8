"""Table 3 on drawn faces, three folds and three seeds: whether feedback beats as many further steps on labels.

    python -m experiments.piapdf --config=evidence --set df=paper --name=printed
    python -m experiments.piapdf --config=evidence --set df=chosen --name=chosen

The demo's sizes. All rows that learn from labels take equally many steps; those with feedback go on from them. What
came out: docs/evidence.md.
"""

import dataclasses

from experiments.config import ExperimentConfig
from experiments.configs.demo import demo

#: Steps of every row that learns from labels.
_STEPS = 1000


def evidence() -> ExperimentConfig:
    """Returns every row of table 3 at the demo's size."""
    base = demo()
    equal = {
        name: dataclasses.replace(getattr(base, name), steps=_STEPS)
        for name in ("baseline", "pi2", "pi3", "ap", "lp", "piap")
    }
    return dataclasses.replace(
        base,
        name="evidence",
        methods=("baseline", "pi2", "pi3", "ap", "lp", "df", "piap", "longer", "piapdf"),
        folds=(1, 2, 3),
        seeds=(0, 1, 2),
        **equal,
    )


CONFIGS = {"evidence": evidence}
