"""Reads ``labels.csv``, the list of frames with subject and labels, as Excel, pandas and people write it.

Cells are separated by comma, semicolon or tab and may be quoted; UTF-8 with or without a byte order mark, any line end.
"""

import csv
import io
import pathlib
import re
from typing import NamedTuple, NoReturn

from data_builders import folders
from data_builders.fault_report import FaultReport
from piapdf_jax.action_units import RECORD_AUS, UNKNOWN

#: Name of the file, in the folder that is given.
NAME = "labels.csv"
#: Columns that are read beside those of action units.
COLUMNS = ("path", "film", "subject", "task", "frame", "part")

_UNIT = re.compile(r"au0*([1-9]\d{0,2})", re.IGNORECASE)
_LIKE_A_UNIT = re.compile(r"au[\W_]*\d|\d+$", re.IGNORECASE)
# pandas writes a column of labels with gaps as 0.0 and 1.0, and Excel a comma for the point in half of Europe.
_LABEL = re.compile(r"([01])(?:[.,]0*)?")
_NUMBER = re.compile(r"(\d{1,9})(?:[.,]0*)?")
_DRIVE = re.compile(r"[A-Za-z]:")


class Row(NamedTuple):
    """One row.

    Attributes:
        line: its number in the file, from 1.
        file: picture or film, relative to the folder, with ``/`` between names.
        is_film: which of the two.
        subject: who.
        task: "" where none is given.
        frame: None where none is given.
        part: 1, 2 or 3; None where the file has no such column.
        labels: {AU: 0, 1 or -1}, a cell for each unit that has a column.
    """

    line: int
    file: str
    is_film: bool
    subject: str
    task: str
    frame: int | None
    part: int | None
    labels: dict[int, int]

    @property
    def coded(self) -> bool:
        """Whether there is a label in it."""
        return any(value != UNKNOWN for value in self.labels.values())


class Sheet(NamedTuple):
    """All rows in the order of the file, which is named for messages, and the units that have a column."""

    path: pathlib.Path
    units: tuple[int, ...]
    rows: list[Row]

    def refuse(self, line: int, column: str, value: str, what: str) -> NoReturn:
        """Raises ValueError: file, line, column and value, and what is wrong with it."""
        raise ValueError(f"{self.path}, line {line}, column {column!r}: {value!r} {what}")


def home(manual: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds the file: the given one, or the one below it, as downloads unpack.

    Raises:
        ValueError: where two folders below hold one.
    """
    found = [manual] if (manual / NAME).is_file() else []
    if not found and manual.is_dir():
        found = [folder for folder in folders.below(manual) if (folder / NAME).is_file()]
    if len(found) > 1:
        raise ValueError(f"{NAME} is in {found[0]} and in {found[1]}: give one of them")
    return found[0] if found else manual


def read(folder: pathlib.Path, report: FaultReport) -> Sheet:
    """Reads the file in a folder.

    Args:
        folder: the one that was given.
        report: gets columns that are not read, and units without a label.

    Raises:
        FileNotFoundError: where it is not there.
        ValueError: for anything in it that cannot be right, with line, column and value.
    """
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"no {NAME} in {folder}: expected a csv with the columns path or film and frame,"
            f" subject, AU1, AU12, ...{folders.packed(folder)}"
        )
    lines = _lines(path)
    if not lines:
        raise ValueError(f"{path} is empty: expected a row of column names, then one a frame")
    start, names = lines[0]
    columns, units = _columns(path, start, names, report)
    sheet = Sheet(path, tuple(sorted(units)), [])
    for line, cells in lines[1:]:
        if any(cells[len(names) :]):
            raise ValueError(
                f"{path}, line {line} has {len(cells)} cells, line {start} names {len(names)} columns:"
                " put texts with commas into quotes"
            )
        cells += [""] * (len(names) - len(cells))
        sheet.rows.append(_row(sheet, line, cells, columns, units))
    if not sheet.rows:
        raise ValueError(f"{path} has column names and no row: expected one a frame")
    for au in sheet.units:
        if all(row.labels[au] == UNKNOWN for row in sheet.rows):
            report.add("column of an action unit without a label", f"AU{au}")
    return sheet


def _lines(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """Number and cells of each line that is not blank."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 (byte {error.start}): in Excel save it as 'CSV UTF-8'"
        ) from error
    first = text.lstrip().partition("\n")[0]
    between = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    try:
        found = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return [(number, cells) for number, cells in found if any(cells)]


