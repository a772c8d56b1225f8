"""Measures the promised properties of the synthetic faces, each number beside its target.

python -m data_builders.synthetic_faces.checks --data_dir=SHARDS
"""

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags

from data_builders.synthetic_faces import population, probes, truth
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as builder
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import command_line, commands, faces, folds, paths
from piapdf_jax.action_units import BP4D_AUS, record_columns
from piapdf_jax.tfds_files import validate_tfds_dir

_SAMPLE = 200  # frames that dlib looks at
_INNER = slice(17, 68)


def clips(rules: population.Rules) -> list[population.Clip]:
    """Draws every sequence of a data set with action units."""
    kind = rules.kind
    return [
        population.sequence(rules, subject, task)
        for subject in population.subjects(kind)
        for task in population.tasks(kind)
    ]


def label_rates() -> tuple[float, float, float]:
    """Measures always-yes F1 of part 3, share of published cells that are wrong, share that are unknown; percent."""
    found = clips(population.Rules("bp4d"))
    table = np.concatenate([_cells(clip, clip.clean) for clip in found])
    written = np.concatenate([_cells(clip, clip.published) for clip in found])
    tested = np.concatenate(
        [_cells(clip, clip.clean) for clip in found if clip.subject in folds.BP4D_PARTS[3]]
    )
    known = written >= 0
    wrong = 100 * float((written != table)[known].mean())
    return probes.f1(tested, np.ones_like(tested)), wrong, 100 * float((~known).mean())


def _cells(clip: population.Clip, table: dict[int, np.ndarray]) -> np.ndarray:
    return np.stack([table[au][clip.coded] for au in BP4D_AUS], 1)


def habit_information() -> dict[bool, float]:
    """Returns {habits on: bits that a person tells of a label}."""
    found = {}
    for switch in (True, False):
        listed = clips(population.Rules("bp4d", habits=switch))
        labels = np.concatenate([_cells(clip, clip.clean) for clip in listed])
        counts = [int(clip.coded.sum()) for clip in listed]
        people = [population.subjects("bp4d").index(clip.subject) for clip in listed]
        found[switch] = probes.person_information(
            labels, np.repeat(people, counts), np.repeat(np.arange(len(listed)), counts)
        )
    return found


def background_accuracy() -> float:
    """Measures the percent of LFW's pairs told apart by the mean color of the background alone."""
    colors = {}
    for name in population.subjects("lfw"):
        face = population.person("lfw", name)
        for number in range(1, population.IDENTITIES["lfw"][1] + 1):
            rng = population.generator("picture", "lfw", name, number)
            strengths = population.loose_expression(rng)
            picture = render(face, strengths, draw_scene(rng))
            colors[name, number] = picture.image[picture.behind > 0.95].mean(0)
    rows = population.pairs()
    distance = [np.linalg.norm(colors[row[0], row[1]] - colors[row[2], row[3]]) for row in rows]
    same, block = (np.array([row[k] for row in rows]) for k in (4, 5))
    return probes.pair_accuracy(np.array(distance), same, block)


def drawing_time() -> tuple[float, float]:
    """Measures milliseconds of one core that a frame takes: drawing alone, and drawing and encoding."""
    cv2.setNumThreads(1)
    rules = population.Rules("bp4d")
    specs = [
        builder.SequenceSpec(rules, subject, "T1", True, 0)
        for subject in population.subjects("bp4d")[:4]
    ]
    builder.draw(specs[0])
    start = time.process_time()
    count = sum(len(builder.draw(spec)) for spec in specs[1:])
    whole = (time.process_time() - start) / count
    face, scene = population.person("bp4d", "F001"), draw_scene(np.random.default_rng(0))
    start = time.process_time()
    for _ in range(20):
        render(face, {12: 0.8, 4: 0.5}, scene)
    return 1e3 * (time.process_time() - start) / 20, 1e3 * whole


def records(folder: pathlib.Path, split: str) -> Iterator[dict]:
    """Reads the decoded records of a split."""
    builder: Any = tfds.builder_from_directory(validate_tfds_dir(folder))
    yield from builder.as_data_source(split)


