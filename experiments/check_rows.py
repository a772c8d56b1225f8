"""Recomputes rows of a report's tables independently, by their titles."""

import functools
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments import check_auc, recomputed
from experiments.check_draws import Fold, Sampler
from experiments.recomputed import Draws, Sums
from experiments.report_types import Group
from experiments.trainings import TRAININGS

_CUTS = {"F1 matched": "matched", "F1 model.json": "model"}
#: A unit that a smaller share of the training labels shows is rare.
_RARE = 0.3
#: What is compared beside the baseline.
_PAIRS = {
    (a, b, "probs") for a, b in (("piapdf", "piap"), ("longer", "piap"), ("piapdf", "longer"))
}


class Wanted(NamedTuple):
    """A cell made once more; None for what is not printed there.

    Attributes:
        value: of the score, None for a gap.
        drawn: [R] scores with other people; None for no interval.
        p: the lowest and the highest that agrees.
        better: probability.
        positives, people: counts.
    """

    value: float | None
    drawn: np.ndarray | None = None
    p: tuple[float, float] | None = None
    better: float | None = None
    positives: int | None = None
    people: int | None = None


class Study:
    """A group's numbers, by the titles of rows."""

    def __init__(self, group: Group, against: str, draws: Draws, seed: int) -> None:
        self.group, self.draws, self.sampler = group, draws, Sampler(draws, seed)
        self.labels = "coded" if against == "published" else "true"
        self.f1 = functools.cache(self._f1)
        self.auc = functools.cache(self._auc)
        self.pooled = functools.cache(self._pooled)
        names = dict.fromkeys((*TRAININGS, *(name for run in group.runs for name in run.frames)))
        stored = {name: recomputed.stored_frames(group, name) for name in names}
        self.stored = {name: folds for name, folds in stored.items() if folds}
        self.methods = [
            (name, probs)
            for name in self.stored
            for probs in ("probs", "teacher_probs")
            if self.f1(name, probs)
        ]

    def frames(self, name: str, probs: str) -> list[list[dict[str, np.ndarray]]]:
        """Returns a training's seeds that can be scored, by fold; a fold without them is left out."""
        kept = [
            [one for one in seeds if probs in one and self.labels in one]
            for seeds in self.stored.get(name, {}).values()
        ]
        return [seeds for seeds in kept if seeds]

    def _f1(self, name: str, probs: str, cut: str = "half") -> list[Sums]:
        """Counts a training's people by fold, all seeds at one cut."""
        return [
            recomputed.joined([recomputed.f1_sums(s, s[self.labels], s[probs], cut) for s in seeds])
            for seeds in self.frames(name, probs)
        ]

    def _auc(self, name: str, probs: str) -> list[check_auc.Pairs]:
        """Compares a training's pairs of frames by fold."""
        return [
            check_auc.joined([check_auc.seed_of(s, s[self.labels], s[probs]) for s in seeds])
            for seeds in self.frames(name, probs)
        ]

    def _pooled(self, name: str, probs: str) -> list[list[dict[str, np.ndarray]]]:
        """Scores a training by fold and seed without people."""
        return [
            [recomputed.pooled(s[self.labels], s[probs]) for s in seeds]
            for seeds in self.frames(name, probs)
        ]

    def units(self, name: str) -> list[int]:
        """Returns the FACS numbers of a training's columns."""
        return [int(au) for au in next(iter(self.stored[name].values()))[0]["aus"]]

    def title(self, name: str, probs: str) -> str:
        """Returns what a row calls a method."""
        title = TRAININGS[name].title if name in TRAININGS else name
        return title + (", teacher" if probs == "teacher_probs" else "")

    def cells(
        self,
        folds: Sequence[Fold],
        beside: Sequence[Fold] | None = None,
        *,
        less: bool = False,
        scale: int = 1,
    ) -> list[Wanted]:
        """Recomputes the cells of own units and the mean: scores, or differences to another method, and p values."""
        values, few, made = recomputed.value(folds), recomputed.few(folds), self.sampler
        p, better = [None] * len(values), [None] * len(values)
        frames, people = recomputed.shown(folds)
        if beside is not None and _same_people(folds, beside):
            apart = values - recomputed.value(beside)
            none = few | np.isnan(apart)
            if isinstance(folds[0], Sums):
                p = made.p_range(folds, beside, none)
            better = made.better(folds, beside, none)
            values = apart if less else values
        drawn = scale * made.bootstrap(folds, beside if less else None)
        counts = [(int(f), int(n)) for f, n in zip(frames, people, strict=True)]
        counts.append((None, sum(len(fold.ids) for fold in folds)))  # type: ignore[arg-type]
        return [
            Wanted(
                _number(scale * values[c]),
                _told(drawn[:, c]) if not few[c] else None,
                p[c],
                better[c],
                *(counts[c] if not less else (None, None)),
            )
            for c in range(len(values))
        ]

    def floor(self, folds: list[Sums]) -> list[Wanted]:
        """Recomputes the cells of always yes, which have neither intervals nor a comparison."""
        frames, people = (counts.tolist() for counts in recomputed.shown(folds))
        frames, people = [*frames, None], [*people, sum(len(fold.ids) for fold in folds)]
        return [
            Wanted(_number(value), positives=f, people=n)
            for value, f, n in zip(recomputed.value(folds), frames, people, strict=True)
        ]

    def paper(self, units: list[int], names: list[str]) -> dict[str, list[Wanted]]:
        """Recomputes the rows of tables 1 to 3: each method beside the group's first, and always yes."""
        there = [name for name in names if (name, "probs") in self.methods]
        if not there:
            return {}
        first, found = self.f1(there[0], "probs"), {}
        floor = self.floor(self.f1(there[0], "probs", "always"))
        found[f"always yes, {self.group.title}"] = _placed(floor, self.units(there[0]), units)
        for name, probs in self.methods:
            if name in there:
                beside = None if (name, probs) == (there[0], "probs") else first
                missing = {1, 2, 3} - self.folds(name, probs)
                mark = " \N{DAGGER}" if missing else ""
                cells = self.cells(self.f1(name, probs), beside)
                title = f"{self.title(name, probs)}, {self.group.title}{mark}"
                found[title] = _placed(cells, self.units(name), units)
        return found

    def folds(self, name: str, probs: str) -> set[int]:
        """Returns the folds that a method is scored on."""
        told = self.stored[name].items()
        return {f for f, seeds in told if any(probs in s and self.labels in s for s in seeds)}

    def scores(self, columns: Sequence[str]) -> dict[str, list[Wanted]]:
        """Recomputes the rows of the table of mean scores."""
        found = {}
        for name, probs in self.methods:
            cells = [self._score(name, probs, column) for column in columns]
            found[f"{self.title(name, probs)}, {self.group.title}"] = cells
        return found

    def _score(self, name: str, probs: str, column: str) -> Wanted:
        if column == "parameters":
            return Wanted(self._parameters(name))
        if column == "always yes":
            return Wanted(_number(recomputed.value(self.f1(name, probs, "always"))[-1]))
        if column == "ROC AUC":
            return self.cells(self.auc(name, probs))[-1]._replace(people=None)
        if not column.startswith("F1"):
            folds = [
                recomputed.mean([s[column] for s in seeds]) for seeds in self.pooled(name, probs)
            ]
            return Wanted(_number(recomputed.with_mean(folds)[-1]))
        rates = recomputed.mean([seeds[0]["base_rates"] for seeds in self.stored[name].values()])
        every = np.full(len(rates), True)
        chosen = {"F1 rare": rates < _RARE, "F1 frequent": rates >= _RARE}.get(column, every)
        if not chosen.any():
            return Wanted(None)
        folds = self.f1(name, probs, _CUTS.get(column, "half"))
        if not chosen.all():
            folds = [Sums(ids, told[:, chosen], sums[:, :, chosen]) for ids, told, sums in folds]
        return self.cells(folds)[-1]._replace(people=None)

    def _parameters(self, name: str) -> float | None:
        (run, *_) = [run for run in self.group.runs if name in run.frames]
        told = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
        return told["trainings"][name]["scores"].get("parameters")

    def differences(
        self, units: list[int], score: Callable[[str, str], Sequence[Fold]], scale: int = 1
    ) -> dict[str, list[Wanted]]:
        """Recomputes the rows of a table of differences, of all pairs of methods."""
        found = {}
        for name, probs in self.methods:
            for other, beside in self.methods:
                pair = name, probs, other, beside
                if not self._compared(*pair) or self.units(name) != self.units(other):
                    continue
                first, second = score(name, probs), score(other, beside)
                if _same_people(first, second):
                    title = f"{self.title(name, probs)} - {self.title(other, beside)}"
                    cells = self.cells(first, second, less=True, scale=scale)
                    cells = _placed(cells, self.units(name), units)
                    found[f"{title}, {self.group.title}"] = cells
        return found

    @staticmethod
    def _compared(name: str, probs: str, other: str, beside: str) -> bool:
        """All with the baseline, PIAP-DF and PIAP for as long with PIAP, these two, a student with its teacher."""
        if (other, beside) == ("baseline", "probs"):
            return name != "baseline"
        student = probs == "probs"
        return student and (
            (name, other, beside) in _PAIRS or (name == other and beside == "teacher_probs")
        )

    def evidence(self, units: list[int]) -> dict[str, list[Wanted]]:
        """Recomputes the rows of the table of what each score rests on."""
        found = {}
        for name, probs in self.methods:
            if probs != "probs":
                continue
            dataset = str(next(iter(self.stored[name].values()))[0]["dataset"])
            own = self.units(name)
            for what, counts in zip(
                ("positive frames", "people who show it"),
                recomputed.shown(self.f1(name, probs)),
                strict=True,
            ):
                by = dict(zip(own, counts, strict=True))
                cells = [Wanted(float(by[au]) if au in by else None) for au in units]
                found[f"{what}, {self.group.title}, {dataset}"] = cells
        return found

    def probe(self) -> dict[str, list[Wanted]]:
        """Recomputes the rows of the identity probe."""
        found = {}
        for name, probs in self.methods:
            told = [
                [s for s in seeds if "probe_correct" in s] for seeds in self.stored[name].values()
            ]
            told = [seeds for seeds in told if seeds]
            if probs == "probs" and told:
                folds = [
                    recomputed.joined([recomputed.probe_sums(s) for s in seeds]) for seeds in told
                ]
                accuracy = self.cells(folds)[-1]._replace(people=None)
                chance = np.mean([100 * float(seeds[0]["probe_chance"]) for seeds in told])
                found[f"{self.title(name, probs)}, {self.group.title}"] = [
                    accuracy,
                    Wanted(float(chance)),
                ]
        return found


def _placed(cells: list[Wanted], own: list[int], units: list[int]) -> list[Wanted]:
    by = dict(zip(own, cells, strict=False))
    return [*(by.get(au, Wanted(None)) for au in units), cells[-1]]


def _same_people(a: Sequence[Fold], b: Sequence[Fold]) -> bool:
    told = [[(fold.ids.tolist(), len(fold.sums)) for fold in folds] for folds in (a, b)]
    return told[0] == told[1]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _told(drawn: np.ndarray) -> np.ndarray | None:
    """Draws that have a score; None for none."""
    return drawn[~np.isnan(drawn)] if not np.isnan(drawn).all() else None
