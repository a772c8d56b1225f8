"""Turns runs into the paper's tables, with intervals over people, and into one page.

python -m experiments.tables runs/bp4d --out=report
python -m experiments.tables runs/demo runs/demo2 --out=report --against=true
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from experiments import (
    more_tables,
    page,
    paper_tables,
    pointing_table,
    presets,
    report,
    table_writers,
)
from experiments.cells import Study
from experiments.groups import RunsError, read_groups
from experiments.report_types import Group, Table
from piapdf_jax import command_line, commands, intervals, paths
from piapdf_jax.runtime.filesystem import DiskError, explain_disk_errors, replacing

_OUT = flags.DEFINE_string("out", "", "folder of the report; it is made")
_AGAINST = flags.DEFINE_enum(
    "against", "published", ["published", "true"], "labels to score against; true where known"
)
_RESAMPLES = flags.DEFINE_integer(
    "resamples", intervals.RESAMPLES, "resamples of people, and permutations", lower_bound=100
)
_CHECK = flags.DEFINE_bool(
    "check", False, "recompute every printed cell with scikit-learn and SciPy (extra parity)"
)

#: With fewer draws an end of an interval may lie anywhere, and --check would believe it.
_FEWEST_CHECKED = 2000
#: Names of all tables that there may be.
_TABLES = (
    "table1", "table2", "table3", "scores", "differences", "matched_differences", "auc_differences",
    "evidence", "identity_probe", "pointing",
)  # fmt: skip


def make_tables(groups: Sequence[Group], *, against: str, resamples: int) -> list[Table]:
    """Makes all tables of a report, those without a row left out.

    Args:
        groups: of runs.
        against: ``published`` or ``true`` labels.
        resamples: of people, and of permutations.
    """
    studies = [Study(group, against=against, resamples=resamples) for group in groups]
    further = (
        more_tables.scores,
        more_tables.differences,
        more_tables.matched_differences,
        more_tables.auc_differences,
        paper_tables.evidence,
        more_tables.claims,
        pointing_table.pointing,
    )
    made = [*paper_tables.paper_tables(studies), *(make(studies) for make in further)]
    told = report.mark_of_feedback(_feedback(groups))
    return [
        table._replace(title=table.title + told)
        for table in made
        if table is not None and table.rows
    ]


def _feedback(groups: Sequence[Group]) -> str:
    """Which feedback the rows of groups are of; "" where none has such rows."""
    found = {
        group.title: presets.feedback_title(group.config.get("df") or {})
        for group in groups
        if any(training in run.frames for run in group.runs for training in paper_tables.TAUGHT)
    }
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return ", ".join(f"{kind} in {title}" for title, kind in found.items())


def write(tables: Sequence[Table], out: pathlib.Path) -> None:
    """Writes each table as text, CSV and LaTeX, and all cells as ``numbers.json``.

    Raises:
        DiskError: where the disk refuses it.
    """
    files = {"numbers.json": table_writers.to_json(tables)}
    for table in tables:
        files[f"{table.name}.txt"] = table_writers.to_text(table)
        files[f"{table.name}.csv"] = table_writers.to_csv(table)
        files[f"{table.name}.tex"] = table_writers.to_latex(table)
    out.mkdir(parents=True, exist_ok=True)
    # What an earlier report had and this one has not would be taken for a part of it.
    for name in _TABLES:
        for path in (out / f"{name}.{end}" for end in ("txt", "csv", "tex")):
            if path.name not in files:
                path.unlink(missing_ok=True)
    for name, text in files.items():
        with explain_disk_errors(out / name, len(text)), replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")


def _show(text: str) -> None:
    """Prints a text on whatever terminal there is."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def main(arguments: list[str]) -> None:
    """Writes the report; exit code 2 for what cannot be read, 1 where the check finds another number."""
    example = commands.python("experiments.tables", "runs/bp4d", "--out=report")
    if len(arguments) < 2 or not _OUT.value:
        raise app.UsageError(f"give folders of runs, and --out=FOLDER: {example}")
    if _CHECK.value and _RESAMPLES.value < _FEWEST_CHECKED:
        raise app.UsageError(f"--check needs --resamples={_FEWEST_CHECKED} or more")
    out = paths.target_folder(_OUT.value, "--out")
    try:
        groups = read_groups([paths.local_folder(path, "folder") for path in arguments[1:]])
        tables = make_tables(groups, against=_AGAINST.value, resamples=_RESAMPLES.value)
        write(tables, out)
        index = page.write(groups, tables, out, against=_AGAINST.value)
    except (RunsError, FileNotFoundError, DiskError, PermissionError) as error:
        command_line.fail(error)
    for table in tables:
        _show(table_writers.to_text(table))
    print(f"report: {out}; open {index} in a browser")
    if _CHECK.value:
        sys.exit(_check(groups, tables))


def _check(groups: Sequence[Group], tables: Sequence[Table]) -> int:
    """Prints what another program finds to be another number; returns 1 where there is any."""
    from experiments import check_tables, recomputed

    printed = _RESAMPLES.value
    try:
        problems = check_tables.check(
            groups, tables, against=_AGAINST.value, printed_resamples=printed
        )
    except recomputed.CheckError as error:
        command_line.fail(error)
    for problem in problems:
        text = f"check: {problem}"
        print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr)
    cells = sum(len(row.cells) for table in tables for row in table.rows)
    what = f"{len(problems)} differ" if problems else "all agree"
    _show(f"check: {cells} cells, {what}")
    return int(bool(problems))


if __name__ == "__main__":
    command_line.run(main, arguments=sys.maxsize)
