"""Rows of detections as tables: our own columns, OpenFace's or py-feat's, as CSV or Parquet."""

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from experiments.detection.rows import Row

FORMS = ("native", "openface", "pyfeat")
KINDS = ("csv", "parquet")
_GROUP = 50_000  # rows of a group of a Parquet file

Cuts = dict[int, float | None]
#: Name and kind of a column, and its cell of a row; None is an empty cell. Kinds are text, whole numbers, and numbers
#: of so many digits.
Column = tuple[str, str, Callable[[Row], Any]]
TEXT, WHOLE, SIX, TWO = "s", "d", ".6f", ".2f"


def write_table(
    path: Any,
    rows: Iterable[Row],
    units: Sequence[int],
    *,
    form: str,
    kind: str,
    cuts: Cuts,
    weak: Sequence[int] = (),
) -> None:
    """Writes a table in one pass.

    Args:
        path: of the file.
        rows: in order.
        units: FACS numbers, in the order of the probabilities.
        form: ``native``; ``openface``: its names and order as far as we have what it has, frames from 1, and
            ``AU12_c`` for presence, our probabilities as ``AU12_p``, never ``AU12_r``, which is an intensity;
            ``pyfeat``: its names, probabilities as ``AU12``.
        kind: ``csv`` (UTF-8, lines end with a newline) or ``parquet``.
        cuts: a unit is present from this probability on; None leaves its cells empty.
        weak: units that are not told well. ``native`` names them in each row; the other forms are exactly those of
            other software, which has no place for it.

    Raises:
        OSError: where the disk refuses it.
        ValueError: for ``parquet`` where pyarrow is not installed.
    """
    columns = list(_COLUMNS[form](units, cuts))
    if weak and form == "native":
        names = " ".join(f"AU{au:02d}" for au in weak)
        columns.append(("weak_units", TEXT, lambda row: names))
    {"csv": _csv, "parquet": _parquet}[kind](path, rows, columns)


def _csv(path: Any, rows: Iterable[Row], columns: list[Column]) -> None:
    # A name may hold bytes that are no text: they are written as they are.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(_Lines(file), lineterminator="\r\n")
        writer.writerow([name for name, _, _ in columns])
        for row in rows:
            writer.writerow([_text(cell(row), kind) for _, kind, cell in columns])


class _Lines:
    """Ends lines with a newline alone; csv, which quotes letters that end its lines, has to quote both."""

    def __init__(self, file: Any):
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix("\r\n") + "\n")


def _text(value: Any, kind: str) -> str:
    return "" if value is None else format(value, kind)


def _parquet(path: Any, rows: Iterable[Row], columns: list[Column]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("--table=parquet: the package pyarrow is not installed") from error
    types = {TEXT: pyarrow.string(), WHOLE: pyarrow.int64()}
    schema = pyarrow.schema(
        [(name, types.get(kind, pyarrow.float64())) for name, kind, _ in columns]
    )
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows):
            cells = {name: [_plain(cell(row)) for row in group] for name, _, cell in columns}
            writer.write_table(pyarrow.table(cells, schema=schema))


def _plain(value: Any) -> Any:
    """Text that UTF-8 holds; Parquet has no other."""
    return (
        value.encode(errors="surrogateescape").decode(errors="replace")
        if isinstance(value, str)
        else value
    )


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while group := list(itertools.islice(left, _GROUP)):
        yield group


def _side(k: int) -> Callable[[Row], float | None]:
    return lambda row: row.box[k] if row.box else None


def _native(units: Sequence[int], cuts: Cuts) -> Iterator[Column]:
    yield "input", TEXT, lambda row: row.input
    yield "frame", WHOLE, lambda row: row.frame
    yield "timestamp", SIX, lambda row: row.timestamp
    yield "face_id", WHOLE, lambda row: row.face_id
    yield "confidence", SIX, lambda row: row.confidence
    yield "success", WHOLE, lambda row: row.success
    yield "reason", TEXT, lambda row: row.reason
    for k, name in enumerate(("x", "y", "width", "height")):
        yield name, TWO, _side(k)
    yield "roll", TWO, lambda row: row.roll
    yield from _probabilities(units, "AU{:02d}_p")
    yield from _presence(units, cuts)


def _openface(units: Sequence[int], cuts: Cuts) -> Iterator[Column]:
    yield "frame", WHOLE, lambda row: row.frame + 1
    yield "face_id", WHOLE, lambda row: row.face_id
    yield "timestamp", SIX, lambda row: row.timestamp
    yield "confidence", SIX, lambda row: row.confidence
    yield "success", WHOLE, lambda row: row.success
    yield from _presence(units, cuts)
    yield from _probabilities(units, "AU{:02d}_p")


def _pyfeat(units: Sequence[int], cuts: Cuts) -> Iterator[Column]:
    del cuts
    for k, name in enumerate(("X", "Y", "Width", "Height")):
        yield f"FaceRect{name}", TWO, _side(k)
    yield "FaceScore", SIX, lambda row: row.confidence
    yield from _probabilities(units, "AU{:02d}")
    yield "input", TEXT, lambda row: row.input
    yield "frame", WHOLE, lambda row: row.frame
    yield "approx_time", TEXT, lambda row: _clock(row.timestamp)


_COLUMNS = {"native": _native, "openface": _openface, "pyfeat": _pyfeat}


def _probabilities(units: Sequence[int], name: str) -> Iterator[Column]:
    for k, au in enumerate(units):
        yield (
            name.format(au),
            SIX,
            lambda row, k=k: row.probabilities[k] if row.probabilities else None,
        )


def _presence(units: Sequence[int], cuts: Cuts) -> Iterator[Column]:
    for k, au in enumerate(units):
        cut = cuts[au]

        def cell(row: Row, k: int = k, cut: float | None = cut) -> int | None:
            if row.probabilities is None or cut is None:
                return None
            return int(row.probabilities[k] >= cut)

        yield f"AU{au:02d}_c", WHOLE, cell


def _clock(seconds: float | None) -> str | None:
    return None if seconds is None else f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
