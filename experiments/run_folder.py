"""The folder of a run, ``RUNS/<name>/fold<k>_seed<s>/``, and the results in it that earlier commands made."""

import json
import logging
import pathlib
import re
from collections.abc import Callable
from typing import Any

from experiments.config import ConfigError, ExperimentConfig
from experiments.trainings import METHODS, TRAININGS
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

RESULTS = "results.json"
#: Keys of the results that name pictures.
PICTURES = ("picture", "figure1")
#: Names that RUNS has for something else.
_TAKEN = ("exports",)
_NAME = re.compile(r"\w[\w.+=@,-]*")
_LONGEST = 100
#: Trainings whose maps pictures show.
_SHOWN = ("pi1", "pi2")
log = logging.getLogger("piapdf")


def run_folder(runs: pathlib.Path, name: str, config: ExperimentConfig) -> pathlib.Path:
    """Returns the folder of a run; folds and seeds have one each.

    Raises:
        ConfigError: for a name that is not one folder's, or that RUNS has for something else.
    """
    if name.casefold() in _TAKEN:
        raise ConfigError(f"--name={name!r} is the folder of exports in {runs}: use another name")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ConfigError(
            f"--name={name!r} must be the name of one folder below --runs_dir: a letter, digit or _,"
            f" then at most {_LONGEST - 1} of these and of . + = @ , -"
        )
    return runs / name / f"fold{config.fold}_seed{config.seed}"


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with explain_disk_errors(path, len(text)), replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def with_earlier(
    results: dict[str, Any],
    folder: pathlib.Path,
    digest: Callable[[str], str | None],
    methods: tuple[str, ...],
) -> dict[str, Any]:
    """Merges the scores of earlier commands of the same configuration, and renames results that would be lost.

    Args:
        results: of this command.
        folder: of the run.
        digest: of a training as this configuration names its export now; None where it names none.
        methods: of the configuration, in the order of its rows.

    Returns:
        The results, with the trainings of the file in the folder that this command has not scored and whose
        exports are those of this configuration. Where that file holds others, it gets another name first.
    """
    path, ours = folder / RESULTS, results["trainings"]
    if not path.is_file():
        return results
    try:
        theirs, rows, pictures, truth = _read(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        _put_aside(path, "it cannot be read as results")
        return results
    kept = {
        name: told
        for name, (made, told) in theirs.items()
        if name in TRAININGS
        and name not in ours
        and truth == results["truth"]
        and made == digest(name)
    }
    lost = [
        name
        for name, (made, _) in theirs.items()
        if name not in kept and (name not in ours or ours[name]["digest"] != made)
    ]
    if lost:
        _put_aside(path, f"its {lost[0]} is of other settings, data or sources")
    together = kept | ours
    made = {name: together[name] for name in TRAININGS if name in together}
    order = dict.fromkeys((*methods, *METHODS))
    scored = [row for row in order if row in (*rows, *results["rows"]) and METHODS[row][-1] in made]
    drawn = all(
        name in made and theirs.get(name, ("",))[0] == made[name]["digest"] for name in _SHOWN
    )
    # One of this command, or the reason why there is none, stands before an older one.
    older = pictures if drawn and "gaps" not in results else {}
    return older | results | {"trainings": made, "rows": scored}


def _read(path: pathlib.Path) -> tuple[dict[str, Any], list[str], dict[str, Any], str]:
    """Trainings with their digests, rows, pictures, and where true labels came from, of earlier results."""
    earlier = json.loads(path.read_text(encoding="utf-8"))
    trainings = {name: (told["digest"], told) for name, told in earlier["trainings"].items()}
    pictures = {key: earlier[key] for key in PICTURES if earlier.get(key)}
    return trainings, list(earlier["rows"]), pictures, earlier.get("truth", "")


def _put_aside(path: pathlib.Path, why: str) -> None:
    """Gives results another name, so that those of another configuration do not replace them."""
    numbers = range(1, 1 + len(list(path.parent.iterdir())))
    free = (path.with_name(f"results.{number}.json") for number in numbers)
    aside = next(name for name in free if not name.exists())
    path.rename(aside)
    log.warning("%s is now %s: %s", path, aside.name, why)
