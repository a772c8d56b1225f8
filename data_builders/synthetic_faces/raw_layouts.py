"""Writes synthetic faces in the layouts of the real data sets, as input for their builders.

Pictures are not cropped: the head takes a bit more than half of each, and its landmarks are nowhere in BP4D, DISFA,
CASIA-WebFace and LFW.
"""

import csv
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import Picture, render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax.action_units import BP4D_AUS, UNKNOWN

_SIDE = 3.7  # of a raw picture, in outer-eye distances of the average face
_BP4D_COLUMNS = range(100)
_DISFA_VIDEO_RATE = 20.0
_FILE = {False: "path", True: "film"}  # column of one's own recordings


def write_raw(
    layout: str,
    root: str | os.PathLike[str],
    *,
    people: int | Sequence[str] | None = None,
    size: int = 400,
    rules: population.Rules | None = None,
    folder: str = "2D+3D",
    first_picture: int = 1,
    video: bool = False,
) -> pathlib.Path:
    """Writes one data set in its real layout.

    Args:
        layout: ``bp4d``, ``disfa``, ``afew_va``, ``webface``, ``lfw``, or ``own`` for people and the first task of
            BP4D as recordings of one's own.
        root: folder to write into; made where it is missing.
        people: how many people, or which ids; None writes all.
        size: side of a picture in pixels.
        rules: wrong and unknown labels, habits; None takes those of the builder's config.
        folder: BP4D: name of the folder that holds the pictures, "" for none.
        first_picture: BP4D: number of the picture of label row 1; 0 shifts the names by -1, as in some copies.
        video: DISFA: also writes the left camera's video; own: films alone, in place of pictures.

    Returns:
        The root.

    Raises:
        ValueError: for another layout, or a person that it does not have.
    """
    writers: dict[str, Callable[[], None]] = {
        "bp4d": lambda: _bp4d(path, names, size, chosen, folder, first_picture - 1),
        "disfa": lambda: _disfa(path, names, size, chosen, video),
        "afew_va": lambda: _afew_va(path, names, size, chosen),
        "webface": lambda: _webface(path, names, size),
        "lfw": lambda: _lfw(path, names, size),
        "own": lambda: _own(path, names, size, chosen, video),
    }
    if layout not in writers:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(writers)}")
    kind = "bp4d" if layout == "own" else layout
    unknown = 0.01 if layout == "bp4d" else 0.0
    chosen = rules or population.Rules(kind, unknown=unknown)
    names = _chosen(kind, people)
    path = pathlib.Path(root)
    path.mkdir(parents=True, exist_ok=True)
    writers[layout]()
    return path


def _chosen(layout: str, people: int | Sequence[str] | None) -> tuple[str, ...]:
    everyone = population.subjects(layout)
    if people is None or isinstance(people, int):
        return everyone[:people]
    strangers = sorted(set(people) - set(everyone))
    if strangers:
        raise ValueError(
            f"{layout} has no person named {strangers[0]!r}; choose from {everyone[:3]}..."
        )
    return tuple(people)


def _frames(
    rules: population.Rules, subject: str, task: str, size: int
) -> Iterable[tuple[int, int, Picture]]:
    """(position, frame number, picture) of a sequence."""
    sequence = population.sequence(rules, subject, task)
    face = population.person(rules.kind, subject)
    for k, frame in enumerate(sequence.frames.tolist()):
        rng = population.generator("raw", rules.kind, subject, task, frame)
        yield k, frame, render(face, sequence.strengths[k], draw_scene(rng), size=size, side=_SIDE)


def _save(path: pathlib.Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not cv2.imwrite: on some systems it fails on a path with letters beyond ASCII, without a word.
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, picture.image[..., ::-1], options)
    if not done:
        raise ValueError(f"OpenCV could not encode {path}")
    path.write_bytes(data.tobytes())


