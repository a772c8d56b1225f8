import pathlib
import re

import numpy as np
import pytest

from piapdf_jax import records
from piapdf_jax.action_units import (
    ACTION_UNITS,
    BP4D_AUS,
    DISFA_AUS,
    RECORD_AUS,
    record_columns,
)
from piapdf_jax.records import by_unit, pack_planes, select_planes, unpack_planes


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
@pytest.mark.parametrize("planes", [1, 15, 16])
def test_packing_and_unpacking_gives_the_planes_back(dtype, planes):
    maps = np.random.default_rng(planes).integers(0, 2, (9, 7, planes)).astype(dtype)
    packed = pack_planes(maps)
    assert packed.shape == (9, 7) and packed.dtype == np.uint16
    back = unpack_planes(packed, list(range(planes)))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, maps.astype(np.uint8))


def test_bit_k_is_plane_k():
    for k in range(16):
        maps = np.zeros((1, 1, 16), np.uint8)
        maps[..., k] = 1
        assert pack_planes(maps)[0, 0] == 2**k


def test_columns_select_and_order_planes():
    maps = np.random.default_rng(0).integers(0, 2, (5, 5, len(RECORD_AUS))).astype(np.uint8)
    columns = [3, 0, 14]
    packed = pack_planes(maps)
    np.testing.assert_array_equal(unpack_planes(packed, columns), maps[..., columns])
    selected = select_planes(packed, columns)
    assert selected.dtype == np.uint16
    np.testing.assert_array_equal(selected, pack_planes(maps[..., columns]))


def test_more_planes_than_bits_or_another_rank():
    for shape in ((2, 2, 17), (2, 2), (2, 2, 0), (1, 2, 2, 15)):
        with pytest.raises(ValueError, match="K <= 16"):
            pack_planes(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "planes",
    [
        np.full((2, 2, 3), 0.3, np.float32),  # probabilities
        np.full((2, 2, 3), 255, np.uint8),  # a mask as pictures hold it
        np.full((2, 2, 3), -1, np.int8),
        np.full((2, 2, 3), np.nan),
        np.full((2, 2, 1), 5, np.uint16),  # packed already
    ],
)
def test_planes_of_other_values_than_0_and_1_are_refused(planes):
    with pytest.raises(ValueError, match=r"planes of 0 and 1, got \w+ with other values"):
        pack_planes(planes)


def test_a_records_own_array_gives_its_planes():
    # 0b100_0000_0000_0101: bits 0, 2 and 14.
    packed = np.full((256, 256, 1), 0x4005, np.uint16)
    planes = unpack_planes(packed)
    assert planes.shape == (256, 256, 15) and planes.dtype == np.uint8
    assert planes[7, 9].tolist() == [1, 0, 1] + [0] * 11 + [1]
    assert unpack_planes(packed, [2, 1]).shape == (256, 256, 2)
    selected = select_planes(packed, [14, 1, 2])
    assert selected.shape == (256, 256) and (selected == 0b101).all()
    assert unpack_planes(packed[..., 0].astype(">u2"), [14]).all()


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (np.zeros((4, 8, 8, 1), np.uint16), "take the images of a batch one by one"),
        (np.zeros((4, 8, 8), np.uint16), "uint16 (4, 8, 8)"),
        (np.zeros((8, 8, 3), np.uint8), "a picture or planes already"),
        (np.zeros((8, 8, 15), np.uint16), "a picture or planes already"),
        (np.zeros((8, 8), np.uint8), "all of its 16 bits"),
        (np.zeros((8, 8, 1), np.float32), "float32 (8, 8, 1)"),
        (np.zeros((8, 8), np.int32), "leave its numbers as they are"),
        (np.zeros((8, 8), bool), "bool (8, 8)"),
        (np.zeros(64, np.uint16), "uint16 (64,)"),
        (b"\x89PNG", "decode the PNG first"),
        (None, "decode the PNG first"),
    ],
)
def test_what_are_no_packed_planes_is_refused(packed, reason):
    for read in (lambda: unpack_planes(packed, [0]), lambda: select_planes(packed, [0])):
        with pytest.raises(ValueError, match=r"packed planes of one image.*\[H, W, 1\]") as told:
            read()
        assert reason in str(told.value)


@pytest.mark.parametrize(
    "columns", [[17], [-1], [True, False], [0.0], ["AU1"], 3, np.zeros((2, 2), int), [[1]]]
)
def test_columns_that_are_no_bits_are_refused(columns):
    with pytest.raises(ValueError, match="bits, 0 to 15, got .*by_unit gives maps by unit number"):
        unpack_planes(np.zeros((8, 8), np.uint16), columns)


