"""The judge: halves by name, faces as a user's, AUC and pairs counted by hand, and what it refuses."""

import json

import cv2
import numpy as np
import pytest
from absl.testing import flagsaver
from programs import load

from experiments import judged
from experiments.judged import Frames, JudgeError
from piapdf_jax import faces
from piapdf_jax.detector import Detector
from piapdf_jax.faces import Face, Found
from piapdf_jax.model_json import Data, Model

judge = load("experiments.judge")
UNITS = (1, 12, 6)


def test_the_first_half_by_name_is_the_larger_one():
    people = ["M2", "F1", "F3", "F1", "F2", "M1"]
    assert judged.half(people, "first") == ["F1", "F2", "F3"]
    assert judged.half(people, "second") == ["M1", "M2"]
    assert judged.half(people, "all") == ["F1", "F2", "F3", "M1", "M2"]


def wins(scores, labels) -> float:
    """Share of pairs of a present and an absent frame in which the present one is higher; ties count half."""
    found = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[labels == 1]
        for b in scores[labels == 0]
    ]
    return sum(found) / len(found)


def test_auc_by_unit_is_counted_over_pairs_of_frames_and_drawn_over_people():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (120, 3)).astype(np.int8)
    scores = np.round(rng.random((120, 3)) + 0.3 * (labels == 1), 1).astype(np.float32)
    who = np.repeat([f"P{k}" for k in range(12)], 10)
    # The model has units in another order, one that the labels lack, and lacks one of theirs.
    frames = Frames((), who, labels, (6, 12, 4))
    found = judged.by_unit(scores, UNITS, frames)
    assert list(found["units"]) == ["AU12", "AU6"]
    for name, column, truth in (("AU12", 1, 1), ("AU6", 2, 0)):
        known = labels[:, truth] >= 0
        expected = wins(scores[known, column], labels[known, truth])
        assert found["units"][name]["auc"] == pytest.approx(expected, abs=1e-6)
        assert found["units"][name]["frames"] == (labels[:, truth] == 1).sum()
        assert found["units"][name]["people"] == 12
        assert found["units"][name]["low"] < expected < found["units"][name]["high"]
    mean = np.mean([found["units"][name]["auc"] for name in ("AU12", "AU6")])
    assert found["mean"]["auc"] == pytest.approx(mean)
    assert judged.unknown_units(UNITS, frames) == ([1], [4])


def test_people_who_are_alike_make_wide_intervals():
    rng = np.random.default_rng(1)
    labels = np.tile([[0], [1]], (60, 1)).astype(np.int8)
    shift = np.repeat(rng.normal(0, 1, 12), 10)[:, None]
    scores = (shift + labels + rng.normal(0, 0.1, (120, 1))).astype(np.float32)
    widths = []
    for who in (np.repeat(np.arange(12), 10), np.arange(120)):
        (numbers,) = judged.by_unit(scores, (12,), Frames((), who, labels, (12,)))["units"].values()
        widths.append(numbers["high"] - numbers["low"])
    assert widths[0] > 1.3 * widths[1]


def test_a_unit_that_nobody_shows_is_left_out():
    labels = np.array([[0, 1], [0, 0]], np.int8)
    frames = Frames((), np.array(["a", "b"]), labels, (1, 12))
    found = judged.by_unit(np.array([[0.1, 0.9, 0], [0.2, 0.3, 0]], np.float32), UNITS, frames)
    assert list(found["units"]) == ["AU12"] and found["units"]["AU12"]["auc"] == 1.0
    assert found["units"]["AU12"]["low"] is None  # one person shows it
    with pytest.raises(JudgeError, match="no unit that these labels show"):
        judged.by_unit(np.zeros((2, 1)), (1,), frames)


def test_pairs_that_go_up_ties_count_half_and_half_a_pair_nothing():
    who = np.array(["a", "a", "b", "b", "c", "c", "d"])
    labels = np.array([[0], [1], [0], [1], [0], [1], [0]], np.int8)
    values = np.array(
        [[0.5, 0.1, 0.3], [0.4, 0.9, 0.3], [0.5, 0.2, 0.1], [0.6, 0.8, 0.2], [0.5, 0.7, 0.4], [0.5, 0.6, 0.9],
         [0.9, 0.9, 0.9]], np.float32)  # fmt: skip
    found = judged.by_pair(values, UNITS, Frames((), who, labels, ()))
    assert found["pairs"] == 3
    ups = {name: numbers["up"] for name, numbers in found["units"].items()}
    assert ups == pytest.approx({"AU12": 2 / 3, "AU6": 2.5 / 3, "AU1": 0.5})
    # Smiling .9 .8 .6 against neutral .1 .2 .7: 8 of 9 pairs.
    assert found["units"]["AU12"]["auc"] == pytest.approx(8 / 9)
    # Smiling .3 .2 .9 against neutral .3 .1 .4: 5 of 9, and a tie.
    assert found["units"]["AU6"]["auc"] == pytest.approx(5.5 / 9)