def ridge(data_dir: pathlib.Path) -> tuple[float, float, float, float]:
    """Measures always-yes F1 of part 3, and the three scores of ``probes.ridge_scores``."""
    folder = _folder(data_dir)
    table = _truth(data_dir)
    columns, x, y, z = record_columns(BP4D_AUS), {}, {}, {}
    for part in (1, 2, 3):
        listed = list(records(folder, folds.part_split(part)))
        small = [cv2.cvtColor(record["image"], cv2.COLOR_RGB2GRAY) for record in listed]
        small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in small]
        x[part] = np.stack(small).reshape(len(small), -1) / 255.0
        y[part] = np.stack([record["labels"][columns] for record in listed])
        z[part] = np.stack([table[_key(record)] for record in listed])
    group = np.repeat((0, 1), (len(x[1]), len(x[2])))
    pixels, labels = np.concatenate((x[1], x[2])), np.concatenate((y[1], y[2]))
    yes = probes.f1(z[3], np.ones_like(z[3]))
    return yes, *probes.ridge_scores(pixels, labels, group, x[3], z[3])


def _folder(data_dir: pathlib.Path) -> pathlib.Path:
    folder = data_dir / "synthetic_faces" / "bp4d" / truth.VERSION
    if not folder.is_dir():
        command = commands.prepare("synthetic_faces/bp4d", data_dir)
        raise FileNotFoundError(f"{folder} does not exist: {command}")
    return folder


def _key(record: dict) -> tuple[str, str, int]:
    subject, task = (
        text.decode() if isinstance(text, bytes) else text
        for text in (record["subject"], record["task"])
    )
    return subject, task, int(record["frame"])


def _truth(data_dir: pathlib.Path) -> dict[tuple[str, str, int], np.ndarray]:
    with np.load(truth.truth_path(data_dir, "bp4d"), allow_pickle=False) as file:
        keys = zip(
            file["subject"].tolist(), file["task"].tolist(), file["frame"].tolist(), strict=True
        )
        return dict(zip(keys, file["clean"], strict=True))


def detection(data_dir: pathlib.Path) -> tuple[float, float]:
    """Measures the percent of faces that dlib finds, and the error of its inner landmarks in percent of |36 - 45|."""
    detector = faces.DlibDetector()
    listed = list(records(_folder(data_dir), "part3"))
    errors = []
    rows = np.random.default_rng(0).choice(len(listed), min(_SAMPLE, len(listed)), replace=False)
    for row in rows:
        found, known = detector(listed[row]["image"]), listed[row]["landmarks"]
        if found is not None:
            width = np.linalg.norm(known[36] - known[45])
            errors.append(np.linalg.norm(found[_INNER] - known[_INNER], axis=1).mean() / width)
    return 100 * len(errors) / len(rows), 100 * float(np.mean(errors))


def _report(data_dir: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Rows of (what, number, target)."""
    yes, wrong, unknown = label_rates()
    yield "always-yes F1, part 3", f"{yes:.1f}", "40..55"
    yield "published labels that are wrong", f"{wrong:.2f} %", "4 %"
    yield "published labels that are unknown", f"{unknown:.2f} %", "1 %"
    bits = habit_information()
    yield "person tells of a label, with habits", f"{bits[True]:.3f} bit", "more than below"
    yield "person tells of a label, without", f"{bits[False]:.3f} bit", "less than above"
    drawn, whole = drawing_time()
    yield "drawing a frame", f"{drawn:.1f} ms", "-"
    yield "drawing and encoding a frame", f"{whole:.1f} ms", "at most 18 ms"
    yield "lfw pairs by background color", f"{background_accuracy():.1f} %", "below 55 %"
    base, half, tuned, best = ridge(data_dir)
    for name, score in (("0.5", half), ("tuned on train", tuned), ("best on test", best)):
        yield f"ridge on 32x32 gray, threshold {name}", f"{score - base:+.1f}", "below +6"
    try:
        found, error = detection(data_dir)
    except FileNotFoundError as reason:
        yield "faces that dlib finds", f"not measured: {reason}", "at least 85 %"
        return
    yield "faces that dlib finds", f"{found:.0f} %", "at least 85 %"
    yield "inner landmarks, dlib against ours", f"{error:.1f} %", "at most 8 %"


def _main(_: list[str]) -> None:
    data_dir = paths.data_dir(flags.FLAGS.data_dir)
    try:
        _folder(data_dir)  # missing after minutes would be a pity
    except FileNotFoundError as error:
        raise app.UsageError(str(error)) from error
    for what, number, target in _report(data_dir):
        print(f"{what:44s} {number:>12s}   target {target}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string(
        "data_dir", None, f"Directory of data sets (default: {paths.DATA_VARIABLE})."
    )
    command_line.run(_main)