#: FACS numbers of the fifteen units in the order of the bits, written down by hand.
BITS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)


def test_the_documents_list_the_units_in_the_order_of_the_bits():
    root = pathlib.Path(__file__).parents[1]
    text = (root / "data_builders" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| AU(\d+) \| ([a-z ]+) \|$", text, re.M)
    assert [(int(bit), int(au)) for bit, au, _ in rows] == list(enumerate(BITS))
    assert [name for *_, name in rows] == [unit.name for unit in ACTION_UNITS]
    listed = re.search(r"bit +([\d ]+)\n +unit +([\d ]+)\n", records.__doc__)
    assert [tuple(map(int, line.split())) for line in listed.groups()] == [tuple(range(15)), BITS]
    for bit, au in enumerate(BITS):
        assert record_columns((au,)) == [bit]


def a_record():
    """AU12 (bit 7) present at strength 3 with a map in one corner, AU26 (bit 14) absent, others unknown."""
    packed = np.zeros((256, 256, 1), np.uint16)
    packed[:2, :3] = 2**7
    packed[-1, -1] = 2**14
    labels, intensities = np.full((2, 15), -1, np.int8)
    labels[7], labels[14], intensities[7] = 1, 0, 3
    return {
        "image": np.full((256, 256, 3), 9, np.uint8),
        "pi_maps": packed,
        "landmarks": np.zeros((68, 2), np.float32),
        "labels": labels,
        "intensities": intensities,
        "subject": "Zoë".encode(),
        "task": b"",
        "frame": np.int64(31),
        "coded": np.int64(1),
    }


def test_a_record_by_unit():
    frame = by_unit(a_record())
    assert tuple(frame.labels) == tuple(frame.maps) == tuple(frame.intensities) == BITS
    assert frame.labels == dict.fromkeys(BITS, -1) | {12: 1, 26: 0}
    assert frame.intensities == dict.fromkeys(BITS, -1) | {12: 3}
    assert {au: int(marked.sum()) for au, marked in frame.maps.items() if marked.any()} == {
        12: 6, 26: 1
    }  # fmt: skip
    assert all(m.shape == (256, 256) and m.dtype == bool for m in frame.maps.values())
    assert (frame.subject, frame.task, frame.frame, frame.coded) == ("Zoë", "", 31, True)
    some = by_unit(a_record(), (26, 12))
    assert tuple(some.labels.items()) == ((26, 0), (12, 1)) and tuple(some.maps) == (26, 12)
    assert some.maps[12][0, 0] and some.maps[26][255, 255] and not some.maps[26][0, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": None}, "'labels' to be int8 (15,)"),
        ({"labels": np.zeros(12, np.int8)}, "'labels' to be int8 (15,), got int8 (12,)"),
        ({"image": b"\xff\xd8"}, "'image' to be uint8 (256, 256, 3)"),
        ({"image": np.zeros((4, 256, 256, 3), np.uint8)}, "got uint8 (4, 256, 256, 3)"),
        ({"pi_maps": np.zeros((64, 64, 1), np.uint16)}, "PI maps of 256 pixels, got (64, 64)"),
        ({"pi_maps": np.zeros((2, 256, 256, 1), np.uint16)}, "one by one"),
    ],
)
def test_what_is_no_record_with_action_units_is_refused(change, told):
    with pytest.raises(ValueError) as error:
        by_unit(a_record() | change)
    assert told in str(error.value)


def test_a_face_without_action_units_and_a_unit_that_is_not_there():
    with pytest.raises(ValueError, match=r"there is no 'pi_maps' among image, name$"):
        by_unit({"image": np.zeros((256, 256, 3), np.uint8), "name": b"a"})
    with pytest.raises(ValueError, match=r"no AU \[43\]"):
        by_unit(a_record(), (43,))


def test_record_columns_of_the_benchmarks():
    assert [RECORD_AUS[column] for column in record_columns(BP4D_AUS)] == list(BP4D_AUS)
    assert [RECORD_AUS[column] for column in record_columns(DISFA_AUS)] == list(DISFA_AUS)
    assert (len(BP4D_AUS), len(DISFA_AUS), len(RECORD_AUS)) == (12, 8, 15)
    with pytest.raises(ValueError, match="43"):
        record_columns((1, 43))
