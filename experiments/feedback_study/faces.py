"""Does discrete feedback help on faces? Its variants beside supervised training, on drawn people whose truth is known.

python -m experiments.feedback_study.faces                   # two hours of two cores; goes on where it stopped
python -m experiments.feedback_study.faces --quick --work=/tmp/study --out=/tmp/study
python -m experiments.feedback_study.faces --collect         # trains nothing, takes what is done
python -m experiments.feedback_study.faces --render          # tables and figures again, of the numbers by seed in --out

A small network reads gradients of drawn faces. In every world (labeled people, new people without labels,
share of wrong labels) all arms start from one supervised training and go on for as long; a seed deals
people, wrong labels, weights and batches anew. Supervised training tunes its learning rate on published
labels of people kept apart, in two of the worlds, and all arms use it; in these worlds each arm is also shown
with a rate and weight of its own, tuned among as many candidates.
"""

import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags, logging

from experiments.feedback_study import (
    faces_arms,
    faces_data,
    faces_figures,
    faces_report,
    faces_results,
    faces_settings,
)
from experiments.feedback_study.faces_results import METRICS, MODELS, REFERENCES, Results
from experiments.feedback_study.faces_settings import Study
from experiments.feedback_study.faces_work import NotDone, Work
from experiments.feedback_study.faces_worlds import Deck, World
from experiments.process import versions
from piapdf_jax import command_line, paths

_WORK = flags.DEFINE_string(
    "work", "runs/feedback_study", "folder of drawn people and finished parts"
)
_OUT = flags.DEFINE_string("out", "docs", "folder of numbers, page and pictures")
_QUICK = flags.DEFINE_bool("quick", False, "seconds instead of hours; the numbers mean nothing")
_COLLECT = flags.DEFINE_bool(
    "collect", False, "train nothing, take the worlds that are done in --work"
)
_RENDER = flags.DEFINE_bool("render", False, "train nothing, read the numbers by seed in --out")

Block = tuple[str, tuple[tuple[World, int], ...]]


def blocks(study: Study) -> list[Block]:
    """Returns what is trained at a time: an arm, and worlds whose seeds fill whole rows of lanes."""
    parts: list[list[tuple[World, int]]] = [[]]
    for world in study.worlds:
        if parts[-1] and sum(seeds for _, seeds in parts[-1]) % study.lanes == 0:
            parts.append([])
        parts[-1].append(world)
    return [(name, tuple(part)) for part in parts for name in study.arms]


def run(study: Study, work: Work) -> None:
    """Runs what is not done yet: worlds, mechanism, ablations with what they tune."""
    work.settings_of("supervised")
    _train(work, blocks(study))
    work.mechanism()
    for name in study.ablations:
        work.settings_of(name)
    _train(work, [(n, ((w, study.ablated),)) for w in study.two for n in study.ablations])


def _train(work: Work, every: Sequence[Block]) -> None:
    todo = [(n, w, s) for n, worlds in every for w, s in worlds if not work.unit(n, w, s).is_file()]
    left, done, begin = sum(seeds for *_, seeds in todo), 0, time.monotonic()
    for name, worlds in every:
        for world, seeds in worlds:
            work.references(world, seeds)
        count = work.train(name, worlds)
        if count:
            done, left = done + count, left - count
            seconds = time.monotonic() - begin
            keys, to_go = " ".join(world.key for world, _ in worlds), left * seconds / done
            told = f"{left} trainings left, {to_go / 60:.0f} min"
            work.log(f"{seconds / 60:.1f} min: {name} in {keys}; {told}")


