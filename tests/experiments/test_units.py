"""Which action units a training learns, and of which there are maps."""

import cv2
import jax
import numpy as np
import pytest

from experiments import config as configs
from experiments.pipeline import Pipeline
from piapdf_jax.data.frames import load_frame

#: The order of label columns and PI planes in a record.
RECORD = [1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26]
DISFA = (1, 2, 4, 6, 9, 12, 25, 26)


@pytest.fixture
def job(small_data, tmp_path):
    """Makes the job of a training under some settings, its data set the small BP4D or DISFA."""

    def make(name, dataset, *settings):
        fixed = ["model=nano", "data.image_size=64", f"data.dataset=synthetic_faces/{dataset}"]
        fixed += ["pi1.dataset=synthetic_faces/small_afew_va", "baseline.batch_size=8"]
        fixed += ["disfa.dataset=synthetic_faces/small_disfa", "pi1.batch_size=8"]
        loaded = configs.load("demo", [*fixed, *settings])
        pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="u")
        return pipeline.job(name)

    return make


def published(job, rows, units):
    """Labels of some units of some rows of what a job trains on, straight from its records."""
    records = job.slices.train.records()
    columns = [RECORD.index(unit) for unit in units]
    return np.stack([np.asarray(records[row]["labels"])[columns] for row in rows])


def head_width(job, inputs):
    """How many numbers the head tells of a vector."""
    state, _ = job.stage.init(jax.random.key(0), inputs)
    (width,) = {leaf.shape[-1] for leaf in jax.tree.leaves(state.params["head"])}
    return width


def test_a_data_set_is_learned_with_the_units_it_has_labels_of(job):
    for dataset, units in {
        "small_disfa": DISFA,
        "small_bp4d": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    }.items():
        made = job("baseline", dataset)
        assert made.units == units and made.stage.num_aus == len(units)
        assert head_width(made, {}) == len(units)
        for training in (True, False):
            assert made.reading(training=training).aus == units
        batch = made.stream()(0)
        assert batch.labels.shape == (8, len(units))
        np.testing.assert_array_equal(batch.labels, published(made, batch.record_index, units))
        assert (batch.labels != -1).any(0).all()


def test_units_are_learned_in_the_order_of_the_settings(job):
    made = job("baseline", "small_disfa", "data.units=25,1,9")
    batch = made.stream()(0)
    assert made.stage.num_aus == head_width(made, {}) == 3
    np.testing.assert_array_equal(batch.labels, published(made, batch.record_index, (25, 1, 9)))


@pytest.mark.parametrize("name", ["pi2", "baseline", "df"])
def test_a_unit_without_labels_is_refused_with_both_lists(job, name):
    with pytest.raises(configs.ConfigError) as told:
        _ = job(name, "small_disfa", "data.units=1,7").stage
    assert str(told.value) == (
        "data.units=1,7 does not fit data set 'synthetic_faces/small_disfa', which has labels"
        " of 1, 2, 4, 6, 9, 12, 25, 26 alone"
    )


def test_the_key_that_asks_for_a_missing_unit_is_named(job):
    with pytest.raises(configs.ConfigError, match="disfa.units=1,7 does not fit"):
        _ = job("disfa", "small_bp4d", "disfa.units=1,7").stage
    with pytest.raises(configs.ConfigError, match=r"records hold no AU \[3\]"):
        job("baseline", "small_bp4d", "data.units=1,3")


@pytest.mark.parametrize("settings", [(), ("data.units=1,2",)])
def test_a_data_set_without_labels_teaches_no_action_units(job, settings):
    with pytest.raises(configs.ConfigError, match="small_afew_va', which has no labels of any"):
        _ = job("baseline", "small_afew_va", *settings).stage


def test_maps_are_those_of_the_settings_in_their_order(job):
    made = job("pi1", "small_bp4d", "pi.units=1,4,12")
    assert made.stage.num_maps == 3
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), np.float32)
    state, _ = made.stage.init(jax.random.key(0), {})
    exported = made.stage.export(state)
    assert jax.eval_shape(made.stage.predict, exported, images).pi_probs.shape == (2, 64, 64, 3)

    other = job("pi1", "small_bp4d", "pi.units=12,1,4")
    plain = [one.reading(training=False) for one in (made, other)]
    assert [reading.maps for reading in plain] == [(1, 4, 12), (12, 1, 4)]
    records = made.slices.train.records()
    packed = cv2.imdecode(np.frombuffer(records[3]["pi_maps"], np.uint8), cv2.IMREAD_UNCHANGED)
    for reading in plain:
        planes = load_frame(records, 3, reading).pi_maps
        for bit, unit in enumerate(reading.maps):
            # Of 256 pixels every fourth is left; the plane of a unit stands at its column.
            whole = packed >> RECORD.index(unit) & 1
            assert whole.any() and not whole.all()
            np.testing.assert_array_equal(planes >> bit & 1, whole[2::4, 2::4])
        assert not (planes >> 3).any()


def test_the_head_for_disfa_tells_the_units_of_its_section(job):
    settings = ["disfa.units=1,2", "disfa.au=1", "disfa.pi=0", "disfa.ap=0"]
    made = job("disfa", "small_bp4d", *settings)
    assert made.units == (1, 2) and made.stage.num_aus == 2
    assert head_width(made, {"piap": {}}) == 2
    # The network it goes on from keeps the units of its own data set.
    assert job("piap", "small_bp4d", *settings).stage.num_aus == 12
    assert head_width(job("disfa", "small_bp4d", *settings[1:]), {"piap": {}}) == 8
