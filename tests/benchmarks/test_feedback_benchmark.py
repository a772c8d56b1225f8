"""The feedback benchmark: every way of ours runs, and the table says what was timed."""

import jax
import numpy as np
import pytest
from nightly import nightly
from programs import load

from benchmarks.cases import sizes
from benchmarks.jax_side import JaxSide

feedback = load("benchmarks.feedback")


#: The tests of the stage train the last two, which compile longest.
OTHERS = [way for way in feedback.WAYS if way not in ("grad", "exact", "vjp")]


@pytest.mark.parametrize("way", ["grad", *nightly(*OTHERS)])
def test_our_ways_run(way):
    case = feedback.case_of(way, "nano", 32, 2)
    side = JaxSide(case, sizes(case))
    before = jax.tree.map(np.array, side.state)
    assert side.train() > 0
    if way != "targets":
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(side.state), strict=True)
        assert any(np.any(a != np.asarray(b)) for a, b in pairs)


def test_the_table_counts_in_supervised_steps():
    row = {"first_s": 1.0, "steps": 3, "peak_mib": 7}
    lines = feedback.table({"supervised": {"ms": 50.0, **row}, "contiguous": {"ms": 125.0, **row}})
    assert lines.splitlines()[2:] == [
        "| supervised | 50 | 1.00 | 1.0 | 7 |",
        "| PyTorch, contiguous | 125 | 2.50 | 1.0 | 7 |",
    ]
