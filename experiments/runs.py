"""Folders of runs."""

import pathlib


def runs_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Finds folders of runs: the folder itself, or those at most two below it, by name.

    Args:
        folder: of a run, of a run's folds and seeds, or RUNS.

    Raises:
        FileNotFoundError: where there is none.
    """
    if (folder / "config.json").is_file():
        return [folder]
    found = [path.parent for depth in (1, 2) for path in folder.glob("*/" * depth + "config.json")]
    if not found:
        raise FileNotFoundError(
            f"{folder} is not a run: it has no config.json, nor has a folder in it"
            if folder.is_dir()
            else f"{folder} does not exist"
        )
    return sorted(found)
