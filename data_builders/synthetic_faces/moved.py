"""Pixels that an action unit moves: the difference between a frame drawn with it and the same frame without it.

The table lies beside the truth table, outside the data set folder. No record feature, stream or stage uses it.
"""

import functools
import hashlib
import os
import pathlib
import secrets
from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from data_builders.synthetic_faces.wild import behavior
from data_builders.synthetic_faces.wild import draw as strangers
from piapdf_jax.action_units import DISFA_POSITIVE_INTENSITY

SIDE = 256
#: Gray levels of 0..255 above which a pixel counts as moved.
LEVELS = 2.0
FRAMES = 200


class Moved(NamedTuple):
    """M pairs of a frame and a unit that it shows.

    Attributes:
        subject, task: [M] ids.
        frame: [M] int64.
        au: [M] int64, FACS number.
        packed: [M, 256 * 256 / 8] uint8, one bit a pixel by rows; 1 where the unit moves it.
    """

    subject: np.ndarray
    task: np.ndarray
    frame: np.ndarray
    au: np.ndarray
    packed: np.ndarray


def difference(with_unit: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Computes where two pictures differ by more than ``LEVELS`` in gray (mean of the channels).

    Args:
        with_unit: [H, W, 3] uint8.
        without: [H, W, 3] uint8.

    Returns:
        [H, W] bool.
    """
    change = with_unit.astype(np.float32).mean(-1) - without.astype(np.float32).mean(-1)
    return np.abs(change) > LEVELS


def cover(packed: np.ndarray, size: int) -> np.ndarray:
    """Computes how much of each pixel of a smaller picture moves.

    Args:
        packed: [M, 8192] uint8 of ``Moved``.
        size: side of the picture, pixels, at most 256.

    Returns:
        [M, size, size] float32 in [0, 1], the share of moved pixels of the full size, by area as frames are
        made smaller.
    """
    bits = np.unpackbits(packed, axis=1).reshape(-1, SIDE, SIDE).astype(np.float32)
    if size == SIDE:
        return bits
    return np.stack([cv2.resize(b, (size, size), interpolation=cv2.INTER_AREA) for b in bits])


def chosen(showing: np.ndarray, count: int = FRAMES) -> np.ndarray:
    """Returns [<= count] rows, evenly spaced over those in which at least one unit is on.

    Args:
        showing: [N, A] bool, whether a frame shows a unit.
        count: how many rows.
    """
    rows = np.flatnonzero(showing.any(axis=1))
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def moved_path(truth: pathlib.Path, frames: Iterable[tuple[str, str, int]]) -> pathlib.Path:
    """Returns where the table of some frames lies: beside the truth table, named by the frames."""
    words = "\n".join("/".join(map(str, frame)) for frame in frames)
    return truth.with_name(f"moved_{hashlib.sha256(words.encode()).hexdigest()[:12]}.npz")


def rules(kind: str, rows: list[tuple[str, str, int]], clean: np.ndarray) -> population.Rules:
    """Finds the switches by which a truth table was drawn.

    Args:
        kind: ``bp4d`` or ``disfa``.
        rows: (subject, task, frame) of some rows.
        clean: [N, A] their true labels.

    Raises:
        ValueError: where the program draws other labels than the table holds.
    """
    for habits in (True, False):
        found = population.Rules(kind, habits=habits)
        same = (
            [int(clip.clean[au][k]) for au in clip.clean] == row.tolist()
            for (clip, k), row in zip((_place(found, *key) for key in rows), clean, strict=True)
        )
        if all(same):
            return found
    raise ValueError(_OTHER_FACES)


_OTHER_FACES = "other faces were drawn for this truth table than this program draws"
#: A clip is asked for once a frame.
_sequence = functools.lru_cache(maxsize=512)(population.sequence)
_session = functools.lru_cache(maxsize=512)(behavior.clip)


def _place(
    found: population.Rules, subject: str, task: str, frame: int
) -> tuple[population.Clip, int]:
    clip = _sequence(found, subject, task)
    return clip, int(np.flatnonzero(clip.frames == frame)[0])


def draw(
    kind: str,
    rows: list[tuple[str, str, int]],
    clean: np.ndarray,
    *,
    renderer: Callable[..., np.ndarray] | None = None,
) -> Moved:
    """Draws frames with and without each unit that they show; scene and other units stay.

    Args:
        kind: ``bp4d``, ``disfa`` or ``wild``.
        rows: (subject, task, frame).
        clean: [N, A] true labels in the order of ``population.label_units``; intensities for DISFA.
        renderer: (person, strengths, scene, strengths that frame the crop) -> [256, 256, 3] uint8;
            None for the data set's own, which strangers always have.

    Returns:
        The table.
    """
    if kind == behavior.KIND:
        clips, painter = _strangers(rows, clean), _of_stranger
    else:
        own = rules(kind, rows, clean)
        clips = [_place(own, *key) for key in rows]
        painter = functools.partial(_of_person, kind, renderer or _picture)
    positive = DISFA_POSITIVE_INTENSITY if kind == "disfa" else 1
    units, found = population.label_units(kind), []
    for key, labels, (clip, k) in zip(rows, clean, clips, strict=True):
        strengths = clip.strengths[k]
        paint = painter(key, strengths)
        whole = paint(strengths)
        for au in np.array(units)[labels >= positive].tolist():
            others = {other: s for other, s in strengths.items() if other != au}
            found.append((*key, au, np.packbits(difference(whole, paint(others)))))
    subject, task, frame, au, packed = zip(*found, strict=True)
    numbers = np.array(frame, np.int64), np.array(au, np.int64)
    return Moved(np.array(subject), np.array(task), *numbers, np.stack(packed))


def _strangers(
    rows: list[tuple[str, str, int]], clean: np.ndarray
) -> list[tuple[population.Clip, int]]:
    """Where each frame of a stranger is.

    Raises:
        ValueError: where the program draws other labels than the table holds.
    """
    found = []
    for (subject, session, frame), labels in zip(rows, clean, strict=True):
        clip = _session(subject, session)
        if [int(clip.clean[au][frame]) for au in clip.clean] != labels.tolist():
            raise ValueError(_OTHER_FACES)
        found.append((clip, frame))
    return found


_Painter = Callable[[dict[int, float]], np.ndarray]


def _of_stranger(key: tuple[str, str, int], strengths: dict[int, float]) -> _Painter:
    """What draws some strengths of a frame, the others left out."""
    return functools.partial(strangers.steady, *key, strengths)


def _of_person(
    kind: str,
    paint: Callable[..., np.ndarray],
    key: tuple[str, str, int],
    framing: dict[int, float],
) -> _Painter:
    scene = draw_scene(population.generator("scene", kind, *key))
    face = population.person(kind, key[0])
    return lambda shown: paint(face, shown, scene, framing)


def _picture(face, strengths, scene, framing) -> np.ndarray:
    return render(face, strengths, scene, framing=framing).image


def load_or_draw(
    truth: pathlib.Path, wanted: list[tuple[str, str, int]], *, count: int = FRAMES
) -> Moved:
    """Reads the table of some test frames, or draws it and writes it whole.

    Args:
        truth: path of the truth table.
        wanted: (subject, task, frame) of the test part.
        count: how many frames of it are drawn.

    Raises:
        ValueError: for a truth table of other faces, or frames of which none shows a unit.
    """
    with np.load(truth, allow_pickle=False) as table:
        names = zip(table["subject"], table["task"], table["frame"], strict=True)
        places = {(str(s), str(t), int(f)): k for k, (s, t, f) in enumerate(names)}
        keys = [key for key in wanted if key in places]
        clean = table["clean"][[places[key] for key in keys]]
        units = table["label_aus"]
        kind = _kind(keys, units)
    positive = DISFA_POSITIVE_INTENSITY if kind == "disfa" else 1
    picked = chosen(clean >= positive, count)
    if not len(picked):
        raise ValueError(f"{truth}: none of the test frames shows a unit")
    keys, clean = [keys[k] for k in picked], clean[picked]
    path = moved_path(truth, keys)
    if path.exists():
        try:
            if _holds(found := read(path), keys, units, clean >= positive):
                return found
        except Exception:  # zip files and arrays fail in many ways: cut short, it is drawn again
            path.unlink(missing_ok=True)
    table = draw(kind, keys, clean)
    unfinished = path.with_name(f".{secrets.token_hex(4)}_moved.npz")
    np.savez_compressed(unfinished, **table._asdict())
    unfinished.replace(path)
    return table


def _kind(keys: list[tuple[str, str, int]], units: np.ndarray) -> str:
    """Which people a truth table is of."""
    if keys and keys[0][0] in behavior.subjects():
        return behavior.KIND
    return "disfa" if tuple(units) == population.label_units("disfa") else "bp4d"


def _holds(
    table: Moved, keys: list[tuple[str, str, int]], units: np.ndarray, on: np.ndarray
) -> bool:
    """Whether a table is of these frames and the units that they show, in this order."""
    wanted = [(*key, int(au)) for key, shown in zip(keys, on, strict=True) for au in units[shown]]
    names = zip(table.subject, table.task, table.frame, table.au, strict=True)
    found = [(str(s), str(t), int(f), int(au)) for s, t, f, au in names]
    return found == wanted and table.packed.shape == (len(wanted), SIDE * SIDE // 8)


def read(path: str | os.PathLike[str]) -> Moved:
    """Reads a table that ``load_or_draw`` wrote."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as table:
        return Moved(*(table[name] for name in Moved._fields))
