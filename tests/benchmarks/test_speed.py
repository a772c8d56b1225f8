"""Our side of the benchmark runs, and its tables say what they should; no PyTorch."""

import dataclasses

import numpy as np
import pytest

from benchmarks import first_step
from benchmarks.cases import CASES, Case, sizes
from benchmarks.jax_side import JaxSide
from benchmarks.operations import instructions, label
from benchmarks.table import summary, table
from piapdf_jax.models.presets import MODELS


@pytest.mark.parametrize("network", ["b1", "unet", "decoder", "piap"])
def test_our_side_runs(network):
    case = Case(network, 32, 2, model="nano")
    side = JaxSide(case, sizes(case))
    assert side.train() > 0
    assert side.train() > 0
    assert side.forward() > 0
    assert int(side.state.step) == 2
    assert int(side.state.skipped) == 0


def test_cases_have_names_of_their_own_and_known_networks():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(sizes(dataclasses.replace(case, model="nano"))["grid"] > 0 for case in CASES)


def test_a_first_step_is_timed():
    found = first_step.time_steps("pi1", MODELS["nano"], 32, 2)
    assert found["seconds"][0] > found["seconds"][1] > 0
    assert np.isfinite(found["losses"]).all()
    assert found["peak"] >= found["start"] > 2**20


def test_the_ratio_is_that_of_medians_against_the_fastest_form():
    seconds = {"jax": [0.2, 0.1, 9.0], "contiguous": [0.8, 0.8], "channels_last": [0.1, 0.3, 0.5]}
    peaks = dict.fromkeys(seconds, 3 * 2**20)
    row = summary("b1_8_4", "train", 4, seconds, dict.fromkeys(seconds, 1.5), peaks)
    assert row["fastest"] == "channels_last"
    assert row["ratio"] == pytest.approx(0.3 / 0.2)
    assert row["ms"]["jax"] == pytest.approx(50)
    lines = table([row]).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [
        "b1_8_4", "train", "50.00", "200.00", "75.00", "1.50", "1.5", "1.5", "1.5", "3", "3", "3",
    ]  # fmt: skip
    assert len({line.count("|") for line in lines}) == 1


def test_a_side_that_is_missing_leaves_its_cells_empty():
    alone = summary("a", "train", 1, {"jax": [0.1]}, {"jax": 1.0}, {"jax": 0})
    both = summary("b", "train", 1, {"jax": [0.1], "c": [0.2]}, {"jax": 1.0, "c": 1.0}, {"jax": 0})
    assert "ratio" not in alone
    cells = table([alone, both]).splitlines()[2].strip("| ").split(" | ")
    assert [cell.strip(" |") for cell in cells[2:6]] == ["100.00", "", "", "1.0"]


@pytest.mark.parametrize(
    ("op_name", "expected"),
    [
        ("jit(f)/jvp(Net)/block2_1/depthwise/mul", "forward depthwise"),
        ("jit(f)/transpose(jvp(Net))/up0/depthwise/while/body/add", "backward depthwise"),
        ("jit(f)/jvp(Net)/block2_1/squeeze_excite/reduce/dot", "forward squeeze_excite"),
        ("jit(f)/add", "step add"),
    ],
)
def test_operations_are_told_by_pass_and_layer(op_name, expected):
    assert label(op_name) == expected


def test_instructions_that_contain_others_are_left_out():
    text = """
  %add.1 = f32[2]{0} add(%a, %b), metadata={op_name="jit(f)/jvp(Net)/stem/add"}
  ROOT %while.2 = (s32[], f32[2]) while(%t), condition=%c, body=%d, metadata={op_name="jit(f)/x"}
  %copy.3 = f32[2]{0} copy(%a)
"""
    assert instructions(text) == {"add.1": "forward stem", "copy.3": "step copy"}
