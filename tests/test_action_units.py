"""Action units of BP4D and DISFA against the lists that the two papers give."""

import pytest

from piapdf_jax import action_units
from piapdf_jax.action_units import ACTION_UNITS, BP4D_AUS, DISFA_AUS, RECORD_AUS, record_columns


def test_the_benchmarks_have_the_published_units() -> None:
    assert BP4D_AUS == (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    assert DISFA_AUS == (1, 2, 4, 6, 9, 12, 25, 26)
    assert action_units.DISFA_POSITIVE_INTENSITY == 2


def test_records_hold_the_union_of_both_benchmarks_in_order_of_number() -> None:
    assert tuple(sorted({*BP4D_AUS, *DISFA_AUS})) == RECORD_AUS


def test_every_unit_has_a_name_of_its_own_and_a_muscle() -> None:
    assert len({unit.name for unit in ACTION_UNITS}) == len(ACTION_UNITS) == len(RECORD_AUS)
    assert all(unit.muscle for unit in ACTION_UNITS)
    names = {unit.number: unit.name for unit in ACTION_UNITS}
    # The FACS manual's names of three units that are often confused.
    assert names[6] == "cheek raiser" and names[7] == "lid tightener"
    assert names[12] == "lip corner puller"


def test_the_unknown_label_is_no_label_of_a_coder() -> None:
    assert action_units.UNKNOWN < 0


@pytest.mark.parametrize("aus", [BP4D_AUS, DISFA_AUS, (26, 1), ()])
def test_columns_lead_back_to_the_units_in_the_asked_order(aus: tuple[int, ...]) -> None:
    assert tuple(RECORD_AUS[column] for column in record_columns(aus)) == aus


def test_columns_of_a_unit_that_records_lack_are_refused_by_its_number() -> None:
    with pytest.raises(ValueError, match=r"\[3, 45\]"):
        record_columns((1, 3, 45))
