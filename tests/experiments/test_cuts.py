"""Base rates and cuts against a few lines of NumPy on labels and scores made by hand; data and licenses."""

import configparser
import pathlib

import numpy as np
import pytest

from experiments import config as configs
from experiments import licenses, model_json
from experiments.pipeline import Pipeline
from piapdf_jax import metrics
from piapdf_jax.model_json import Data, License
from piapdf_jax.models.efficientnet_weights import PUBLISHED


def test_base_rates_are_of_the_known_labels():
    labels = np.array([[1, 0, -1, 1], [0, 0, -1, -1], [-1, 0, -1, 1], [1, -1, -1, 1]], np.int8)
    assert metrics.base_rates(labels) == [2 / 3, 0.0, None, 1.0]


@pytest.mark.parametrize(
    ("scores", "rate", "cut"),
    [
        ([0.5, 0.25, 0.75, 1.0], 0.5, 0.625),  # two of four reach it
        ([0.5, 0.25, 0.75, 1.0], 0.25, 0.875),
        ([0.5, 0.25, 0.75, 1.0], 1.0, 0.25),  # all: the lowest
        ([0.5, 0.25, 0.75, 1.0], 0.3, 0.875),  # one of four is nearer than two
        ([0.5, 0.25, 0.75, 1.0], 0.375, 0.625),  # as near: the lower
        ([0.5, 0.25, 0.75, 1.0], 0.01, 0.875),  # shown, though by less than one of them
        ([0.5, 0.5, 0.5, 1.0], 0.5, 0.75),  # equal scores stay together: 1 of 4, not 4 of 4
        ([0.5, 0.5, 0.5, 1.0], 0.75, 0.5),
        ([0.5, 0.5, 0.5, 0.5], 0.25, 0.5),
    ],
)
def test_cuts_by_hand(scores, rate, cut):
    assert metrics.matching_cut(np.array(scores, np.float32), rate) == (cut, "")


def test_the_share_of_scores_is_the_base_rate():
    rng = np.random.default_rng(3)
    scores = rng.beta(2, 5, 5000).astype(np.float32)
    assert len(np.unique(scores)) > 4900
    for rate in (0.013, 0.2, 0.5, 0.97):
        cut, _ = metrics.matching_cut(scores, rate)
        assert abs(np.mean(scores >= cut) - rate) < 2 / 5000
        assert cut == np.float32(cut) and np.abs(scores - cut).min() > 0


def test_a_cut_between_neighbors_among_the_floats():
    low = np.float32(0.3)
    scores = np.array([low, np.nextafter(low, np.float32(1))])
    cut, _ = metrics.matching_cut(scores, 0.5)
    assert (scores >= cut).tolist() == [False, True]


@pytest.mark.parametrize(
    ("rate", "score", "reason"),
    [
        (None, 0.5, "no label of it is known"),
        (0.0, 0.5, "no training frame shows it"),
        (0.5, np.nan, "not all finite"),
    ],
)
def test_units_without_a_cut(rate, score, reason):
    cut, told = metrics.matching_cut(np.array([0.1, score], np.float32), rate)
    assert cut is None and reason in told


def test_scored_frames_are_evenly_spaced(monkeypatch):
    assert model_json.chosen_rows(7).tolist() == list(range(7))
    monkeypatch.setattr(model_json, "MAX_FRAMES", 4)
    assert model_json.chosen_rows(8).tolist() == [0, 2, 4, 6]
    assert model_json.chosen_rows(10).tolist() == [0, 2, 5, 7]
    assert model_json.chosen_rows(4).tolist() == [0, 1, 2, 3]


def terms(*arguments):
    return {license.of: license for license in licenses.licenses(*arguments, PUBLISHED)}


