"""``--set data.dataset=own``: units, people and folds are those of the csv, for a training and its readers."""

import json

import cv2
import nano_runs
import numpy as np
import pytest
from absl.testing import flagsaver
from programs import load

from data_builders import prepare, record_builder
from experiments import config as configs
from experiments.pipeline import Pipeline

score, tables = load("experiments.score"), load("experiments.tables")
#: Twelve as BP4D has, three of them others; the csv names them in another order.
UNITS = (26, 25, 9, 1, 2, 4, 6, 7, 10, 12, 14, 15)
#: Two a part; F001 and SN001 are people of BP4D and DISFA, in other parts there.
PARTS = {1: ("Ada", "SN001"), 2: ("Ben", "F001"), 3: ("Cleo", "Dan")}
FRAMES = 5


class Face:
    """Finds the same face in every picture."""

    digest = "same-face-1"

    def __call__(self, image):
        points = np.random.default_rng(5).uniform(30, 60, (68, 2))
        points[36:42], points[42:48], points[30] = (36, 40), (60, 40), (48, 52)
        points[48], points[54] = (40, 64), (56, 64)
        return points.astype(np.float32)


def label(person, frame, au):
    """Present in every second frame, in turns by person and unit; some cells are unknown, and the whole last frame."""
    if frame == FRAMES - 1 or (frame + au) % 7 == 0:
        return ""
    return (frame + au + len(person)) % 2


@pytest.fixture(name="data", scope="module")
def fixture_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    lines = [",".join(["path", "subject", "part", "frame", *(f"AU{au}" for au in UNITS)])]
    for part, people in PARTS.items():
        for person in people:
            for frame in range(FRAMES):
                path = root / "manual" / f"{person}{frame}.png"
                path.parent.mkdir(exist_ok=True)
                rng = np.random.default_rng([part, frame, len(person)])
                image = rng.integers(0, 255, (96, 96, 3), np.uint8)
                path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
                cells = [
                    path.name,
                    person,
                    part,
                    frame,
                    *(label(person, frame, au) for au in UNITS),
                ]
                lines.append(",".join(map(str, cells)))
    (root / "manual" / "labels.csv").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_builder.RecordBuilder, "detector", Face)
        prepare.prepare("own", data_dir=root, manual_dir=root / "manual", workers=1)
    return root


def pipeline(data, *settings):
    config = configs.load("demo", [*nano_runs.NANO, "data.dataset=own", *settings])
    return Pipeline(config, data_dir=str(data), runs_dir=str(data / "runs"), name="own")


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("name", ["baseline", "df"])
def test_trainings_read_the_people_and_units_of_the_csv(data, fold, name):
    made = pipeline(data, f"fold={fold}", "methods=df")
    job = made.job(name)
    assert job.units == tuple(sorted(UNITS))
    test, others = PARTS[4 - fold], [part for part in PARTS if part != 4 - fold]
    train = {person for part in others for person in PARTS[part]}
    slices = job.slices
    assert set(slices.test.records().table()["subject"]) == set(test)
    assert set(slices.train.records().table()["subject"]) == train
    # The last frame of each person is without labels.
    if name == "df":
        ((pool, _),) = slices.pools
        assert set(pool.records().table()["frame"]) == {FRAMES - 1}
        assert set(pool.records().table()["subject"]) == train
    assert (
        made.datasets.part("own", test=True).whole and made.datasets.part("own", test=False).whole
    )


def test_maps_and_fine_tuning_are_of_it_as_well(data):
    made = pipeline(data, "pi1.dataset=own", "disfa.dataset=own", "disfa.units=26,1", "methods=pi2")
    assert set(made.job("pi1").slices.train.records().table()["subject"]) == {
        person for part in (1, 2) for person in PARTS[part]
    }
    assert made.job("disfa").units == (26, 1)


def test_units_that_the_csv_does_not_have_are_refused_by_name(data):
    with pytest.raises(
        configs.ConfigError, match=r"data.units=12,17 .* labels of 1, 2, 4, 6, 7, 9"
    ):
        _ = pipeline(data, "data.units=12,17").job("baseline").units


def f1(probs, labels):
    """Over the known cells, in percent; None without a present one."""
    said, known = probs >= 0.5, labels >= 0
    hits = (said & (labels == 1)).sum()
    wrong = (known & (said != (labels == 1))).sum()
    return 100 * 2 * hits / (2 * hits + wrong) if (labels == 1).any() else None


def test_a_training_is_scored_told_and_scored_again(data, tmp_path, capsys):
    runs = tmp_path / "runs"
    nano_runs.run(data, runs, "data.dataset=own", "methods=baseline", name="own")
    (results,) = runs.glob("own/*/results.json")
    told = json.loads(results.read_text())
    assert told["stand_ins"]["data.dataset"] == "own for bp4d"
    with np.load(next(runs.glob("own/*/baseline/*/frames.npz"))) as stored:
        frames = dict(stored)
    rows = {
        (who, int(frame)): row
        for who, frame, row in zip(frames["subject"], frames["frame"], frames["coded"], strict=True)
    }
    assert {key: row.tolist() for key, row in rows.items()} == {
        (person, frame): [
            -1 if (cell := label(person, frame, au)) == "" else cell for au in sorted(UNITS)
        ]
        for person in PARTS[3]
        for frame in range(FRAMES - 1)
    }
    expected = [f1(frames["probs"][:, k], frames["coded"][:, k]) for k in range(len(UNITS))]
    published = told["trainings"]["baseline"]["scores"]["published"]
    assert published["f1"] == pytest.approx(expected, abs=0.01)
    (export,) = runs.glob("exports/baseline/*")
    model = json.loads((export / "model.json").read_text())
    assert model["units"] == sorted(UNITS) and model["data"][0]["people"] == 4
    assert any(license["of"] == "data set own" for license in model["licences"])
    capsys.readouterr()
    with flagsaver.flagsaver(dataset="own", split="part3", data_dir=str(data)):
        score.main(["score", str(export)])
    assert "mean" in capsys.readouterr().out
    with flagsaver.flagsaver(out=str(tmp_path / "report")):
        tables.main(["tables", str(runs / "own")])
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "own for bp4d" in page and "AU26" in page
