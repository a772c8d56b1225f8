"""Draws the dummy data of the builders: trees in the real layouts, as small as a build can read.

python -m data_builders.synthetic_faces.dummy_data data_builders
"""

import csv
import json
import pathlib
import shutil
import tempfile
from typing import NamedTuple

from absl import app

from data_builders.synthetic_faces.raw_layouts import write_raw
from piapdf_jax import command_line, paths

_SIZE = 128  # pixels: smaller ones cost dlib some faces


class Tree(NamedTuple):
    """What a builder's dummy data hold.

    Attributes:
        layout: of ``write_raw``.
        people: how many of them, or whom.
        tasks: BP4D: the tasks that are kept.
        pictures: kept of each sequence or person, the first ones.
    """

    layout: str
    people: int | tuple[str, ...]
    pictures: int
    tasks: tuple[str, ...] = ()


#: By builder: somebody of each published part, and every kind of split. The first two frames of a BP4D sequence are
#: uncoded, of one's own recordings as well. LFW is kept whole, because its pairs name every picture.
TREES = {
    "bp4d": Tree("bp4d", ("F001", "F003", "F004"), 4, ("T1",)),
    "disfa": Tree("disfa", ("SN001", "SN006", "SN003"), 3),
    "afew_va": Tree("afew_va", 2, 3),
    "casia_webface": Tree("webface", 2, 3),
    "lfw_pairs": Tree("lfw", 2, 6),
    "own": Tree("own", ("F001", "F003", "F004"), 4),
}


def write_dummy_data(name: str, root: pathlib.Path) -> pathlib.Path:
    """Draws the dummy data of one builder.

    Args:
        name: a key of ``TREES``.
        root: folder to write; whatever is in it is replaced.

    Returns:
        The root.
    """
    tree = TREES[name]
    shutil.rmtree(root, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_raw(tree.layout, pathlib.Path(folder, "raw"), people=tree.people, size=_SIZE)
        _drop_pictures(drawn, tree)
        _cut_rows(drawn, tree)
        shutil.copytree(drawn, root)
    return root


def _drop_pictures(drawn: pathlib.Path, tree: Tree) -> None:
    folders = {path.parent for path in drawn.rglob("*") if path.suffix in (".jpg", ".png")}
    for folder in folders:
        if tree.tasks and folder.name not in tree.tasks:
            shutil.rmtree(folder)
            continue
        pictures = [path for path in folder.iterdir() if path.suffix in (".jpg", ".png")]
        for path in sorted(pictures, key=lambda path: (len(path.stem), path.stem))[tree.pictures :]:
            path.unlink()


def _cut_rows(drawn: pathlib.Path, tree: Tree) -> None:
    """Drops the labels and landmarks whose pictures were dropped."""
    for path in drawn.glob("AUCoding/AU_OCC/*.csv"):
        subject, task = path.stem.split("_")
        if task not in tree.tasks:
            path.unlink()
            continue
        kept = {int(picture.stem) for picture in (drawn / "2D+3D" / subject / task).iterdir()}
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) in kept)])
    for path in drawn.glob("labels.csv"):
        header, *rows = path.read_text().splitlines(keepends=True)
        kept = [row for row in rows if (drawn / row.partition(",")[0]).is_file()]
        path.write_text("".join([header, *kept]))
    for path in drawn.glob("ActionUnit_Labels/*/*.txt"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: tree.pictures]))
    for path in drawn.glob("*/*.json"):
        content = json.loads(path.read_text())
        content["frames"] = dict(list(content["frames"].items())[: tree.pictures])
        path.write_text(json.dumps(content))


def _main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise app.UsageError("give the folder of the builders")
    folder = paths.target_folder(arguments[1], "folder")
    for name in TREES:
        root = write_dummy_data(name, folder / name / "dummy_data")
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        print(f"{root}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    command_line.run(_main, arguments=1)
