"""The card of a detector: numbers of this detector alone, skin tones counted apart, weak units named."""

import json

import numpy as np
import pytest
from absl import app
from absl.testing import flagsaver
from programs import load

from data_builders.synthetic_faces.wild import behavior, draw
from experiments import frame_table
from experiments.frame_table import FrameTable
from piapdf_jax import drawn_detector, faces
from piapdf_jax.model_json import Data, License, Model, to_json

model_card = load("experiments.model_card")
UNITS, DIGEST = (1, 12), "0123456789abcdef"
PEOPLE = [f"W{number:03d}" for number in range(3, 63, 3)]


def table(**changes) -> FrameTable:
    rng = np.random.default_rng(0)
    count = 12 * len(PEOPLE)
    labels = rng.integers(0, 2, (count, 2)).astype(np.int8)
    fields = dict(
        training="piapdf", digest=DIGEST, fold=3, seed=0, dataset="synthetic_faces/wild", data="0" * 16, aus=UNITS,
        subject=np.repeat(PEOPLE, 12), task=np.full(count, "S1"), frame=np.arange(count), coded=labels,
        probs=np.clip(0.3 * labels + 0.6 * rng.random((count, 2)), 0, 1).astype(np.float32),
        base_rates=np.full(2, 0.5), cuts=np.full(2, 0.5),
    )  # fmt: skip
    return FrameTable(**{**fields, **changes})


def model() -> Model:
    return Model(
        training="piapdf", title="PIAP-DF", digest=DIGEST, units=UNITS, image_size=96, mean=None,
        std=None, parts=("encoder", "head"), model=None,
        crop={"size": 256, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT},
        base_rates=dict.fromkeys(UNITS, 0.5), cuts=dict.fromkeys(UNITS, 0.5), no_cut={},
        frames={"labeled": 7200, "scored": 7200},
        data=(Data("piap", "synthetic_faces/wild", "1.0.0", "part1+part2", 240, True),),
        licences=(License("faces", "none needed", "drawn"), License("rest", "free", "")),
        stand_ins={}, weak_units=(1,), files={},
    )  # fmt: skip


def judged(**changes) -> dict:
    numbers = {"low": 0.5, "high": 0.95, "frames": 40, "people": 20}
    units = {"AU1": numbers | {"auc": 0.66}, "AU12": numbers | {"auc": 0.93}}
    tree = {
        "units": units,
        "mean": numbers | {"auc": 0.795},
        "without_labels": [],
        "not_in_model": [4],
    }
    said = {"title": "PIAP-DF", "digest": DIGEST, "units": list(UNITS), "tree": tree}
    facts = {"people": PEOPLE, "pictures": 800, "faces": 799, "missed": ["x"]}
    return {"half": "second", "finder": "dlib", "tree": facts, "models": [said | changes]}


def test_skin_tones_are_counted_apart():
    found = table()
    skins = {name: draw.stranger(name).identity.skin for name in PEOPLE}
    rows = {name: cells for name, *cells in model_card.by_skin_tone(found)}
    assert list(rows) == ["AU1", "AU12", "mean"]
    bounds = ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1))
    for column, (low, high) in enumerate(bounds):
        named = [name for name, skin in skins.items() if low < skin <= high]
        assert len(named) >= 4
        here = np.isin(found.subject, named)
        scores, labels = found.probs[here, 1], found.coded[here, 1]
        above = scores[labels == 1][:, None] > scores[labels == 0]
        assert rows["AU12"][column].startswith(f"{above.mean():.2f}")


def test_true_labels_are_taken_where_they_are_there():
    given = table()
    assert model_card.by_skin_tone(table(true=1 - given.coded)) != model_card.by_skin_tone(given)


def test_a_card_says_what_it_was_trained_on_and_what_is_weak():
    text = model_card.card(model(), judged(), table())
    assert "`synthetic_faces/wild` 1.0.0, part1+part2: 240 people (piap)" in text
    assert (
        "people of the second half by name" in text and "| AU1 | 0.66 [0.50, 0.95] | 40 |" in text
    )
    assert "**Weak** (below 0.7): AU1." in text
    assert (
        "\n## License\n\n- faces: none needed (drawn)\n- rest: free\n\n## What it is worth" in text
    )
    for promise in ("diagnosis", "feels", "proves nothing about people", "No picture of a person"):
        assert promise in text


def test_the_card_that_ships_has_the_limits_of_the_generator():
    shipped = (drawn_detector.FOLDER / model_card.FILE_NAME).read_text(encoding="utf-8")
    limits = model_card.card(model(), judged(), table()).partition("## What it cannot do")[2]
    assert len(limits) > 500 and shipped.endswith(limits)


def test_make_up_and_small_faces_are_drawn_as_far_as_the_card_says():
    text = " ".join(model_card.card(model(), judged(), table()).split())
    assert "no make-up but eye shadow with red lips, on three of ten people" in text
    people = [draw.stranger(name).identity for name in behavior.subjects()]
    made_up = [person for person in people if person.eye_shadow]
    assert len(made_up) == pytest.approx(0.3 * 360, abs=30)  # 3.5 standard deviations
    assert min(person.lip_red for person in made_up) >= 0.5
    assert "52 to 139 px a side, of which a face is about 0.6 wide: faces below about 30 px" in text
    widths = [np.ptp(draw.frame(name, "S1", 3, {}).landmarks[:, 0]) for name in PEOPLE]
    assert np.median(widths) / 256 == pytest.approx(0.6, abs=0.05)
    assert min(widths) / 256 * 52 == pytest.approx(30, abs=5)


def test_numbers_of_another_detector_are_refused():
    for changes in ({"judged": judged(digest="f" * 16)}, {"table": table(digest="f" * 16)}):
        given = {"judged": judged(), "table": table()} | changes
        with pytest.raises(model_card.CardError, match="the numbers are of .*f{16}"):
            model_card.card(model(), given["judged"], given["table"])
    with pytest.raises(model_card.CardError, match="which units are weak"):
        model_card.card(model()._replace(weak_units=None), judged(), table())
    with pytest.raises(model_card.CardError, match="'F001' is not a person"):
        model_card.by_skin_tone(table(subject=np.full(240, "F001")))


def test_the_command_writes_the_card_beside_the_model(tmp_path):
    (tmp_path / "model.json").write_text(to_json(model()))
    (tmp_path / "judged.json").write_text(json.dumps(judged()))
    frame_table.write(tmp_path / "frames.npz", table())
    flags = {"judged": str(tmp_path / "judged.json"), "frames": str(tmp_path / "frames.npz")}
    with flagsaver.flagsaver(**flags):
        model_card.main(["model_card", str(tmp_path)])
    assert (tmp_path / "MODEL_CARD.md").read_text() == model_card.card(model(), judged(), table())
    (tmp_path / "judged.json").write_text("{")
    with flagsaver.flagsaver(**flags), pytest.raises(app.UsageError):
        model_card.main(["model_card", str(tmp_path)])
    with pytest.raises(app.UsageError, match="give a folder, --judged and --frames"):
        model_card.main(["model_card", str(tmp_path)])
