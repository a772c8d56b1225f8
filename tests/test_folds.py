import itertools

import pytest

from piapdf_jax import folds


@pytest.mark.parametrize(
    ("parts", "sizes"), [(folds.BP4D_PARTS, [14, 14, 13]), (folds.DISFA_PARTS, [9, 9, 9])]
)
def test_parts_share_no_participant(parts, sizes):
    assert [len(set(parts[part])) for part in (1, 2, 3)] == sizes
    for one, two in itertools.combinations(parts.values(), 2):
        assert not set(one) & set(two)


def test_participants():
    women = [f"F{k:03}" for k in range(1, 24)]
    men = [f"M{k:03}" for k in range(1, 19)]
    assert sorted(folds.BP4D_SUBJECTS) == women + men
    numbers = [*range(1, 14), 16, 17, 18, 21, *range(23, 33)]
    assert sorted(folds.DISFA_SUBJECTS) == [f"SN{k:03}" for k in numbers]


def test_fold_k_tests_part_4_minus_k():
    assert [folds.test_part(k) for k in (1, 2, 3)] == [3, 2, 1]
    assert folds.part_of("F004", folds.BP4D_PARTS) == 3
    assert folds.part_split(2) == "part2"
    assert folds.part_split(2, coded=False) == "part2_uncoded"


@pytest.mark.parametrize("fold", [0, 4, "1"])
def test_a_fold_that_is_none(fold):
    with pytest.raises(ValueError, match="1, 2 or 3"):
        folds.test_part(fold)


def test_a_participant_that_is_none():
    with pytest.raises(ValueError, match="F024"):
        folds.part_of("F024", folds.BP4D_PARTS)
