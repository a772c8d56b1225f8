"""Table 3 of the paper as data: a method is an ordered list of trainings that meet through their exports."""

from typing import NamedTuple


class Training(NamedTuple):
    """One training of a method.

    Attributes:
        kind: which stage file trains it.
        section: which section of the config it reads.
        begin: training whose encoder it goes on from.
        title: what a person reads.
    """

    kind: str
    section: str
    begin: str | None
    title: str


TRAININGS = {
    "pi1": Training("pi1", "pi1", None, "PI stage 1 (PI Generator 0)"),
    "pi2": Training("pi2", "pi2", None, "PI stage 2 (PI Generator 1)"),
    "identity": Training("identity", "identity", None, "Encoder P"),
    "baseline": Training("au", "baseline", None, "Baseline"),
    "pi3": Training("au", "pi3", None, "PI stage 3"),
    "ap": Training("au", "ap", None, "AP"),
    "piap": Training("au", "piap", None, "PIAP"),
    "df": Training("feedback", "df", "baseline", "DF on the baseline"),
    "piapdf": Training("feedback", "df", "piap", "PIAP-DF"),
    "disfa": Training("au", "disfa", "piap", "PIAP on DISFA"),
}

#: Rows of table 3 (and table 2 for ``disfa``): the last training of each is what the row scores.
METHODS = {
    "baseline": ("baseline",),
    "pi2": ("pi1", "pi2"),
    "pi3": ("pi1", "pi2", "pi3"),
    "ap": ("identity", "ap"),
    "df": ("baseline", "df"),
    "piap": ("pi1", "pi2", "identity", "piap"),
    "piapdf": ("pi1", "pi2", "identity", "piap", "piapdf"),
    "disfa": ("pi1", "pi2", "identity", "piap", "disfa"),
}


def ordered(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The trainings of some methods, each once, every one after those it goes on from."""
    wanted = {training for method in methods for training in METHODS[method]}
    return tuple(name for name in TRAININGS if name in wanted)