class BrightFaces:
    """Finds a face wherever a picture is not black."""

    def find(self, picture):
        if picture.mean() < 5:
            return Found((), "no face")
        from data_builders.synthetic_faces import anatomy

        points = (anatomy.AVERAGE * 50 + (64, 50)).astype(np.float32)
        return Found((Face((30.0, 30.0, 60.0, 60.0), 1.0, points, 0.0),))


def red(crops):
    """Mean red, green and blue as probabilities of the three units."""
    return (crops.mean((1, 2)) / 255).astype(np.float32)


def told(**changes) -> Model:
    model = Model(
        training="piapdf", title="PIAP-DF", digest="0123456789abcdef", units=UNITS, image_size=64, mean=None,
        std=None, parts=("encoder",), model=None,
        crop={"size": 256, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT},
        base_rates=dict.fromkeys(UNITS, 0.5), cuts=dict.fromkeys(UNITS, 0.5), no_cut={},
        frames={"labeled": 1, "scored": 1},
        data=(Data("piapdf", "synthetic_faces/wild", "1.0.0", "part1", 1, True),), stand_ins={}, licences=(),
        files={},
    )  # fmt: skip
    return model._replace(**changes)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A tree of four people whose green is AU12, pairs of whom one has no face, and a model that sees colors."""
    monkeypatch.setattr(faces, "make_finder", lambda name: BrightFaces())
    weak = told(digest="f" * 16, units=(12, 1, 4), weak_units=(1, 4))
    models = {"model": told(), "second": weak}
    monkeypatch.setattr(
        Detector, "load",
        classmethod(lambda cls, path, finder: cls(models[path], "jax", red, finder=BrightFaces())),
    )  # fmt: skip
    rng, rows = np.random.default_rng(2), []
    for person in ("F1", "F2", "M1", "M2"):
        for frame in range(4):
            on = frame % 2
            color = (rng.integers(40, 60), 200 if on else 60 + 20 * frame, 90)
            path = tmp_path / "tree" / person / "T1" / f"{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((128, 128, 3), color[::-1], np.uint8))
            rows.append((f"{person}/T1/{frame}.png", person, frame != 3, on, 1 - on))
    path, subject, coded, on, off = zip(*rows, strict=True)
    np.savez(
        tmp_path / "truth.npz", path=path, subject=subject, coded=coded, label_aus=(12, 4),
        clean=np.stack([on, off], 1).astype(np.int8),
    )  # fmt: skip
    for number, kinds in {"1": (90, 180), "2": (80, 120), "3": (0, 100)}.items():
        for kind, green in zip(("neutral", "smiling"), kinds, strict=True):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            face = np.full((128, 128, 3), (50 * (green > 0), green, 50 * (green > 0)), np.uint8)
            cv2.imwrite(str(tmp_path / "pairs" / kind / f"{number}.png"), face)
    return tmp_path


def run(stage, models, capsys, **flags) -> tuple[dict, str]:
    with flagsaver.flagsaver(out=str(stage / "judged.json"), **flags):
        judge.main(["judge", *models])
    return json.loads((stage / "judged.json").read_text()), capsys.readouterr().out


def test_a_whole_judgment(stage, capsys):
    tree = {"tree": str(stage / "tree"), "truth": str(stage / "truth.npz")}
    found, text = run(
        stage, ["model", "second"], capsys, **tree, pairs=str(stage / "pairs"), half="all"
    )
    assert found["tree"]["pictures"] == found["tree"]["faces"] == 12  # frame 3 is not coded
    assert found["tree"]["people"] == ["F1", "F2", "M1", "M2"]
    first, second = found["models"]
    # Green is AU12: 200 where it is there, 60 and 100 where it is not. The second model says so of AU1.
    assert first["tree"]["units"]["AU12"]["auc"] == 1.0
    assert first["tree"]["without_labels"] == [1, 6] and first["tree"]["not_in_model"] == [4]
    assert set(second["tree"]["units"]) == {"AU12", "AU4"}
    assert (found["pairs"]["pictures"], found["pairs"]["faces"]) == (6, 5)
    assert found["pairs"]["missed"] == ["pairs/neutral/3.png"]
    assert first["pairs"]["pairs"] == 2 and first["pairs"]["units"]["AU12"]["up"] == 1.0
    assert "| AU12 | 1.00 |" in text and "no face in 1" in text
    assert "PIAP-DF 01234567: no labels here of AU1, AU6" in text
    assert [model["weak_units"] for model in found["models"]] == [None, [1, 4]]
    # The second model's model.json names AU1 and AU4; the tree has labels of AU4 alone, the pairs ask for AU1.
    tree, smiles = text.split("**Pairs that go up")
    for part, unit, other in ((tree, "AU4", "AU1"), (smiles, "AU1", "AU4")):
        (row,) = [line for line in part.splitlines() if line.startswith(f"| {unit} |")]
        assert row.split("|")[3].strip().endswith(" (weak)") and row.count("(weak)") == 1
        assert f"PIAP-DF ffffffff: its model.json names as weak {unit}\n" in part + "\n"
        assert part.count("(weak)") == 1 and f"as weak {other}" not in part


def test_halves_share_nobody(stage, capsys):
    tree = {"tree": str(stage / "tree"), "truth": str(stage / "truth.npz")}
    seen = [
        run(stage, ["model"], capsys, **tree, half=half)[0]["tree"]["people"]
        for half in ("first", "second")
    ]
    assert seen == [["F1", "F2"], ["M1", "M2"]]


def test_crops_are_kept_for_other_models_and_never_taken_for_others(stage, capsys, monkeypatch):
    flags = {"pairs": str(stage / "pairs"), "half": "all", "crops": str(stage / "kept")}
    first, _ = run(stage, ["model"], capsys, **flags)
    monkeypatch.setattr(faces, "make_finder", lambda name: pytest.fail("looked again"))
    assert run(stage, ["model"], capsys, **flags)[0] == first
    picture = stage / "pairs" / "neutral" / "1.png"
    cv2.imwrite(str(picture), np.full((128, 128, 3), 77, np.uint8))
    from absl import app

    with pytest.raises(app.UsageError, match="other pictures or of another finder"):
        run(stage, ["model"], capsys, **flags)
    (kept,) = (stage / "kept").iterdir()
    kept.write_bytes(b"nothing")
    with pytest.raises(app.UsageError, match="holds no crops"):
        run(stage, ["model"], capsys, **flags)


def test_who_may_have_been_seen_is_not_judged(stage, monkeypatch, capsys):
    from absl import app

    data = (Data("piap", "bp4d", "1.0.0", "part1", 3, True),)
    own = Detector(told(data=data), "jax", red, finder=BrightFaces())
    monkeypatch.setattr(Detector, "load", classmethod(lambda cls, path, finder: own))
    tree = {"tree": str(stage / "tree"), "truth": str(stage / "truth.npz")}
    with pytest.raises(app.UsageError, match="was trained on bp4d"):
        run(stage, ["model"], capsys, **tree)
    run(stage, ["model"], capsys, pairs=str(stage / "pairs"))


@pytest.mark.parametrize(
    ("models", "flags", "said"),
    [
        ([], {"pairs": "pairs"}, "give a model"),
        (["model"], {}, "give --tree and --truth, or --pairs"),
        (["model"], {"tree": "tree"}, "go together"),
        (["model"], {"tree": "tree", "truth": "pairs/neutral/1.png"}, "not a table of true labels"),
        (["model"], {"tree": "pairs", "truth": "truth.npz"}, "does not exist, and .* has labels of it"),
        (["model"], {"pairs": "tree"}, "holds no pair"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(stage, models, flags, said):
    from absl import app

    there = {name: str(stage / value) for name, value in flags.items()}
    with flagsaver.flagsaver(**there), pytest.raises(app.UsageError, match=said):
        judge.main(["judge", *models])


def test_batches_are_filled_up_and_cut_again():
    sizes = []

    class Seen:
        def __call__(self, crops):
            sizes.append(len(crops))
            return red(crops)

    images = np.random.default_rng(0).integers(0, 255, (150, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(judged.said(Seen(), images), images.mean((1, 2)) / 255, atol=1e-6)
    assert sizes == [64, 64, 64]
    assert judged.said(Seen(), images[:128]).shape == (128, 3)
