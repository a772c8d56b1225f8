"""What is written of finished rows: tables, pictures and films with boxes and bars."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from experiments.detection.inputs import Input
from experiments.detection.rows import Row
from experiments.detection.settings import digest
from experiments.detection.tables import write_table
from piapdf_jax.detector import Detector

OVERLAYS = ("none", "pictures", "video")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which files are written.

    Attributes:
        out: their folder.
        form: columns of the table, of ``tables.FORMS``.
        table: ``csv`` or ``parquet``.
        overlay: of ``OVERLAYS``.
        maps: units whose PI maps are drawn as well.
    """

    out: pathlib.Path
    form: str = "native"
    table_kind: str = "csv"
    overlay: str = "none"
    maps: tuple[int, ...] = ()

    def table(self, stem: str) -> pathlib.Path:
        """File of the table of an input."""
        return self.out / f"{stem}.{self.table_kind}"

    def mark(self, fingerprint: str) -> str:
        """Returns a digest of the rows and of what is written of them."""
        return digest([fingerprint, self.form, self.table_kind, self.overlay, list(self.maps)])


def write(
    source: Input,
    wanted: Outputs,
    rows: Callable[[], Iterator[Row]],
    detector: Detector,
    cuts: dict[int, float | None],
) -> dict[str, Any]:
    """Writes all that is wanted of an input.

    Args:
        source: the input.
        wanted: which files.
        rows: reads the finished rows anew.
        detector: its model names the units.
        cuts: from which probability on each unit is present.

    Returns:
        Names of what was written, as ``NAME.json`` has them.
    """
    table = wanted.table(source.stem)
    units = detector.model.units
    write_table(table, rows(), units, form=wanted.form, kind=wanted.table_kind, cuts=cuts)
    return {"table": table.name, "format": wanted.form}
