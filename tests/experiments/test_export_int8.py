"""Who calibrates 8 bits, who is scored, and what is said where nobody is left."""

import cv2
import light_model
import numpy as np
import pytest
from absl import app
from absl.testing import flagsaver
from programs import load

from experiments import export_int8
from piapdf_jax.action_units import record_columns
from piapdf_jax.data import source
from piapdf_jax.model_json import Data, read_model

program = load("experiments.export")
DATASET = "synthetic_faces/small_bp4d"
PARTS = ("part1", "part2", "part3")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def records(small_data):
    """By split, as they lie on the disk."""
    where = source.dataset_folder(small_data, DATASET)
    return {
        name: list(source.Records(where, name))
        for name, count in source.split_sizes(where).items()
        if count
    }


def trained(export, *parts, dataset=DATASET):
    data = tuple(Data("piap", dataset, "1.0.0", part, 2, True) for part in parts)
    return read_model(export)._replace(data=data)


def people(*splits):
    return {str(record["subject"]) for split in splits for record in split}


def pictures(found):
    side = light_model.SIZE
    whole = [cv2.imdecode(np.frombuffer(r["image"], np.uint8), cv2.IMREAD_COLOR_RGB) for r in found]
    return np.stack([cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) for p in whole])


def ran(place, **given):
    with flagsaver.flagsaver(**{"out": "", "check": False, **given}):
        return program.main(["export", str(place)])


def test_people_of_the_training_calibrate_and_others_are_scored(
    export, small_data, records, monkeypatch
):
    read, read_batch = [], export_int8.read_batch

    def watched(places, reading, *, step):
        read.extend(str(ours[row]["subject"]) for ours, row, _ in places)
        return read_batch(places, reading, step=step)

    monkeypatch.setattr(export_int8, "read_batch", watched)
    monkeypatch.setattr(export_int8, "FRAMES", 7)
    found = export_int8.sample(trained(export, "part2"), DATASET, small_data)
    learned, others = people(records["part2"]), people(records["part1"], records["part3"])
    assert learned and others and not learned & others
    # Only the frames that are taken are read: first those that calibrate, then those that are scored.
    assert set(read[:7]) == learned and len(found.calibration) == 7
    assert set(read[7:]) == others
    scored = [*records["part1"], *records["part3"]]
    assert len(read) == 7 + len(scored) == 7 + len(found.frames)
    np.testing.assert_array_equal(found.frames, pictures(scored))
    columns = record_columns(light_model.UNITS)
    wanted = np.stack([record["labels"][columns] for record in scored])
    np.testing.assert_array_equal(found.labels, wanted)
    assert found.aus == light_model.UNITS
    ours = [r for split in records.values() for r in split if str(r["subject"]) in learned]
    rows = np.rint(np.linspace(0, len(ours) - 1, 7)).astype(int)
    np.testing.assert_array_equal(found.calibration, pictures([ours[row] for row in rows]))
    assert found.summary == (
        f"7 frames of {len(learned)} people of {DATASET} that the export was trained on calibrate,"
        f" {len(scored)} frames of {len(others)} others are scored"
    )


def test_of_a_set_that_it_never_met_half_calibrate(export, small_data, records):
    model = trained(export, "all", dataset="bp4d/elsewhere")
    found = export_int8.sample(model, DATASET, small_data)
    everybody = sorted(people(*records.values()))
    scored = [r for p in PARTS for r in records[p] if str(r["subject"]) in everybody[3:]]
    assert len(found.frames) == len(scored)
    assert " that the export was trained on" not in found.summary
    assert f"{len(everybody) - 3} others are scored" in found.summary


def test_nobody_is_left(export, small_data):
    model = trained(export, *PARTS)
    with pytest.raises(export_int8.CalibrationError, match=r"has no people left to score int8"):
        export_int8.sample(model, DATASET, small_data)


def test_people_that_may_have_been_trained_on_are_not_taken_for_others(export, small_data):
    model = trained(export, "part1", dataset="synthetic_faces/gone")
    with pytest.raises(
        export_int8.CalibrationError, match="trained on synthetic_faces/gone, which"
    ):
        export_int8.sample(model, DATASET, small_data)


def test_a_set_without_labels_of_units(export, small_data):
    with pytest.raises(export_int8.CalibrationError, match="no labels for any unit of the export"):
        export_int8.sample(trained(export, "part1"), "synthetic_faces/small_webface", small_data)


def test_f1_by_hand():
    """Two units of a model of three, one label unknown, batches of another size than the number of frames."""
    frames = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    labels = np.zeros((40, 2), np.int8)
    labels[:10, 0], labels[39, 0], labels[:4, 1] = 1, -1, 1
    said = np.zeros((40, 3), np.float32)
    said[5:15, 2], said[39, 2], said[:4, 0], said[:, 1] = 0.5, 1, 0.6, 1

    def probabilities(batch):
        return said[batch[:, 0, 0, 0]]

    sample = export_int8.Sample(frames, frames, labels, (12, 1), "")
    # AU12: 5 hits, 5 false, 5 missed; AU1: 4 of 4.
    assert export_int8.f1_by_unit(probabilities, sample, (1, 6, 12)) == [50.0, 100.0]


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "int8"},
        {"calibration_data": DATASET},
        {"dtype": "float16", "calibration_data": "x"},
    ],
)
def test_8_bits_and_their_frames_go_together(export, tmp_path, given):
    with pytest.raises(
        app.UsageError, match="--dtype=int8 and --calibration_data=SET need each other"
    ):
        ran(export, out=str(tmp_path / "o"), **given)
    assert not (tmp_path / "o").exists()


def test_formats_without_8_bits(export, tmp_path):
    with pytest.raises(app.UsageError, match="int8 is supported by onnx, litert, not by stablehlo"):
        ran(
            export,
            out=str(tmp_path / "o"),
            formats=["stablehlo"],
            dtype="int8",
            calibration_data=DATASET,
        )
    assert not (tmp_path / "o").exists()
