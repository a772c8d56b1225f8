"""Action units of the two benchmarks: the only place in the project that defines AU numbers.

An action unit (AU) is one visible muscle movement of the Facial Action Coding System (FACS).
"""

from typing import NamedTuple


class ActionUnit(NamedTuple):
    """One action unit: its FACS number, name and the muscle that makes it."""

    number: int
    name: str
    muscle: str


ACTION_UNITS = (
    ActionUnit(1, "inner brow raiser", "frontalis, medial part"),
    ActionUnit(2, "outer brow raiser", "frontalis, lateral part"),
    ActionUnit(4, "brow lowerer", "corrugator, depressor supercilii, procerus"),
    ActionUnit(6, "cheek raiser", "orbicularis oculi, orbital part"),
    ActionUnit(7, "lid tightener", "orbicularis oculi, palpebral part"),
    ActionUnit(9, "nose wrinkler", "levator labii superioris alaeque nasi"),
    ActionUnit(10, "upper lip raiser", "levator labii superioris"),
    ActionUnit(12, "lip corner puller", "zygomaticus major"),
    ActionUnit(14, "dimpler", "buccinator"),
    ActionUnit(15, "lip corner depressor", "depressor anguli oris"),
    ActionUnit(17, "chin raiser", "mentalis"),
    ActionUnit(23, "lip tightener", "orbicularis oris"),
    ActionUnit(24, "lip pressor", "orbicularis oris"),
    ActionUnit(25, "lips part", "depressor labii, relaxed mentalis or orbicularis oris"),
    ActionUnit(26, "jaw drop", "relaxed masseter, temporalis and internal pterygoid"),
)

#: Every AU that has a PI map and a label column in a record, in the order of both.
RECORD_AUS = tuple(unit.number for unit in ACTION_UNITS)
BP4D_AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
DISFA_AUS = (1, 2, 4, 6, 9, 12, 25, 26)

#: DISFA codes intensities 0..5; an AU counts as present from this intensity on.
DISFA_POSITIVE_INTENSITY = 2

#: Label of a cell that nobody coded: masked in the loss and in every score.
UNKNOWN = -1


def record_columns(aus: tuple[int, ...]) -> list[int]:
    """Returns the positions of some AUs among the label columns and PI planes of a record.

    Args:
        aus: FACS numbers, in the wanted order.

    Returns:
        One index into ``RECORD_AUS`` for each.

    Raises:
        ValueError: for an AU that records do not hold.
    """
    missing = [au for au in aus if au not in RECORD_AUS]
    if missing:
        raise ValueError(f"records hold no AU {missing}; they hold {list(RECORD_AUS)}")
    return [RECORD_AUS.index(au) for au in aus]
