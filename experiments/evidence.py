"""Stores the predictions of finished runs on their test frames, and writes docs/evidence.md from them.

python -m experiments.evidence runs/printed runs/chosen --out=docs
python -m experiments.evidence --out=docs

The first copies the tables of frames of runs to docs/evidence; the second makes the page from those alone. The kept
folders can be read as runs: ``python -m experiments.tables docs/evidence/printed --out=report``.
"""

import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from experiments import frame_table, markdown, more_tables, presets
from experiments.cells import Said, Study
from experiments.groups import RunsError, flat, read_groups, read_run
from experiments.paper_tables import TAUGHT, method_title
from experiments.published import published
from experiments.report_types import Cell, Group, Run
from experiments.run_folder import RESULTS
from experiments.runs import runs_in
from experiments.trainings import TRAININGS
from piapdf_jax import command_line, intervals, paths
from piapdf_jax.runtime.filesystem import DiskError, explain_disk_errors, replacing

_OUT = flags.DEFINE_string("out", "docs", "folder of the page and of what is kept")
_RESAMPLES = flags.DEFINE_integer(
    "resamples", intervals.RESAMPLES, "resamples of people, and permutations", lower_bound=100
)

START = "<!-- evidence: written by experiments.evidence -->"
#: What is asked of feedback: whose scores, less whose, in one configuration.
_PAIRS = (
    *(("piapdf", "piap"), ("piapdf", "longer"), ("longer", "piap"), ("df", "baseline")),
    *(("piap", "baseline"), ("pi3", "baseline"), ("ap", "baseline"), ("lp", "ap")),
)
_SCORES = ("F1 at 0.5", "F1 at matched cuts", "100 ROC AUC")


def keep(run: Run, out: pathlib.Path) -> pathlib.Path:
    """Copies the files that tables are made of: configuration, results, versions and tables of frames of a run.

    Args:
        run: a finished one.
        out: folder of everything that is kept; a run is found there by the name of its folder and of that above it.

    Returns:
        Where it lies.
    """
    folder = out / run.folder.parent.name / run.folder.name
    names = ["config.json", RESULTS, "versions.json"]
    for training, table in run.frames.items():
        names.append(f"{training}/{table.digest}/{frame_table.FILE_NAME}")
    for name in names:
        source, target = run.folder / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with explain_disk_errors(target, source.stat().st_size), replacing(target) as part:
                shutil.copyfile(source, part)
    # A training that was made anew has another digest, and its former table says nothing of these results.
    for path in folder.glob(f"*/*/{frame_table.FILE_NAME}"):
        if str(path.relative_to(folder)) not in names:
            shutil.rmtree(path.parent)
    return folder


def text(studies: Sequence[Study]) -> str:
    """Returns the tables of groups against each kind of labels, as Markdown.

    Args:
        studies: of the groups, those of one kind of labels after another.
    """
    lines: list[str] = []
    for against in dict.fromkeys(study.against for study in studies):
        alike = [study for study in studies if study.against == against]
        lines += [f"**Less what feedback must beat, {against} labels**", "", *_differences(alike)]
        lines += ["", f"**Scores, {against} labels**", "", *_scores(alike), ""]
    return "\n".join(lines).rstrip()


def _kind(group: Group) -> str:
    return presets.feedback_title(group.config.get("df") or {})


def _check_told_apart(groups: Sequence[Group]) -> None:
    """Refuses groups whose rows have one title, for the page would show those of the first alone.

    Raises:
        RunsError: naming both, and in what they are alike or differ.
    """
    first, kinds = flat(_beside_feedback(groups[0])), {}
    for group in groups:
        other = kinds.setdefault(_kind(group), group)
        if other is not group:
            raise RunsError(
                f"feedback of {other.title} and of {group.title} is {_kind(group)}, and the page tells runs"
                " apart by that alone: keep one of them"
            )
        own = flat(_beside_feedback(group))
        odd = [key for key in first if key in own and first[key] != own[key]]
        if odd:
            raise RunsError(
                f"{group.title} has {odd[0]}={own[odd[0]]}, {groups[0].title} {first[odd[0]]}: the page"
                " compares ways of feedback, all else alike"
            )