def _columns(
    path: pathlib.Path, line: int, names: list[str], report: FaultReport
) -> tuple[dict[str, int], dict[int, int]]:
    """Places of the columns that are read, by name, and of those of units, by number."""
    columns: dict[str, int] = {}
    units: dict[int, int] = {}
    for place, name in enumerate(names):
        said = f"{path}, line {line}, column {name!r}"
        match = _UNIT.fullmatch(name)
        if match is None and _LIKE_A_UNIT.match(name):
            raise ValueError(f"{said} is not the name of an action unit: write AU1, AU12, ...")
        if match and int(match[1]) not in RECORD_AUS:
            held = ", ".join(f"AU{au}" for au in RECORD_AUS)
            raise ValueError(
                f"{said}: records hold no AU{match[1]}, they hold {held}: leave the column out"
            )
        key = name.lower()
        if match is None and key not in COLUMNS:
            if name:
                report.add("column that is not read", name)
            continue
        if (int(match[1]) in units) if match else (key in columns):
            raise ValueError(f"{said} appears twice: leave one out")
        if match:
            units[int(match[1])] = place
        else:
            columns[key] = place
    _check_columns(f"{path}, line {line}", columns, units)
    return columns, units


def _check_columns(where: str, columns: dict[str, int], units: dict[int, int]) -> None:
    lacks = ""
    if not columns.keys() & {"path", "film"}:
        lacks = "'path', for pictures, or 'film' and 'frame'"
    elif "film" in columns and "frame" not in columns:
        lacks = "'frame', which a film needs"
    elif "subject" not in columns:
        lacks = "'subject', who it is"
    elif not units:
        lacks = "an action unit, such as 'AU12'"
    if lacks:
        raise ValueError(f"{where} has no column {lacks}")


def _row(
    sheet: Sheet, line: int, cells: list[str], columns: dict[str, int], units: dict[int, int]
) -> Row:
    told = {name: cells[columns[name]] if name in columns else "" for name in COLUMNS}
    for name in ("path", "film", "subject", "task"):
        if not told[name].isprintable():
            sheet.refuse(line, name, told[name], "holds a character that cannot be shown")
    if bool(told["path"]) == bool(told["film"]):
        what = "and 'film' are both given" if told["path"] else "is empty, and no film is given"
        sheet.refuse(line, "path", told["path"], f"{what}: a row is of a picture or of a film")
    if not told["subject"]:
        sheet.refuse(line, "subject", "", "is empty: give every person a name or a number")
    kind = "film" if told["film"] else "path"
    file = _inside(sheet, line, kind, told[kind])
    frame = part = None
    if told["frame"]:
        frame = _number(sheet, line, "frame", told["frame"], "is not a frame number (from 0)")
    if "part" in columns:
        what = "is not a part (1, 2 or 3 in every row; without the column people are dealt)"
        part = _number(sheet, line, "part", told["part"], what)
        if part not in (1, 2, 3):
            sheet.refuse(line, "part", told["part"], what)
    labels = {au: _label(sheet, line, au, cells[place]) for au, place in units.items()}
    return Row(line, file, kind == "film", told["subject"], told["task"], frame, part, labels)


def _number(sheet: Sheet, line: int, column: str, cell: str, what: str) -> int:
    match = _NUMBER.fullmatch(cell)
    if match is None or not cell.isascii():
        sheet.refuse(line, column, cell, what)
    return int(match[1])


def _label(sheet: Sheet, line: int, au: int, cell: str) -> int:
    if not cell:
        return UNKNOWN
    match = _LABEL.fullmatch(cell)
    if match is None:
        sheet.refuse(
            line, f"AU{au}", cell, "is not a label (0 absent, 1 present, empty where nobody knows)"
        )
    return int(match[1])


def _inside(sheet: Sheet, line: int, column: str, cell: str) -> str:
    """A path below the folder, as Linux and Windows write it, without what changes nothing."""
    names = cell.replace("\\", "/").split("/")
    if not names[0] or _DRIVE.match(cell) or ".." in names:
        sheet.refuse(
            line,
            column,
            cell,
            f"leads out of the folder of {NAME}: give a path below it, from there",
        )
    kept = "/".join(name for name in names if name not in ("", "."))
    if not kept:
        sheet.refuse(line, column, cell, "names no file")
    return kept
