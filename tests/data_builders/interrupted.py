"""Trees with many small units of work, and the command line of a build, for tests that stop builds."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import bp4d_tree

from data_builders.synthetic_faces.raw_layouts import write_raw


def write_clips(root: pathlib.Path, *, copies: int) -> pathlib.Path:
    """AFEW-VA: two drawn clips, and copies of the first under other names and actors."""
    write_raw("afew_va", root, people=2, size=200)
    content = json.loads((root / "001" / "001.json").read_text())
    for number in range(3, 3 + copies):
        clip = root / f"{number:03d}"
        shutil.copytree(root / "001", clip)
        (clip / "001.json").unlink()
        text = json.dumps({**content, "actor": f"actor{number:03d}"})
        (clip / f"{clip.name}.json").write_text(text)
    return root


def write_people(root: pathlib.Path, *, people: int = 4, pictures: int = 5) -> pathlib.Path:
    """CASIA-WebFace with pictures that ``bp4d_tree.FrameDetector`` reads."""
    for person in range(people):
        for number in range(1, pictures + 1):
            path = root / "CASIA-WebFace" / f"{person:07d}" / f"{number:03d}.jpg"
            bp4d_tree.write_picture(path, 10 * number, seed=person)
    return root


def command(name: str, manual: pathlib.Path, data: pathlib.Path, *more: str) -> list[str]:
    """The command line of a build in two worker processes."""
    arguments = [name, f"--manual_dir={manual}", f"--data_dir={data}", "--workers=2", *more]
    return [sys.executable, "-m", "data_builders.prepare", *arguments]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=os.environ)


def unit_files(data: pathlib.Path) -> list[pathlib.Path]:
    """The finished units of an interrupted build."""
    return sorted((data / ".cache" / "records").glob("**/*.npz"))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file of a data set."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(data: pathlib.Path) -> list[pathlib.Path]:
    """Whatever a finished build may not leave."""
    records = (data / ".cache" / "records").rglob("*")
    found = [*data.glob("**/*.part"), *data.glob("**/incomplete.*")]
    return found + [path for path in records if path.is_file()]
