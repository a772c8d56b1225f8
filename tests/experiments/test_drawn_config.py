"""``--config=drawn`` is what docs/drawn.md says that the shipped detector was trained by."""

import dataclasses

import pytest

from experiments import config as configs
from experiments.trainings import ordered
from piapdf_jax import drawn_detector, folds
from piapdf_jax.model_json import read_model
from piapdf_jax.models.pretrained import resolve


def test_data_model_folds_methods_and_lengths_are_those_of_the_page():
    drawn = configs.load("drawn")
    assert drawn.data.dataset == drawn.pi1.dataset == "synthetic_faces/wild"
    assert drawn.identity.dataset == "synthetic_faces/webface"
    # "The baseline alone, 2,700 steps on parts 2 and 3": fold 3 tests part 1.
    assert (drawn.fold, tuple(drawn.folds), tuple(drawn.seeds)) == (3, (), ())
    assert folds.test_part(drawn.fold) == 1
    assert drawn.methods == ("piap", "piapdf")
    assert ordered(drawn.methods) == ("pi1", "pi2", "identity", "piap", "piapdf")
    assert (drawn.baseline.steps, drawn.piap.steps) == (2700, 5000)
    assert drawn.baseline.learning_rate == drawn.piap.learning_rate == 0.01
    assert (drawn.pi1.steps, drawn.pi2.steps, drawn.identity.steps) == (600, 600, 250)
    assert drawn.df.steps == 200
    # "small (112 px)", from random numbers.
    small = (drawn.model.encoder, drawn.model.encoder_size, drawn.model.pretrained)
    assert small == ("small", 112, "none")
    assert (drawn.data.labeled_frames, drawn.eval.validation_subjects, drawn.eval.truth) == (
        0,
        0,
        "",
    )


def test_it_has_network_and_data_of_the_detector_that_ships():
    drawn, shipped = configs.load("drawn"), read_model(drawn_detector.FOLDER)
    assert shipped.training in drawn.methods
    assert shipped.image_size == drawn.data.image_size == 128
    assert shipped.units == drawn.pi.units
    assert shipped.model is not None
    own = dataclasses.asdict(resolve(drawn.model))
    for key, value in shipped.model.items():
        assert own[key] == (tuple(value) if isinstance(value, list) else value), key
    sets = {data.training: data.name for data in shipped.data}
    assert sets == {"identity": drawn.identity.dataset} | dict.fromkeys(
        ("pi1", "pi2", "piap", "piapdf"), drawn.data.dataset
    )
    labeled = {data.split for data in shipped.data if data.labeled}
    assert labeled == {"part2+part3"}


@pytest.mark.parametrize("frames", [0, 100, 400])
@pytest.mark.parametrize(("start", "rate"), [("drawn", 0.003), ("none", 0.01)])
def test_the_pages_starts_are_read(frames, start, rate):
    """The commands of "Start from it"; a configuration that cannot be trained is refused when it is read."""
    told = {
        "methods": "baseline",
        "data.dataset": "bp4d",
        "model.pretrained": start,
        "baseline.steps": 800,
        "baseline.learning_rate": rate,
        "data.labeled_frames": frames,
        "seeds": "0,1,2",
    }
    loaded = configs.load("drawn", [f"{key}={value}" for key, value in told.items()])
    assert (loaded.methods, loaded.seeds) == (("baseline",), (0, 1, 2))
    assert (loaded.baseline.steps, loaded.baseline.learning_rate) == (800, rate)
    # "800 steps of 32 frames".
    assert loaded.baseline.batch_size == 32
    assert (loaded.data.labeled_frames, loaded.model.pretrained) == (frames, start)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("piap.steps=0", "piap.steps=0 must be at least 1"),
        ("fold=4", "fold=4 must be at least 1 and at most 3"),
        ("piap.au=0.9", "sum"),
        ("model=tiny,model.pretrained=drawn", "has encoder 'small', model.encoder is 'tiny'"),
    ],
)
def test_settings_that_decide_its_digests_are_checked(setting, told):
    with pytest.raises(configs.ConfigError, match=told):
        configs.load("drawn", setting.split(","))
