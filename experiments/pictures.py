"""PI maps over faces: predefined, PI Generator 0, PI Generator 1, as in the paper's figure 1."""

import pathlib

import jax.numpy as jnp
import numpy as np

from piapdf_jax.batch import images_to_float, unpack_maps
from piapdf_jax.data.frames import ReaderConfig, load_frame
from piapdf_jax.data.source import Records
from piapdf_jax.runtime.filesystem import replacing
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts

_CELL = 112
_MARGIN = 118


def pi_maps(
    path: pathlib.Path,
    records: Records,
    reading: ReaderConfig,
    generators: dict[str, tuple[Stage, Parts]],
    *,
    faces: int = 3,
) -> None:
    """Draws a row a source of maps and a column a map, for faces of different people.

    Args:
        path: PNG to write.
        records: source of faces with predefined maps.
        reading: image size and maps.
        generators: title -> (stage, export) whose ``predict`` gives soft maps.
        faces: how many people.
    """
    import cv2

    chosen = _different_people(records, faces)
    frames = [load_frame(records, row, reading) for row in chosen]
    images = np.asarray(images_to_float(jnp.stack([frame.image for frame in frames])))
    packed = jnp.asarray(np.stack([np.asarray(frame.pi_maps) for frame in frames]))
    rows = {"predefined": np.asarray(unpack_maps(packed, len(reading.maps)))}
    for title, (stage, exported) in generators.items():
        rows[title] = np.asarray(stage.predict(exported, jnp.asarray(images)).pi_probs)
    lines = [_header(reading.maps)]
    for face, image in enumerate(images):
        for title, maps in rows.items():
            cells = [
                _label(title, _CELL),
                *(_overlay(image, m) for m in np.moveaxis(maps[face], -1, 0)),
            ]
            lines.append(np.concatenate(cells, axis=1))
    picture = np.concatenate(lines, axis=0)
    with replacing(path) as part:
        if not cv2.imwrite(str(part), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"cannot write {path}")


def _different_people(records: Records, count: int) -> list[int]:
    people: dict[str, int] = {}
    for row in range(len(records)):
        people.setdefault(str(records[row].get("subject", row)), row)
        if len(people) == count:
            break
    return list(people.values())


def _overlay(image: np.ndarray, probs: np.ndarray) -> np.ndarray:
    import cv2

    heat = cv2.applyColorMap((probs * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    gray = np.repeat(image.mean(-1, keepdims=True), 3, -1) * 255
    alpha = 0.7 * probs[..., None]
    mixed = (1 - alpha) * gray + alpha * heat
    return cv2.resize(mixed.astype(np.uint8), (_CELL, _CELL), interpolation=cv2.INTER_AREA)


def _label(text: str, height: int, width: int = _MARGIN) -> np.ndarray:
    import cv2

    cell = np.full((height, width, 3), 255, np.uint8)
    place = (4, height // 2 + 4)
    cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def _header(aus: tuple[int, ...]) -> np.ndarray:
    cells = [_label("", 24), *(_label(f"AU{au}", 24, _CELL) for au in aus)]
    return np.concatenate(cells, axis=1)