def collect(study: Study, work: Work) -> Results:
    """Returns the results of the worlds and ablations that are done.

    Raises:
        ValueError: no world is.
    """
    found: dict[str, Any] = {key: {m: {} for m in METRICS} for key in ("scores", "references")}
    worlds, counts, seconds = [], {}, 0.0
    for world, seeds in study.worlds:
        if (parts := _parts(study, work, world, seeds)) is None:
            continue
        worlds.append(world._asdict() | {"seeds": seeds})
        told = parts.pop("references")["scores"]
        seconds += sum(float(part["seconds"]) for part in parts.values())
        for m, metric in enumerate(METRICS):
            arms = {name: _models(part["scores"][:, m]) for name, part in parts.items()}
            found["scores"][metric][world.key] = arms
            found["references"][metric][world.key] = dict(zip(REFERENCES, told[:, m], strict=True))
        counted = {n: _counts(p["counts"]) for n, p in parts.items() if "counts" in p}
        counts |= {world.key: counted} if counted else {}
    if not worlds:
        raise ValueError(f"--work={work.folder} holds no world in which all arms are done.")
    titles, ablations = _ablations(study, work)
    arms = [(name, faces_arms.ARMS[name]) for name in study.arms]
    chosen = (*study.arms, *titles)
    return Results(
        worlds=worlds,
        arms=[{"name": name, "title": arm.title, "model": arm.model} for name, arm in arms],
        **found,
        chosen={name: work.settings_of(name)._asdict() for name in chosen},
        ablations=ablations,
        ablation_titles=titles,
        counts=counts,
        mechanism=work.mechanism(),
        about=_about(study, work, seconds),
    )


def _parts(study: Study, work: Work, world: World, seeds: int) -> dict[str, Any] | None:
    """What is kept of a world, by arm and of its references; None where something is missing."""
    files = {name: work.unit(name, world, seeds) for name in study.arms}
    files["references"] = work.references(world, seeds)
    if not all(path.is_file() for path in files.values()):
        return None
    return {name: dict(np.load(path, allow_pickle=False)) for name, path in files.items()}


def _about(study: Study, work: Work, seconds: float) -> dict[str, Any]:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    start = work.start_rate()._asdict()
    told = {"versions": versions(), "machine": machine, "seconds": seconds, "start": start}
    return told | {"settings": faces_settings.as_json(study)}


def _models(pair: Any) -> dict[str, Any]:
    return dict(zip(MODELS, pair, strict=True))


def _counts(array: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    cuts = [dict(zip(faces_results.COUNTS, cut, strict=True)) for cut in array]
    return dict(zip(faces_results.CUTS, cuts, strict=True))


def _ablations(study: Study, work: Work) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    """Titles and scores of the ablations that are done in all of their worlds."""
    titles, found = {}, {}
    for name in study.ablations:
        try:
            files = {world.key: work.unit(name, world, study.ablated) for world in study.two}
            scores = {
                key: np.load(path, allow_pickle=False)["scores"] for key, path in files.items()
            }
        except (NotDone, FileNotFoundError):
            continue
        arm = faces_arms.ABLATIONS[name]
        titles[name] = arm.title, arm.varies
        for key, both in scores.items():
            by = [dict(zip(METRICS, model, strict=True)) for model in both]
            found.setdefault(key, {})[name] = _models(by)
    return titles, found


def main(argv: list[str]) -> None:
    """Runs the study, or reads what is done of it, and writes numbers by seed, tables and figures."""
    del argv
    study = faces_settings.QUICK if _QUICK.value else faces_settings.FULL
    folder, out = (
        paths.target_folder(_WORK.value, "--work"),
        paths.target_folder(_OUT.value, "--out"),
    )
    logging.set_verbosity(logging.WARNING)  # JAX tells of platforms that are not there
    try:
        faces_figures.pyplot()  # missing after hours would be a pity
        if _RENDER.value:
            print(faces_report.render(out))
            return
        if not _COLLECT.value:
            jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
            faces = faces_data.load(folder, study.people, study.tasks)
            run(study, Work(study, folder, Deck(faces, study.sizes), _log))
        print(faces_report.publish(collect(study, Work(study, folder, None)), out))
    except (OSError, ValueError) as error:
        command_line.fail(error)


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    command_line.run(main)