def _beside_feedback(group: Group) -> dict[str, Any]:
    return {section: value for section, value in group.config.items() if section != "df"}


def _title(study: Study, said: Said) -> str:
    """A method, and which feedback it is where it has any, or is as long as one."""
    title = method_title(said)
    return f"{title} ({_kind(study.group)})" if said.training in (*TAUGHT, "longer") else title


def _differences(studies: Sequence[Study]) -> Iterator[str]:
    yield from markdown.heading(
        ("", *(f"{score} (95 %)" for score in _SCORES), "p of F1, matched F1")
    )
    pairs = [((study, a), (study, b)) for study in studies for a, b in _PAIRS]
    printed, *others = studies
    pairs += [((other, name), (printed, name)) for other in others for name in reversed(TAUGHT)]
    told: set[str] = set()
    for (study, first), (other, second) in pairs:
        a, b = Said(first), Said(second)
        title = f"{_title(study, a)} - {_title(other, b)}"
        if title in told or not (study.folds(a) and other.folds(b)):
            continue
        told.add(title)
        matched = (said._replace(cut="matched") for said in (a, b))
        found = (
            study.difference(a, b, other),
            study.difference(*matched, other),
            study.auc_difference(a, b, other),
        )
        cells = [_difference(one, scale) for one, scale in zip(found, (1, 1, 100), strict=True)]
        p = ["-" if one is None else f"{one.p[-1]:.3f}" for one in found[:2]]
        yield markdown.line([title, *cells, ", ".join(p)])


def _difference(found: intervals.Difference | None, scale: int) -> str:
    if found is None:
        return "other people or seeds"
    value, low, high = (scale * float(x[-1]) for x in (found.value, found.low, found.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _scores(studies: Sequence[Study]) -> Iterator[str]:
    yield from markdown.heading(("", *_SCORES, "rare", "frequent", "always yes", "the paper's F1"))
    printed = {
        row["training"]: f"{row['mean']:.1f}"
        for row in published()["tables"]["table3"]["rows"]
        if "training" in row
    }
    told: set[str] = set()
    for study in studies:
        for name in TRAININGS:
            for teacher in (False, True) if name in TAUGHT else (False,):
                said = Said(name, teacher)
                title = _title(study, said)
                if title in told or not study.folds(said):
                    continue
                told.add(title)
                paper = "" if teacher else printed.get(name, "")
                yield markdown.line([title, *_row(study, said), paper])


def _row(study: Study, said: Said) -> Iterator[str]:
    cells: dict[str, Cell] = dict(
        zip(more_tables.SCORES, more_tables.score_cells(study, said), strict=True)
    )
    for column, scale in (("F1", 1), ("F1 matched", 1), ("ROC AUC", 100)):
        cell = cells[column]
        if cell.value is None or cell.low is None or cell.high is None:
            yield "-" if cell.value is None else f"{scale * cell.value:.1f}"
        else:
            ends = f"[{scale * cell.low:.1f}, {scale * cell.high:.1f}]"
            yield f"{scale * cell.value:.1f} {ends}"
    for column in ("F1 rare", "F1 frequent", "always yes"):
        value = cells[column].value
        yield "-" if value is None else f"{value:.1f}"


def main(arguments: list[str]) -> None:
    """Keeps runs and writes the page; exit code 2 for what cannot be read or written."""
    out = paths.target_folder(_OUT.value, "--out")
    kept = out / "evidence"
    try:
        for folder in arguments[1:]:
            for path in runs_in(paths.local_folder(folder, "folder")):
                if (path / RESULTS).is_file():
                    print(f"kept: {keep(read_run(path.resolve()), kept)}")
        # As printed first: what the others are held against.
        groups = sorted(read_groups([kept]), key=lambda group: _kind(group) != "as printed")
        _check_told_apart(groups)
        studies = [
            Study(group, against=against, resamples=_RESAMPLES.value)
            for against in ("published", "true")
            for group in groups
        ]
        made = text(studies)
        print(made)
        document = out / "evidence.md"
        if document.exists():
            markdown.insert(document, START, made)
    except (RunsError, FileNotFoundError, DiskError, ValueError, OSError) as error:
        command_line.fail(error)


if __name__ == "__main__":
    command_line.run(main, arguments=sys.maxsize)