def _bp4d(root, names, size, rules, folder, offset) -> None:
    """Pictures by frame number; label rows for the coded frames, 9 where nobody coded."""
    labels = root / "AUCoding" / "AU_OCC"
    labels.mkdir(parents=True, exist_ok=True)
    for subject in names:
        for task in population.tasks("bp4d"):
            for _, frame, picture in _frames(rules, subject, task, size):
                _save(root / folder / subject / task / f"{frame + offset:04d}.jpg", picture)
            sequence = population.sequence(rules, subject, task)
            with (labels / f"{subject}_{task}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_BP4D_COLUMNS)
                for k in np.flatnonzero(sequence.coded):
                    row = [9] * len(_BP4D_COLUMNS)
                    row[0] = int(sequence.frames[k])
                    for au, values in sequence.published.items():
                        row[au] = 9 if values[k] == UNKNOWN else int(values[k])
                    writer.writerow(row)


def _disfa(root, names, size, rules, video) -> None:
    """Label lines count frames from 1, picture files from 0."""
    for subject in names:
        pictures = []
        for k, _, picture in _frames(rules, subject, "", size):
            _save(root / "Images" / subject / f"{k}.jpg", picture)
            pictures.append(picture.image)
        labels = root / "ActionUnit_Labels" / subject
        labels.mkdir(parents=True, exist_ok=True)
        for au, values in population.sequence(rules, subject, "").published.items():
            lines = [f"{k},{value}" for k, value in enumerate(values.tolist(), 1)]
            (labels / f"{subject}_au{au}.txt").write_text("\n".join(lines) + "\n")
        if video:
            _film(root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi", pictures)


def _film(path: pathlib.Path, pictures: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*"MJPG")
    film = cv2.VideoWriter(str(path), code, _DISFA_VIDEO_RATE, (width, height))
    if not film.isOpened():
        raise ValueError(f"OpenCV cannot write the video {path}")
    for picture in pictures:
        film.write(np.ascontiguousarray(picture[..., ::-1]))
    film.release()


def _own(root, names, size, rules, video) -> None:
    """``labels.csv``, and a film or a folder of pictures of each person; cells are empty where nobody coded."""
    task, rows = population.tasks("bp4d")[0], []
    for subject in names:
        sequence, pictures = population.sequence(rules, subject, task), []
        for k, frame, picture in _frames(rules, subject, task, size):
            file = f"pictures/{subject}/{frame:04d}.jpg"
            if video:
                file, frame = f"films/{subject}.avi", k
                pictures.append(picture.image)
            else:
                _save(root / file, picture)
            told = {au: values[k] for au, values in sequence.published.items() if sequence.coded[k]}
            cells = {f"AU{au}": value for au, value in told.items() if value != UNKNOWN}
            rows.append({_FILE[video]: file, "subject": subject, "frame": frame, **cells})
        if video:
            _film(root / "films" / f"{subject}.avi", pictures)
    units = [f"AU{au}" for au in BP4D_AUS]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [_FILE[video], "subject", "frame", *units], restval="")
        writer.writeheader()
        writer.writerows(rows)


def _afew_va(root, names, size, rules) -> None:
    """A clip for each actor, with landmarks in pixels of the picture, valence and arousal."""
    everyone = population.subjects("afew_va")
    for subject in names:
        clip = f"{everyone.index(subject) + 1:03d}"
        strengths = population.sequence(rules, subject, "").strengths
        frames = {}
        for k, _, picture in _frames(rules, subject, "", size):
            _save(root / clip / f"{k:05d}.png", picture)
            felt = {au: strengths[k].get(au, 0.0) for au in (1, 4, 6, 12, 15)}
            frames[f"{k:05d}"] = {
                "landmarks": np.round(picture.landmarks, 2).tolist(),
                "valence": round(6 * felt[12] + 3 * felt[6] - 5 * felt[4] - 5 * felt[15]),
                "arousal": round(min(10, 4 * sum(felt.values())) - 2),
            }
        content = {"video_id": clip, "actor": subject, "frames": frames}
        (root / clip / f"{clip}.json").write_text(json.dumps(content))


def _portraits(kind: str, name: str, size: int) -> Iterable[tuple[int, Picture]]:
    face = population.person(kind, name)
    for number in range(1, population.IDENTITIES[kind][1] + 1):
        rng = population.generator("raw", kind, name, number)
        strengths = population.loose_expression(rng)
        yield number, render(face, strengths, draw_scene(rng), size=size, side=_SIDE)


def _webface(root, names, size) -> None:
    for name in names:
        for number, picture in _portraits("webface", name, size):
            _save(root / name / f"{number:03d}.jpg", picture)


def _lfw(root, names, size) -> None:
    for name in names:
        for number, picture in _portraits("lfw", name, size):
            _save(root / "lfw" / name / f"{name}_{number:04d}.jpg", picture)
    rows = population.pairs(names)
    blocks = rows[-1][5] + 1 if rows else 0
    lines = [f"{blocks}\t{len(rows) // (2 * blocks) if blocks else 0}"]
    for one, first, other, second, same, _ in rows:
        words = (one, first, second) if same else (one, first, other, second)
        lines.append("\t".join(map(str, words)))
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
