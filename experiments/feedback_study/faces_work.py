"""Work of the study on faces: tuning, worlds, ablations and mechanism, each kept as soon as it is done."""

import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.feedback_study import (
    faces_arms,
    faces_data,
    faces_mechanism,
    faces_scores,
    faces_settings,
)
from experiments.feedback_study.faces_engine import Engine, Item, Probabilities
from experiments.feedback_study.faces_results import METRICS, MODELS
from experiments.feedback_study.faces_settings import REPORTED, Study
from experiments.feedback_study.faces_worlds import Deck, World
from piapdf_jax.runtime.digests import digest_of
from piapdf_jax.runtime.filesystem import replacing


class NotDone(ValueError):
    """What would have to be trained first is not there."""


class Chosen(NamedTuple):
    """What an arm chose, and whether it is an end of its candidates."""

    learning_rate: float
    weight: float
    edge: bool


class Work:
    """Does what is not done yet, and reads what is.

    A file is named by what decides its numbers, but for the code: after a change of that, take another folder.

    Args:
        study: what is run.
        folder: where files lie.
        deck: the drawn people; None only reads.
        log: takes lines of progress.
    """

    def __init__(
        self,
        study: Study,
        folder: pathlib.Path,
        deck: Deck | None,
        log: Callable[[str], Any] = print,
    ) -> None:
        self.study, self.folder, self.log = study, folder, log
        self.engine = Engine(deck, study.lengths, study.lanes) if deck else None
        settings = faces_settings.as_json(study)
        drawn = faces_data.checksum(study.people, study.tasks)
        self._shared = {key: settings[key] for key in ("people", "tasks", "sizes", "lengths")}
        self._shared["drawn"] = drawn

    def _path(self, name: str, settings: Any, suffix: str = ".npz") -> pathlib.Path:
        return self.folder / f"{name}_{digest_of([self._shared, settings])}{suffix}"

    # Tuning

    def start_rate(self) -> Chosen:
        """Returns the learning rate of the start, tuned or read."""
        rates = [(rate, 0.0) for rate in self.study.fine_rates]
        return self._choose("start", rates, [], self._starts_auc)

    def choose(self, name: str, rate: float | None = None) -> Chosen:
        """Returns the learning rate and the weight of an arm, tuned or read; the weight alone at a given rate."""
        start, arm = self.start_rate().learning_rate, faces_arms.find(name)

        def auc(items: Sequence[Item]) -> list[float]:
            assert self.engine
            runs = self.engine.run(arm, items, start, "tuning")
            return [faces_scores.roc_auc(getattr(r, arm.model), r.labels) for r in runs]

        pairs = self.study.candidates(name)
        if rate is not None:
            pairs = list(dict.fromkeys((rate, weight) for _, weight in pairs))
        return self._choose(name, pairs, [start, list(arm)], auc)

    def _starts_auc(self, items: Sequence[Item]) -> list[float]:
        assert self.engine
        return [faces_scores.roc_auc(*pair) for pair in self.engine.run_starts(items, "tuning")]

    def _choose(
        self, name: str, pairs: Sequence[tuple[float, float]], more: Any, auc: Any
    ) -> Chosen:
        study = self.study
        places = [(world, seed) for world in study.two for seed in study.tuning_seeds]
        settings = [pairs, [world.key for world in study.two], study.tuning_seeds, more]
        path = self._path(f"tuning/{name}", settings, ".json")
        if not (path.is_file() or self.engine):
            raise NotDone(f"--work={self.folder} does not hold the choice of {name}: {path.name}")
        if not path.is_file():
            begin = time.monotonic()
            found = auc([Item(*place, *pair) for pair in pairs for place in places])
            scores = np.reshape(found, (len(pairs), len(places))).mean(1)
            best = pairs[int(np.argmax(scores))]
            told = {"chosen": best, "edge": at_edge(pairs, best), "candidates": pairs}
            told |= {"roc_auc": scores.tolist(), "seconds": time.monotonic() - begin}
            with replacing(path) as part:
                part.write_text(json.dumps(told, indent=1) + "\n")
            self.log(f"tuned {name}: {best}, {scores.max():.2f} %, {told['seconds']:.0f} s")
        told = json.loads(path.read_text())
        rate, weight = told["chosen"]
        return Chosen(rate, weight, told["edge"])

    # Worlds

    def settings_of(self, name: str) -> Chosen:
        """Returns learning rate and weight of an arm or ablation.

        The rate is that which supervised training chose; the weight is the paper's 1, and where it has none, chosen
        at that rate. Tuned ones choose both.
        """
        arm = faces_arms.find(name)
        if name in faces_arms.TUNED:
            return self.choose(arm.varies)
        supervised = self.choose("supervised")
        if name == "supervised":
            return supervised
        rate = self.start_rate().learning_rate if arm.fresh else supervised.learning_rate
        if arm.unit in (0.0, 1.0):
            return Chosen(self.study.adamw_rate if arm.adamw else rate, arm.unit, edge=False)
        return self.choose(name, rate)

    def unit(self, name: str, world: World, seeds: int) -> pathlib.Path:
        """Returns the file of an arm, or ablation, in a world."""
        start, chosen = self.start_rate().learning_rate, self.settings_of(name)
        arm = faces_arms.find(name)
        kept = self._counted(name, world)
        settings = [world.key, seeds, start, chosen[:2], list(arm.training), kept]
        return self._path(f"worlds/{world.key}/{name}", settings)

    def _counted(self, name: str, world: World) -> bool:
        return name in self.study.counted and (world in REPORTED or world in self.study.two)

    def train(self, name: str, worlds: Sequence[tuple[World, int]]) -> int:
        """Trains an arm in worlds where it is not done, and returns how often."""
        assert self.engine
        begin, todo = time.monotonic(), [w for w in worlds if not self.unit(name, *w).is_file()]
        arm, chosen = faces_arms.find(name), self.settings_of(name)
        items = [Item(w, s, *chosen[:2]) for w, seeds in todo for s in range(seeds)]
        runs = self.engine.run(arm, items, self.start_rate().learning_rate, "test")
        for world, seeds in todo:
            rows = [self._row(name, next(runs), world, seed) for seed in range(seeds)]
            arrays = {key: np.stack([row[key] for row in rows], axis=-1) for key in rows[0]}
            if "counts" in arrays:
                arrays["counts"] = np.moveaxis(arrays["counts"], -1, 2)
            seconds = (time.monotonic() - begin) * seeds / len(items)
            with replacing(self.unit(name, world, seeds)) as part:
                np.savez_compressed(part, allow_pickle=False, **arrays, seconds=np.array(seconds))
        return len(items)

    def _row(self, name: str, run: Probabilities, world: World, seed: int) -> dict[str, np.ndarray]:
        assert self.engine
        rates = self.engine.deck.rates(seed, world)
        told = [faces_scores.score(getattr(run, model), run.labels, rates) for model in MODELS]
        row = {"scores": np.array([[one[m] for m in METRICS] for one in told])}
        row |= {key: np.array(value) for key, value in run.means.items()}
        if self._counted(name, world):
            probs = getattr(run, faces_arms.find(name).model)
            people = self.study.sizes.test
            row["counts"] = faces_scores.counts(probs, run.labels, rates, people)
        return row

    def references(self, world: World, seeds: int) -> pathlib.Path:
        """Scores the start and always yes in a world where that is not done; returns the file."""
        rate = self.start_rate().learning_rate
        path = self._path(f"worlds/{world.key}/references", [world.key, seeds, rate])
        if not path.is_file() and self.engine:
            items, rows = [Item(world, seed, rate) for seed in range(seeds)], []
            for item, (probs, labels) in zip(
                items, self.engine.run_starts(items, "test"), strict=True
            ):
                rates = self.engine.deck.rates(item.seed, world)
                both = faces_scores.score(probs, labels, rates), faces_scores.always_yes(labels)
                rows.append([[one[m] for m in METRICS] for one in both])
            with replacing(path) as part:
                np.savez_compressed(part, scores=np.stack(rows, axis=-1))
        return path

    # Mechanism

    def mechanism(self) -> list[dict[str, Any]]:
        """Returns what feedback prefers, measured or read."""
        study, world = self.study, self.study.mechanism_in
        starts, seeds, batches = study.mechanism
        rates = self.start_rate().learning_rate, self.choose("supervised").learning_rate
        path = self._path("mechanism", [study.mechanism, world.key, rates], ".json")
        if not path.is_file() and self.engine:
            args = self.engine.deck, study.lengths, world, seeds, batches
            rows = [r for s in starts for r in faces_mechanism.measure(*args, s, rates)]
            with replacing(path) as part:
                part.write_text(json.dumps(rows, indent=1) + "\n")
        return json.loads(path.read_text()) if path.is_file() else []


def at_edge(pairs: Sequence[tuple[float, float]], pair: tuple[float, float]) -> bool:
    """Returns whether a choice is an end of its candidates, so that a better one may lie beyond."""
    rows = [sorted(set(row)) for row in zip(*pairs, strict=True)]
    ends = [(row[0], row[-1]) if len(row) > 1 else () for row in rows]
    return any(value in end for value, end in zip(pair, ends, strict=True))