def test_the_license_of_the_software_is_that_of_setup_cfg():
    declared = configparser.ConfigParser()
    declared.read(pathlib.Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    (own,) = terms([], "none").values()
    assert own == License("software piapdf_jax", declared["metadata"]["license"], "LICENSE")
    assert declared["metadata"]["license_files"] == own.source


@pytest.mark.parametrize(
    ("data", "weights", "free"),
    [
        (["synthetic_faces/wild"], "none", True),
        (["synthetic_faces/wild"], "drawn", True),
        (["synthetic_faces/wild", "mine"], "none", False),
        (["synthetic_faces/wild"], "imagenet", False),
        (["bp4d"], "none", False),
    ],
)
def test_weights_are_under_our_license_where_nothing_else_binds_them(data, weights, free):
    given = list(terms(data, weights).values())
    old = given[0]._replace(terms="none stated", source="")
    (software, *others) = licenses.of_shipped([old, *given[1:]])
    assert software == given[0]
    weights_of = [License("weights of this detector", given[0].terms, "LICENSE")] * free
    assert others == [*weights_of, *given[1:]]
    assert licenses.of_shipped([]) == (given[0],)


def test_licenses_are_of_all_that_it_is_made_of():
    found = terms(["bp4d", "synthetic_faces/lfw", "bp4d", "mine"], "imagenet")
    assert list(found) == [
        "software piapdf_jax", "data set bp4d", "data set synthetic_faces/lfw", "data set mine",
        "landmarks", "weights imagenet",
    ]  # fmt: skip
    assert "agreement" in found["data set bp4d"].terms
    assert "300-W" in found["landmarks"].terms and "not known" in found["data set mine"].terms
    assert "ImageNet" in found["weights imagenet"].terms
    assert list(terms(["synthetic_faces/bp4d"], "none")) == [
        "software piapdf_jax", "data set synthetic_faces/bp4d",
    ]  # fmt: skip
    own = terms(["own"], "none")
    assert "yours" in own["data set own"].terms and "300-W" in own["landmarks"].terms
    private = terms(["disfa"], "/home/me/w.h5")["weights"]
    assert "/home" not in "".join(private)
    assert all(f"weights {name}" in terms(["bp4d"], name) for name in PUBLISHED)


@pytest.mark.parametrize("judges", [0, 1])
def test_data_are_of_all_that_it_rests_on_and_people_kept_apart_are_not_counted(
    small_data, tmp_path, judges
):
    # Of four people who train fold 1 one is kept apart, as of DISFA's two, whose frames are unlabeled.
    settings = ["model=nano", "data.dataset=synthetic_faces/small_bp4d", "methods=df,piapdf"]
    settings += ["eval.validation_subjects=1", "df.disfa_fraction=0.5"]
    settings += [f"df.judge_subjects={judges}"]
    settings += [
        "disfa.dataset=synthetic_faces/small_disfa",
        "pi1.dataset=synthetic_faces/small_afew_va",
    ]
    settings += ["identity.dataset=synthetic_faces/small_webface"]
    settings += ["identity.pairs=synthetic_faces/small_lfw"]
    config = configs.load("demo", settings)
    pipeline = Pipeline(config, data_dir=str(small_data), runs_dir=str(tmp_path), name="n")
    exported = dict.fromkeys(("decoder", "encoder", "head"))
    model = model_json.describe(pipeline.catalog, pipeline.job("df"), exported)
    own, disfa = "synthetic_faces/small_bp4d", "synthetic_faces/small_disfa"
    assert model.data == (
        Data("baseline", own, "1.0.0", "part1+part2", 3 - judges, True),
        Data("df", own, "1.0.0", "part1+part2", 3 - judges, True),
        *[Data("df", own, "1.0.0", "part1+part2", 1, True)] * judges,
        Data("df", disfa, "1.0.0", "part1+part2", 1, False),
        Data("df", own, "1.0.0", "part1_uncoded+part2_uncoded", 3, False),
    )
    assert model.stand_ins == {
        "data.dataset": f"{own} for bp4d",
        "disfa.dataset": f"{disfa} for disfa",
    }
    assert model.parts == ("encoder", "head") and model.digest == pipeline.digest("df")
    assert model.model is not None and "unet_widths" not in model.model
    piap = model_json.describe(pipeline.catalog, pipeline.job("piap"), exported)
    # Its encoder never learned from the pairs of pictures on which Encoder P is scored.
    assert set(piap.stand_ins) == {"data.dataset", "pi1.dataset", "identity.dataset"}
    for name in ("pi1", "identity", "df"):  # without a head
        job = pipeline.job(name)
        assert (
            model_json.model_files(pipeline.catalog, job, {"encoder": ({}, {})}, pipeline.mesh)
            == {}
        )
