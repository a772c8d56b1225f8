import numpy as np
import pytest

from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS, RECORD_AUS, SHARED_AUS, record_columns
from piapdf_jax.records import PLANES, pack_planes, select_planes, unpack_planes


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
@pytest.mark.parametrize("planes", [1, PLANES, 16])
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
    maps = np.random.default_rng(0).integers(0, 2, (5, 5, PLANES)).astype(np.uint8)
    columns = [3, 0, 14]
    packed = pack_planes(maps)
    np.testing.assert_array_equal(unpack_planes(packed, columns), maps[..., columns])
    selected = select_planes(packed, columns)
    assert selected.dtype == np.uint16
    np.testing.assert_array_equal(selected, pack_planes(maps[..., columns]))


def test_more_planes_than_bits_or_another_rank():
    for shape in ((2, 2, 17), (2, 2)):
        with pytest.raises(ValueError, match="K <= 16"):
            pack_planes(np.zeros(shape, np.uint8))


def test_record_columns_of_the_benchmarks():
    assert [RECORD_AUS[column] for column in record_columns(BP4D_AUS)] == list(BP4D_AUS)
    assert [RECORD_AUS[column] for column in record_columns(DISFA_AUS)] == list(DISFA_AUS)
    assert (len(BP4D_AUS), len(DISFA_AUS), len(RECORD_AUS)) == (12, 8, PLANES)
    assert SHARED_AUS == (1, 2, 4, 6, 12)
    with pytest.raises(ValueError, match="43"):
        record_columns((1, 43))
