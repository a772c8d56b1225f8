"""Writes the outputs of finished rows: tables, pictures and films with boxes and bars."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.detection import maps as pi_maps
from experiments.detection import overlay, overlay_files
from experiments.detection.inputs import Input
from experiments.detection.journal import Journal
from experiments.detection.rows import Row
from experiments.detection.settings import PastEnd, Selection, Settings, digest
from experiments.detection.tables import write_table
from piapdf_jax.model_json import Model

_FILM = ".webm"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which files are written.

    Attributes:
        out: their folder.
        form: columns of the table, of ``tables.FORMS``.
        kind: of the table, of ``tables.KINDS``.
        overlay: ``none``, ``pictures`` or ``video``.
        mapped: units whose PI maps are drawn as well.
        maps: computes those, as ``maps.load_maps`` made it.
    """

    out: pathlib.Path
    form: str = "native"
    kind: str = "csv"
    overlay: str = "none"
    mapped: tuple[int, ...] = ()
    maps: pi_maps.Maps | None = None

    def table(self, stem: str) -> pathlib.Path:
        """Returns the file of the table of an input."""
        return self.out / f"{stem}.{self.kind}"

    def overlay_of(self, source: Input) -> pathlib.Path | None:
        """Returns the file or folder of the overlay of an input; None where none is wanted."""
        if self.overlay == "none":
            return None
        ending = {"picture": ".jpg", "film": _FILM if self.overlay == "video" else ""}
        return self.out / f"{source.stem}_overlay{ending.get(source.kind, '')}"

    def mark(self, fingerprint: str) -> str:
        """Returns a digest of the rows and of what is written of them."""
        return digest([fingerprint, self.form, self.kind, self.overlay, list(self.mapped)])


def write(
    source: Input,
    settings: Settings,
    wanted: Outputs,
    journal: Journal,
    model: Model,
    cuts: dict[int, float | None],
) -> dict[str, Any]:
    """Writes all that is wanted of an input, each file beside the journal first: none is ever there by half.

    Args:
        source: the input; read again for an overlay.
        settings: which of its frames were looked at.
        wanted: which files.
        journal: with the finished rows.
        model: whose units, in the order of the probabilities, and weak units, which are marked, are read.
        cuts: from which probability on each unit is present.

    Returns:
        Names of what was written, as ``NAME.json`` has them.
    """
    table = wanted.table(source.stem)
    part = journal.folder / table.name
    columns: dict[str, Any] = {"form": wanted.form, "cuts": cuts, "weak": model.weak_units or ()}
    write_table(part, journal.rows(), model.units, kind=wanted.kind, **columns)
    part.replace(table)
    written = {"table": table.name, "format": wanted.form}
    path = wanted.overlay_of(source)
    if path is None or source.kind == "camera":
        return written

    part = journal.folder / path.name
    _overlay(part, source, settings, journal, _drawing(wanted, model, cuts))
    if not part.exists():
        return {**written, "overlay": None}  # of no frame
    if path.is_dir():
        shutil.rmtree(path)
    part.replace(path)
    return {**written, "overlay": path.name, "maps": [f"AU{au:02d}" for au in wanted.mapped]}


def _drawing(wanted: Outputs, model: Model, cuts: dict[int, float | None]) -> overlay_files.Draw:
    def draw(picture: np.ndarray, found: Sequence[Row]) -> np.ndarray:
        if wanted.maps is not None:
            picture = pi_maps.painted(picture, found, wanted.maps)
        canvas = overlay.draw(picture, found, model.units, cuts, model.weak_units or ())
        if wanted.maps is not None:
            overlay.write_legend(canvas, pi_maps.legend(wanted.mapped))
        return canvas

    return draw


def _overlay(
    path: pathlib.Path,
    source: Input,
    settings: Settings,
    journal: Journal,
    draw: overlay_files.Draw,
) -> None:
    shots = source.open()
    frames = overlay_files.drawn(_again(shots, settings), journal.rows(), draw)
    if source.kind == "picture":
        overlay_files.write_picture(path, frames)
    elif source.kind == "film" and path.suffix == _FILM:
        rate = overlay_files.film_rate(_rate(shots, settings), journal.rows())
        overlay_files.write_film(path, frames, rate=rate)
    else:
        overlay_files.write_pictures(path, frames)


def _again(shots: Any, settings: Settings) -> Iterator[Any]:
    """The frames that were looked at."""
    try:
        yield from shots.shots(Selection(settings))
    except PastEnd:
        return


def _rate(shots: Any, settings: Settings) -> float | None:
    rate = shots.rate / settings.every if shots.rate else None
    return min(rate, settings.fps) if rate and settings.fps else rate
