"""``model.pretrained=drawn``: what configurations, digests and exports make of a detector that the package ships."""

import jax
import numpy as np
import pytest
import shipped_detector
from test_labeled_frames import fingerprints

from experiments import config as configs
from experiments import licenses
from experiments.model_json import _learned_before
from experiments.trainings import TRAININGS
from piapdf_jax import drawn_detector
from piapdf_jax.model_json import Data
from piapdf_jax.models import pretrained
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.piap import LossWeights, PIAPStage

DRAWN = "model.pretrained=drawn"


def test_a_configuration_of_another_encoder_is_refused_in_one_line(monkeypatch, tmp_path):
    shipped_detector.installed(monkeypatch, tmp_path / "drawn")
    assert configs.load("demo", ["model=nano", DRAWN]).model.pretrained == "drawn"
    with pytest.raises(configs.ConfigError) as error:
        configs.load("demo", [DRAWN])
    told = str(error.value)
    assert told.startswith("model.pretrained=drawn: ") and "\n" not in told
    assert "has encoder 'nano', model.encoder is 'tiny': use --set model=nano" in told


def test_a_configuration_is_told_where_none_is_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_detector, "FOLDER", tmp_path)
    with pytest.raises(configs.ConfigError, match="ships no detector .*experiments.ship EXPORT"):
        configs.load("demo", ["model=nano", DRAWN])


def test_what_starts_from_it_has_other_digests(monkeypatch, small_data, tmp_path):
    shipped_detector.installed(monkeypatch, tmp_path / "drawn")
    plain, drawn = fingerprints(small_data), fingerprints(small_data, DRAWN)
    own = {name: {**told, "takes": 0} for name, told in plain.items()}
    changed = {name for name in TRAININGS if own[name] != {**drawn[name], "takes": 0}}
    assert changed == set(TRAININGS) - {"pi1"}
    assert drawn["baseline"]["sources"] == plain["baseline"]["sources"]


def test_a_training_begins_with_its_numbers(monkeypatch, tmp_path):
    parts = shipped_detector.installed(monkeypatch, tmp_path / "drawn")
    model = pretrained.resolve(configs.load("demo", ["model=nano", DRAWN]).model)
    stage = PIAPStage(
        model,
        OptimizerConfig(steps=1, learning_rate=1e-3),
        LossWeights(),
        image_size=64,
        num_aus=3,
        num_maps=0,
    )
    state, _ = stage.init(jax.random.key(0), {})
    jax.tree.map(
        lambda found, full: np.testing.assert_array_equal(found, np.float16(full)),
        *(stage.export(state)["encoder"], parts["encoder"]),
    )


def test_an_export_says_what_its_start_learned_from(monkeypatch, tmp_path):
    own = Data("baseline", "synthetic_faces/drawn", "1.0.0", "train", 900, True)
    monkeypatch.setattr(
        "experiments.model_json.read_model", lambda folder: type("Model", (), {"data": (own,)})
    )
    assert _learned_before("drawn") == [own._replace(training="drawn: baseline")]
    assert _learned_before("none") == [] == _learned_before("imagenet")
    told = licenses.licenses(["synthetic_faces/drawn"], "drawn", {})
    assert [license.of for license in told][1:] == [
        "data set synthetic_faces/drawn",
        "weights drawn",
    ]
    assert "not known" not in " ".join(license.terms for license in told)
