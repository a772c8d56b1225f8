"""Reads the layout in which BP4D is distributed: which pictures there are, and their AU_OCC labels.

The distribution has two pitfalls. A cell of 9 means that the unit could not be coded: unknown, never absent. And in
some copies the pictures are numbered from 0 while the label rows count from 1; in merged copies, only in some videos.
"""

import csv
import dataclasses
import pathlib
import re

from data_builders import folders
from data_builders.fault_report import FaultReport
from data_builders.numbering import UNDECIDED, Counting, Numbers, find_countings, list_pictures
from data_builders.videos import VideoFrame
from piapdf_jax.action_units import BP4D_AUS, UNKNOWN
from piapdf_jax.folds import BP4D_SUBJECTS, BP4D_TASKS

#: Folders of pictures, as the distributions name them; the subject folders may also lie on top.
PICTURE_FOLDERS = ("2D+3D", "Sequences(2D+3D)", "BP4D-training")
#: What the AU_OCC files write, as a record writes it.
CELLS = {"0": 0, "1": 1, "9": UNKNOWN}

_SUBJECT = re.compile(r"[FM]\d{3}")
_LABELS = re.compile(r"([FM]\d{3})_(T\d+)\.csv", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Video:
    """The frames of one participant in one task, by number.

    ``first`` is the number from which its pictures count, ``offset`` is added to a label row's number
    to get the picture's; ``digits`` is the length to which picture names are padded with zeros, 0 where
    they are not.
    """

    subject: str
    task: str
    frames: tuple[VideoFrame, ...]
    first: int | None
    offset: int
    digits: int
    moving: bool = True


def read_videos(
    root: pathlib.Path, report: FaultReport, *, frame_offset: int | None = None
) -> list[Video]:
    """Lists every video of a BP4D tree with its labels.

    Args:
        root: the folder that was given, on top of the distribution.
        report: counts what does not fit.
        frame_offset: picture number minus label row number, of all videos; None finds it out for each.

    Returns:
        Videos by subject and task; a video without label rows has uncoded frames only.

    Raises:
        FileNotFoundError: where there are no pictures or no label files.
        ValueError: for a label file that cannot be read as one, naming file and line.
    """
    pictures = _picture_folder(root)
    files = _label_files(root, pictures, report)
    folders.report_archives(pictures, report)
    videos_in = _video_folders(pictures, report)
    if not videos_in:
        raise FileNotFoundError(
            f"no folder T1 ... T8 of a participant below {pictures}: expected"
            f" F001/T1/0001.jpg{folders.packed(pictures)}"
        )
    listed = {video: _pictures(folder, report) for video, folder in videos_in.items()}
    rows = {video: read_labels(path, report) for video, path in sorted(files.items())}
    for video in sorted(set(rows) - set(listed)):
        report.add("label row without its picture", f"{'_'.join(video)}.csv", len(rows[video]))
    numbers = {v: Numbers(numbered, rows.get(v, {})) for v, numbered in listed.items()}
    countings = find_countings(numbers, person=lambda video: video[0])
    videos = []
    for video, numbered in listed.items():
        if video not in rows:
            report.add("video without a label file", "/".join(video))
        labels, counting = rows.get(video, {}), countings[video]
        if frame_offset is not None:
            counting = Counting(1 + frame_offset, frame_offset)
        if counting is None:
            report.add(UNDECIDED, "/".join(video))
            labels, counting = {}, Counting(None, 0)
        videos.append(_video(video, numbered, labels, counting, report))
    return videos


def read_labels(path: pathlib.Path, report: FaultReport) -> dict[int, dict[int, int]]:
    """Reads one AU_OCC file: a row of AU numbers, then one row a frame, its number in front.

    Args:
        path: the csv file.
        report: counts frames that have two rows, of which the first is taken.

    Returns:
        {frame number: {AU: 0, 1 or -1}} over the 12 units of BP4D.

    Raises:
        ValueError: for a file without rows, without the column of a unit, or with another cell.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    if not any(any(line) for line in lines):
        raise ValueError(f"{path} is empty: copy it again from the distribution")
    columns = {_header(cell): place for place, cell in enumerate(lines[0])}
    missing = [au for au in BP4D_AUS if au not in columns]
    if missing or columns.get(0) != 0:
        what = f"AU {missing[0]}" if missing else "the frame (0, in front)"
        raise ValueError(
            f"{path}, line 1 has no column for {what}:"
            " expected 0 and then the numbers of the action units"
        )
    rows: dict[int, dict[int, int]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not any(line):
            continue
        frame, labels = _row(path, number, line, columns)
        if frame in rows:
            report.add("second label row of a frame", f"{path.name}:{number}")
        rows.setdefault(frame, labels)
    return rows


def _header(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _row(
    path: pathlib.Path, number: int, line: list[str], columns: dict[int | None, int]
) -> tuple[int, dict[int, int]]:
    if not line[0].isdecimal():
        raise ValueError(f"{path}, line {number}: {line[0]!r} is not a frame number")
    labels = {}
    for au in BP4D_AUS:
        cell = line[columns[au]] if columns[au] < len(line) else ""
        if cell not in CELLS:
            raise ValueError(
                f"{path}, line {number}, AU {au}: {cell!r} is not a label"
                " (0 absent, 1 present, 9 unknown)"
            )
        labels[au] = CELLS[cell]
    return int(line[0]), labels


def _video(
    video: tuple[str, str],
    numbered: dict[int, pathlib.Path],
    rows: dict[int, dict[int, int]],
    counting: Counting,
    report: FaultReport,
) -> Video:
    offset = counting.offset
    lost = [row for row in rows if row + offset not in numbered]
    report.add("label row without its picture", f"{'/'.join(video)} row {min(lost, default=0)}",
               len(lost))  # fmt: skip
    frames = tuple(
        VideoFrame(number - offset, str(path), rows.get(number - offset))
        for number, path in sorted(numbered.items())
    )
    stems = [path.stem for path in numbered.values()]
    padded = {len(stem) for stem in stems if stem[0] == "0" and stem != "0"}
    return Video(*video, frames, *counting, min(padded, default=0))


def _pictures(folder: pathlib.Path, report: FaultReport) -> dict[int, pathlib.Path]:
    numbered = list_pictures(folder, report, named_by=3)
    if not numbered:
        report.add("video folder without pictures", "/".join(folder.parts[-2:]))
    return numbered


def _video_folders(
    pictures: pathlib.Path, report: FaultReport
) -> dict[tuple[str, str], pathlib.Path]:
    found = {}
    for subject in folders.subfolders(pictures):
        if _SUBJECT.fullmatch(subject.name) is None:
            continue
        if subject.name not in BP4D_SUBJECTS:
            report.add("unknown participant", subject.name)
            continue
        for task in folders.subfolders(subject):
            if task.name in BP4D_TASKS:
                found[subject.name, task.name] = task
            else:
                report.add("unknown task", f"{subject.name}/{task.name}")
    return found


def _picture_folder(root: pathlib.Path) -> pathlib.Path:
    """The folder that holds the participants' folders; the top and the known names come first."""
    found = [
        folder
        for folder in (root, *_below(root))
        if any(entry.name in BP4D_SUBJECTS for entry in folders.subfolders(folder))
    ]
    if not found:
        raise FileNotFoundError(
            f"no folder F001 ... M018 in {root}: expected 2D+3D/F001/T1/0001.jpg below it"
            f"{folders.packed(root)}"
        )
    known = [folder for folder in found if folder.name in PICTURE_FOLDERS]
    return root if root in found else (known or found)[0]


def _label_files(
    root: pathlib.Path, pictures: pathlib.Path, report: FaultReport
) -> dict[tuple[str, str], pathlib.Path]:
    """AU_OCC files by participant and task: those below a folder AU_OCC, else wherever they lie."""
    found: dict[tuple[str, str], list[pathlib.Path]] = {}
    for folder in (root, *_below(root)):
        for path in sorted(folder.glob("*.[cC][sS][vV]")):
            if match := _LABELS.fullmatch(path.name):
                found.setdefault((match[1].upper(), match[2].upper()), []).append(path)
    if not found:
        packed = folders.packed_among(p for f in (root, *_below(root)) for p in folders.files(f, 0))
        raise FileNotFoundError(
            f"no label file such as AUCoding/AU_OCC/F001_T1.csv below {root}"
            f" (the pictures are in {pictures}){packed}"
        )
    for paths in found.values():
        paths.sort(key=lambda path: "AU_OCC" not in path.parts)
        for path in paths[1:]:
            report.add("second label file of a video", str(path.relative_to(root)))
    return {video: paths[0] for video, paths in found.items()}


def _below(folder: pathlib.Path, depth: int = folders.DEPTH) -> list[pathlib.Path]:
    """Folders below one, participants' own left out: they hold hundreds of thousands of files."""
    near = folders.subfolders(folder) if depth else []
    near = [path for path in near if _SUBJECT.fullmatch(path.name) is None]
    return near + [path for child in near for path in _below(child, depth - 1)]
