"""Figure 1 as the paper draws it: a bounding patch beside a PI region, and maps in three views."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import lacks, pictures
from experiments.gaps import Gap, attempt
from experiments.job import Job
from piapdf_jax.batch import images_to_float, unpack_maps
from piapdf_jax.data.frames import ReaderConfig, load_frame
from piapdf_jax.data.source import Records
from piapdf_jax.runtime.filesystem import replacing
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts

CELL, GAP, HEAD = 192, 12, 28
RED, BLUE = (220, 20, 20), (30, 80, 230)
_WANTED = (6, 2)


def drawn(
    folder: pathlib.Path,
    job: Job,
    finished: Callable[[str], tuple[Stage, Parts]],
    expected: tuple[type[Exception], ...],
) -> dict[str, Any]:
    """Draws the PI maps and figure 1 of a run.

    Args:
        folder: of the run.
        job: of PI stage 2.
        finished: name of a training -> its stage and its export.
        expected: errors whose message is the reason of a gap.

    Returns:
        ``picture`` and ``figure1``: where they are; ``gaps`` of those that are not.
    """
    lost: dict[str, str] = {}

    def draw(name: str, function: Callable[..., None]) -> str:
        if job.slices.test is None:
            raise Gap(lacks.no_scores(job))
        reading = dataclasses.replace(job.reading(training=False), host=0, hosts=1)
        sources = {f"PI Generator {k}": finished(f"pi{k + 1}") for k in range(2)}
        function(folder / name, job.slices.test.records(), reading, sources)
        return str(folder / name)

    both = {"picture": ("pi_maps.png", pictures.pi_maps), "figure1": ("figure1.png", figure1)}
    found = {
        key: attempt(lost, key, functools.partial(draw, *what), expected=expected)
        for key, what in both.items()
    }
    found = {key: path for key, path in found.items() if path is not None}
    return found | ({"gaps": lost} if lost else {})


def figure1(
    path: pathlib.Path,
    records: Records,
    reading: ReaderConfig,
    generators: dict[str, tuple[Stage, Parts]],
) -> None:
    """Draws figure 1 for a face whose maps are not empty.

    Args:
        path: PNG to write.
        records: source of faces with predefined maps.
        reading: image size and maps.
        generators: title -> (stage, export); the last is PI Generator 1.

    Raises:
        Gap: where no frame has a predefined map of the units that are drawn.
        OSError: where the picture cannot be written.
    """
    import cv2

    units = tuple(au for au in _WANTED if au in reading.maps) or reading.maps[:2]
    image, predefined = _face(records, reading, units)
    stage, exported = list(generators.values())[-1]
    probs = stage.predict(exported, jnp.asarray(image[None])).pi_probs
    assert probs is not None
    picture = compose(image, predefined, np.asarray(probs)[0], reading.maps, units)
    with replacing(path) as part:
        if not cv2.imwrite(str(part), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"cannot write {path}")


def _face(records: Records, reading: ReaderConfig, units: tuple[int, ...]):
    """The first image [S, S, 3] in [0, 1] whose maps [S, S, K] of some units are not empty."""
    columns = [reading.maps.index(au) for au in units]
    for row in range(min(len(records), 500)):
        frame = load_frame(records, row, reading)
        packed = jnp.asarray(np.asarray(frame.pi_maps)[None])
        maps = np.asarray(unpack_maps(packed, len(reading.maps)))[0]
        if maps[..., columns].any(axis=(0, 1)).all():
            return np.asarray(images_to_float(jnp.asarray(frame.image))), maps
    names = " and ".join(f"AU{au}" for au in units)
    raise Gap(f"no test frame has predefined maps of {names}")


def compose(
    image: np.ndarray,
    predefined: np.ndarray,
    refined: np.ndarray,
    maps: tuple[int, ...],
    units: tuple[int, ...],
) -> np.ndarray:
    """Lays the figure out.

    Args:
        image: [S, S, 3] in [0, 1].
        predefined: [S, S, K] of 0 and 1.
        refined: [S, S, K] in [0, 1], of PI Generator 1.
        maps: units of the K maps.
        units: those of rows (a), its first, and (b).

    Returns:
        [H, W, 3] uint8 RGB on white.
    """
    first = maps.index(units[0])
    rows = [
        [
            _cell(patch(image, predefined[..., first]), f"(a) AU{units[0]}, patch"),
            _cell(region(image, predefined[..., first]), f"AU{units[0]}, PI region"),
        ]
    ]
    for au in sorted(units):
        k = maps.index(au)
        rows.append(
            [
                _cell(region(image, predefined[..., k]), f"(b) AU{au}, predefined"),
                _cell(region(image, refined[..., k] > 0.5), "Generator 1, binary"),
                _cell(heat(image, refined[..., k]), "Generator 1, heat"),
            ]
        )
    for start in range(0, len(maps), 4):
        some = range(start, min(start + 4, len(maps)))
        rows.append(
            [_cell(region(image, predefined[..., k]), f"AU{maps[k]}, predef.") for k in some]
        )
        rows.append([_cell(heat(image, refined[..., k]), f"AU{maps[k]}, Gen. 1") for k in some])
    widest = max(map(len, rows))
    blank = np.full((CELL + HEAD + GAP, CELL + GAP, 3), 255, np.uint8)
    return np.concatenate(
        [np.concatenate([*row, *[blank] * (widest - len(row))], axis=1) for row in rows], axis=0
    )


def _shown(image: np.ndarray) -> np.ndarray:
    import cv2

    whole = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return cv2.resize(whole, (CELL, CELL), interpolation=cv2.INTER_AREA)


def _large(values: np.ndarray) -> np.ndarray:
    import cv2

    size = (CELL, CELL)
    return cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]


def patch(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Draws the smallest box around a map over a face, translucent red; [CELL, CELL, 3] uint8."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.zeros(inside.shape, np.float32)
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return _tint(image, box, RED)


def region(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Draws a map over a face, translucent blue; [CELL, CELL, 3] uint8."""
    return _tint(image, inside, BLUE)


def heat(image: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Draws a soft map over a face as heat; [CELL, CELL, 3] uint8."""
    import cv2

    large = np.clip(_large(probs), 0, 1)
    colors = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    gray = np.repeat(_shown(image).mean(-1, keepdims=True), 3, -1)
    return ((1 - 0.6 * large) * gray + 0.6 * large * colors).astype(np.uint8)


def _tint(image: np.ndarray, inside: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    alpha = 0.5 * _large(inside)
    return ((1 - alpha) * _shown(image) + alpha * np.array(color)).astype(np.uint8)


def _cell(picture: np.ndarray, title: str) -> np.ndarray:
    """A picture under its title, with white to the right and below."""
    import cv2

    cell = np.full((CELL + HEAD + GAP, CELL + GAP, 3), 255, np.uint8)
    cell[HEAD : HEAD + CELL, :CELL] = picture
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(cell, title, (2, HEAD - 9), font, 0.48, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
