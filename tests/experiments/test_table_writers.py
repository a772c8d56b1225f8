"""Tables as text, CSV, LaTeX and JSON: by hand, and with names that none of these may take for its own language."""

import csv
import io
import json

import pytest

from experiments import table_writers
from experiments.report_types import Cell, Row, Table

TABLE = Table(
    "table1",
    "BP4D: F1 (%)",
    ("1", "24", "mean"),
    (
        Row(
            "LSVM",
            "other",
            (Cell(23.2), Cell(20.7), Cell(21.95)),
            "the paper prints a mean of 21.5",
        ),
        Row(
            "PIAP, made",
            "ours",
            (
                Cell(64.44, 58.06, 70.26, 0.0123, 0.987, 120, 12),
                Cell(None, note="no test frame shows it"),
                Cell(64.44, 60.0, 65.0, people=12),
            ),
        ),
        Row("always yes, made", "floor", (Cell(30.0), Cell(40.0), Cell(35.0))),
    ),
    ("made: fold 2 is missing",),
)
NASTY = "<b>\"x'</b>\n& 50% of a_b {c} $d^2$ #1 ~ \\end{tabular}"


def test_text_is_aligned_with_intervals_and_comparisons_below_and_notes_at_the_end():
    assert table_writers.to_text(TABLE).splitlines() == [
        "BP4D: F1 (%)",
        "",
        "                      1    24  mean",
        "LSVM               23.2  20.7  21.9",
        "PIAP, made         64.4     -  64.4",
        "  from             58.1        60.0",
        "  to               70.3        65.0",
        "  p               0.012",
        "  better           0.99",
        "always yes, made   30.0  40.0  35.0",
        "",
        "- made: fold 2 is missing",
        "- LSVM: the paper prints a mean of 21.5",
        "- PIAP, made: no test frame shows it (24)",
    ]


def test_a_cell_with_its_interval_is_one_text():
    assert table_writers.shown(Cell(64.44, 58.06, 70.26), 1) == "64.4 [58.1, 70.3]"
    assert table_writers.shown(Cell(-0.06, -1.0, 0.04), 1) == "-0.1 [-1.0, 0.0]"
    assert table_writers.shown(Cell(1234567.0), 0) == "1,234,567"
    assert table_writers.shown(Cell(None, 1.0, 2.0), 1) == "-"


@pytest.mark.parametrize(
    ("p", "told"), [(1e-4, "<0.001"), (0.000499, "<0.001"), (0.0005, "0.001"), (1.0, "1.000")]
)
def test_a_p_value_is_never_printed_as_0(p, told):
    row = Row("x", "ours", (Cell(1.0, p=p),))
    text = table_writers.to_text(Table("t", "t", ("1",), (row,)))
    assert text.splitlines()[4].split() == ["p", told]


def test_csv_has_a_line_a_cell_with_unrounded_numbers():
    lines = list(csv.DictReader(io.StringIO(table_writers.to_csv(TABLE))))
    assert len(lines) == 9
    assert lines[3] == {
        "table": "table1", "method": "PIAP, made", "kind": "ours", "column": "1", "value": "64.44",
        "low": "58.06", "high": "70.26", "p": "0.0123", "better": "0.987", "positives": "120",
        "people": "12", "note": "", "row_note": "",
    }  # fmt: skip
    assert (lines[4]["value"], lines[4]["note"]) == ("", "no test frame shows it")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1"])
def test_names_that_a_spreadsheet_would_calculate_are_text_in_csv(text):
    row = Row(text, "ours", (Cell(-1.5, note=text),), text)
    (line,) = csv.DictReader(
        io.StringIO(table_writers.to_csv(Table("t", "t", (text,), (row,))), newline="")
    )
    assert [line[key] for key in ("method", "column", "note", "row_note")] == [
        f"'{text.strip()}"
    ] * 4
    # A number is none.
    assert line["value"] == "-1.5"


def test_latex_is_a_booktabs_table_with_intervals_as_subscripts():
    low = r"$64.4_{\scriptscriptstyle [58.1, 70.3]}$"
    last = r"$64.4_{\scriptscriptstyle [60.0, 65.0]}$"
    lines = table_writers.to_latex(TABLE).splitlines()
    assert lines[1:11] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"method & 1 & 24 & mean \\",
        r"\midrule",
        r"LSVM & 23.2 & 20.7 & 21.9 \\",
        rf"PIAP, made & {low} & -- & {last} \\",
        r"\midrule",
        r"always yes, made & 30.0 & 40.0 & 35.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert all(line.startswith("% ") for line in (lines[0], *lines[11:])) and len(lines) == 14


def test_names_are_escaped_in_latex_and_stay_in_their_line():
    row = Row(NASTY, "ours", (Cell(1.0, note=NASTY),), NASTY)
    lines = table_writers.to_latex(Table("t", NASTY, (NASTY,), (row,), (NASTY,))).splitlines()
    told = (
        r"""\textless{}b\textgreater{}"x'\textless{}/b\textgreater{} \& 50\% of a\_b \{c\} """
        r"\$d\textasciicircum{}2\$ \#1 \textasciitilde{} \textbackslash{}end\{tabular\}"
    )
    assert lines[3] == rf"method & {told} \\" and lines[5] == rf"{told} & 1.0 \\"
    # One table, whose end is its own, and comments alone around it.
    assert lines[6:8] == [r"\bottomrule", r"\end{tabular}"]
    assert all(line.startswith("% ") for line in (lines[0], *lines[8:]))


def test_text_has_no_letter_that_moves_the_cursor():
    row = Row("a\x1b[2Jb\nc", "ours", (Cell(1.0, note="x\ry"),), "n\x07")
    text = table_writers.to_text(Table("t", "t\x9b", ("1",), (row,), ("m\u202en",)))
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    assert len(text.splitlines()) == 8


def test_json_holds_every_cell_unrounded_with_null_for_a_gap():
    (told,) = json.loads(table_writers.to_json([TABLE]))
    assert (told["name"], told["columns"]) == ("table1", ["1", "24", "mean"])
    assert told["rows"][1]["cells"][0] == {
        "value": 64.44, "low": 58.06, "high": 70.26, "p": 0.0123, "better": 0.987, "positives": 120,
        "people": 12, "note": "",
    }  # fmt: skip
    assert told["rows"][1]["cells"][1]["value"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        table_writers.to_json([TABLE._replace(rows=(Row("x", "ours", (Cell(float("nan")),)),))])


def test_shares_and_counts_are_printed_with_decimals_of_their_own():
    columns = ("F1", "ROC AUC", "parameters")
    row = Row("x", "ours", (Cell(64.44), Cell(0.98765), Cell(5678901.0)))
    text = table_writers.to_text(Table("scores", "t", columns, (row,)))
    assert text.splitlines()[3].split() == ["x", "64.4", "0.988", "5,678,901"]
    evidence = Table("evidence", "t", ("1",), (Row("x", "ours", (Cell(17.0),)),))
    assert table_writers.to_text(evidence).splitlines()[3].split() == ["x", "17"]
