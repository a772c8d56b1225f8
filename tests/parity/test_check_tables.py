"""Every number of a report's tables, recomputed by scikit-learn and SciPy from the files of frames."""

import pathlib
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import check_draws, check_tables, more_tables, paper_tables, recomputed
from experiments import tables as program
from experiments.cells import Study
from experiments.groups import read_groups
from experiments.recomputed import Draws

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
from made_runs import make_runs

pytestmark = pytest.mark.parity

RESAMPLES, CHECKED = 10_000, 2500


def tables_of(groups, against="published"):
    studies = [Study(group, against=against, resamples=RESAMPLES) for group in groups]
    made = [*paper_tables.paper_tables(studies), more_tables.scores(studies)]
    others = (
        more_tables.differences(studies),
        more_tables.auc_differences(studies),
        more_tables.claims(studies),
        paper_tables.evidence(studies),
    )
    return [*made, *(table for table in others if table is not None)]


def check(groups, tables, **more):
    return check_tables.check(
        groups, tables, printed_resamples=RESAMPLES, resamples=CHECKED, **more
    )


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, methods=("baseline", "piap", "piapdf", "disfa"), people=4, frames=16)
    return read_groups([folder])


@pytest.fixture(scope="module")
def tables(groups):
    return tables_of(groups)


def altered(tables, name, pick, *, start=0, **values):
    """The tables with one cell of ours changed; and its column and row."""
    (table,) = [table for table in tables if table.name == name]
    row = [row for row in table.rows if pick(row)][-1]
    place = next(
        c
        for c, cell in enumerate(row.cells)
        if (c >= start or len(row.cells) <= 2)
        and all(getattr(cell, key) is not None for key in values)
    )
    moved = {key: change(getattr(row.cells[place], key)) for key, change in values.items()}
    cells = list(row.cells)
    cells[place] = cells[place]._replace(**moved)
    rows = tuple(row._replace(cells=tuple(cells)) if r is row else r for r in table.rows)
    return [table._replace(rows=rows)], table.columns[place], row.title


def test_every_number_agrees_with_other_programs(groups, tables):
    assert [table.name for table in tables] == [
        *("table1", "table2", "table3", "scores", "differences", "auc_differences"),
        *("identity_probe", "evidence"),
    ]
    assert not check(groups, tables)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_true_labels_missing_folds_few_people_and_other_numbers_of_seeds_agree(tmp_path, seeds):
    make_runs(
        tmp_path, methods=("baseline", "piapdf"), people=2, frames=12, seeds=seeds, folds=(1, 2)
    )
    found = read_groups([tmp_path])
    made = tables_of(found, against="true")
    assert not check(found, made, against="true")


#: Table, field of a cell, what is done to it: one cell of each is made wrong.
WRONG = (
    ("table1", "value", lambda value: value + 0.01),
    ("table1", "low", lambda value: value - 20),
    ("table1", "people", lambda value: value + 1),
    ("table1", "high", lambda value: value + 20),
    ("table1", "positives", lambda value: value - 1),
    ("scores", "value", lambda value: value + 0.01),
    ("differences", "p", lambda value: value / 2 + 0.5 if value < 0.1 else value / 20),
    ("differences", "better", lambda value: value - 0.3),
    ("differences", "low", lambda value: float("nan")),
    ("auc_differences", "value", lambda value: value + 0.1),
    ("auc_differences", "better", lambda value: value - 0.3),
    ("auc_differences", "low", lambda value: value - 20),
    ("evidence", "value", lambda value: value + 1),
    ("identity_probe", "low", lambda value: value - 20),
)


def test_altered_cells_are_named_and_no_others(groups, tables):
    wrong, expected = {table.name: table for table in tables}, []
    for start, (name, key, change) in enumerate(WRONG):
        (table,), column, title = altered(
            [wrong[name]], name, lambda row: row.kind == "ours", start=start % 5, **{key: change}
        )
        wrong[name] = table
        expected.append(f"{name}, {title}, {column}: {key}")
    lines = check(groups, [wrong[name] for name in dict.fromkeys(name for name, *_ in WRONG)])
    assert sorted(line.partition(" is printed as ")[0] for line in lines) == sorted(expected)


def test_a_mean_of_the_paper_and_a_floor_and_an_unknown_row_are_checked(groups, tables):
    for kind in ("paper", "other", "floor"):
        wrong, column, title = altered(
            tables, "table1", lambda row, kind=kind: row.kind == kind, value=lambda value: value + 1
        )
        assert len(check(groups, wrong)) == 1
    (table,) = [table for table in tables if table.name == "table2"]
    rows = (*table.rows[:-1], table.rows[-1]._replace(title="another"))
    assert check(groups, [table._replace(rows=rows)]) == [
        f"table2, {table.rows[-1].title}: this row is missing",
        "table2, another: no other program can tell this row",
    ]
    (paper, *others) = table.rows
    assert check(groups, [table._replace(rows=tuple(others))]) == [
        f"table2, {paper.title}: this row is missing"
    ]
    told = "unknown: not checked, there is no other program for this table"
    assert check(groups, [table._replace(name="unknown")]) == [told]


def test_a_cell_without_its_interval_is_named(groups, tables):
    wrong, *_ = altered(tables, "table2", lambda row: row.kind == "ours", low=lambda _: None)
    (line,) = check(groups, wrong)
    assert "low is printed as None" in line


def test_margin_is_of_the_numbers_of_draws():
    # 5 * sqrt(0.25 * 2 / 10000) + 2 / 10000
    np.testing.assert_allclose(Draws(10_000, 10_000).margin(0.5), 0.0355553, rtol=1e-5)


def test_holm_by_hand_and_without_scikit_learn_one_line(groups, tables, monkeypatch):
    told = check_draws.holm(np.array([0.01, np.nan, 0.04, 0.03, 0.03]))
    np.testing.assert_allclose(told, [0.04, np.nan, 0.09, 0.09, 0.09])
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(recomputed.CheckError, match="needs scikit-learn"):
        check(groups, tables)


def test_the_program_ends_with_0_1_or_2(tmp_path, capsys, monkeypatch):
    make_runs(tmp_path / "runs", methods=("baseline",), people=2, frames=8, seeds=(0,))
    flags.FLAGS.mark_as_parsed()

    def ended(resamples=2000):
        told = {"out": str(tmp_path / "out"), "check": True, "resamples": resamples}
        with flagsaver.flagsaver(**told), pytest.raises(SystemExit) as end:
            program.main(["tables", str(tmp_path / "runs")])
        return end.value.code, *(text.splitlines() for text in capsys.readouterr())

    seen, checked = [], check_tables.check
    monkeypatch.setattr(
        check_tables, "check", lambda *a, **more: seen.append(more) or checked(*a, **more)
    )
    code, said, complained = ended()
    assert code == 0 and said[-1].endswith("cells, all agree") and not complained
    assert seen == [{"against": "published", "printed_resamples": 2000}]
    made = program.make_tables

    def wrong(*args, **more):
        return altered(
            made(*args, **more), "scores", lambda row: True, value=lambda value: value + 1
        )[0]

    with monkeypatch.context() as patch:
        patch.setattr(program, "make_tables", wrong)
        code, said, (line,) = ended()
    assert code == 1 and said[-1].endswith("cells, 1 differ")
    assert line.startswith("check: scores, Baseline, made, F1: value is printed as")
    with pytest.raises(program.app.UsageError, match="--resamples=2000 or more"):
        ended(resamples=1999)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    code, _, complained = ended()
    assert code == 2 and len(complained) == 1 and "needs scikit-learn" in complained[0]
