"""``df.labels=matched`` on records: rates and cuts come from what the start says of its training frames."""

import json
import types

import numpy as np
import pytest
from nano_runs import NANO, contents, run

from experiments import config as configs
from experiments import stages
from experiments.config import ConfigError
from experiments.pipeline import Pipeline
from piapdf_jax.action_units import record_columns
from piapdf_jax.data.source import Records, dataset_folder
from piapdf_jax.runtime import loop

MATCHED = ["methods=df", "df.labels=matched"]


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("matched")
    return run(small_data, runs, *MATCHED), runs


def rows(runs):
    (path,) = runs.glob("demo/*/df/*/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_cuts_start_from_the_model_json_of_the_start(trained):
    results, runs = trained
    (path,) = runs.glob("exports/baseline/*/model.json")
    model = json.loads(path.read_text())
    cuts = np.array([np.nan if cut is None else cut for cut in model["cuts"].values()], float)
    rates = np.array(list(model["base_rates"].values()), float)
    cuts = np.where(np.isnan(cuts), 0.5, cuts)
    first = np.array(rows(runs)[0]["pseudo_cut"])
    moved = np.log(first / (1 - first)) - np.log(cuts / (1 - cuts))
    # By half of (k / 8 - rate), of the first batch of eight.
    shares = moved / 0.5 + rates
    np.testing.assert_allclose(8 * shares, np.rint(8 * shares), atol=5e-3)
    assert ((shares > -0.01) & (shares < 1.01)).all()
    assert results["rows"] == ["df"]


def test_fresh_networks_start_at_a_half_and_at_the_rates_of_the_labels(small_data, tmp_path):
    settings = [setting for setting in NANO if setting != "df.steps=4"] + MATCHED
    settings += ["df.start=fresh", "df.fresh_steps=2", "df.matched_on=unlabeled"]
    loaded = configs.load("demo", settings)
    folders = {"data_dir": str(small_data), "runs_dir": str(tmp_path)}
    Pipeline(loaded, **folders, name="demo", stages=("df",)).run()
    table = Records(dataset_folder(small_data, "synthetic_faces/small_bp4d"), "part1+part2").table()
    labels = table["labels"][:, record_columns(tuple(configs.load("demo", []).pi.units))]
    rates = (labels == 1).sum(0) / (labels >= 0).sum(0)
    first = np.array(rows(tmp_path)[0]["pseudo_cut"])
    shares = np.log(first / (1 - first)) / 0.5 + rates
    np.testing.assert_allclose(8 * shares, np.rint(8 * shares), atol=5e-3)


def test_a_training_that_was_stopped_goes_on_bit_by_bit(trained, small_data, tmp_path, monkeypatch):
    _, straight = trained
    fit, stops = loop.fit, []

    def stopped(*args, **options):
        if options["name"] == "df" and not stops:
            stops.append(options["name"])
            fit(*args, **{**options, "steps": 2})
            raise loop.Interrupted("df", 2, 4, "SIGTERM")
        return fit(*args, **options)

    monkeypatch.setattr(loop, "fit", stopped)
    with pytest.raises(loop.Interrupted):
        run(small_data, tmp_path, *MATCHED, "run.checkpoint_every=1")
    run(small_data, tmp_path, *MATCHED, "run.checkpoint_every=1")
    assert stops and contents(tmp_path) == contents(straight)


def test_a_start_that_says_nothing_of_its_frames_is_one_line(trained, small_data, tmp_path):
    _, runs = trained
    for path in runs.glob("exports/baseline/*/model.json"):
        path.rename(tmp_path / "model.json")
        try:
            path.write_text("{")
            with pytest.raises(ConfigError, match=r"^df\.labels=matched: .*model\.json cannot be"):
                run(small_data, runs, *MATCHED, "df.drop_rate=0.1")
            path.unlink()
            with pytest.raises(
                ConfigError, match=r"df\.labels=matched needs .* 'baseline' has no mo"
            ):
                run(small_data, runs, *MATCHED, "df.drop_rate=0.1")
        finally:
            (tmp_path / "model.json").rename(path)


def test_rates_that_a_share_of_flips_does_not_give_are_told(caplog):
    told = types.SimpleNamespace(
        base_rates={1: 0.1, 2: 0.5, 4: None, 6: 0.25}, cuts=dict.fromkeys((1, 2, 4, 6), 0.5)
    )

    def rates(noise):
        section = types.SimpleNamespace(start="trained", label_noise=noise)
        training = types.SimpleNamespace(start="baseline", section="df")
        job = types.SimpleNamespace(
            section=section, training=training, units=(1, 2, 4, 6), described=lambda name: told
        )
        return stages._labeled_rates(job)[0]

    with caplog.at_level("WARNING", logger="piapdf"):
        np.testing.assert_array_equal(rates(0.0), [0.1, 0.5, np.nan, 0.25])
        assert not caplog.messages
        rates(0.125)
        (line,) = caplog.messages
        rates(0.25)  # a bound itself is not above it
    assert line.startswith("df.label_noise=0.125 allows rates above 0.125 and below 0.875")
    assert "are AU1 0.100: pseudo labels" in line
    assert "are AU1 0.100, AU6 0.250: pseudo" in caplog.messages[-1]
