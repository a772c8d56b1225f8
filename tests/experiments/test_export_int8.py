"""Which frames calibrate 8 bits and which are scored, pixel by pixel, and where that cannot be told."""

import cv2
import light_model
import numpy as np
import pytest

from experiments import export_int8
from piapdf_jax.action_units import record_columns
from piapdf_jax.data import source
from piapdf_jax.model_json import Data, read_model

DATASET = "synthetic_faces/small_bp4d"


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


def test_people_of_the_training_calibrate_and_others_are_scored(
    export, small_data, records, monkeypatch
):
    read = []
    whole = source.Records.__getitem__

    def watched(self, row):
        record = whole(self, row)
        read.append(str(record["subject"]))
        return record

    monkeypatch.setattr(source.Records, "__getitem__", watched)
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
    assert found.told == (
        f"7 frames of {len(learned)} people of {DATASET} that the export was trained on calibrate,"
        f" {len(scored)} frames of {len(others)} others are scored"
    )


def test_people_that_may_have_been_trained_on_are_not_taken_for_others(export, small_data):
    model = trained(export, "part1", dataset="synthetic_faces/gone")
    with pytest.raises(
        export_int8.CalibrationError, match="trained on synthetic_faces/gone, which"
    ):
        export_int8.sample(model, DATASET, small_data)
