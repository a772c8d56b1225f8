"""What is drawn, by hand and by small programs of its own."""

import json
import re

import numpy as np
import pytest
from page_parts import frames, group, read, row, table

from experiments import page
from experiments.cells import Said
from experiments.page import bars, charts, claims, curves, facts
from experiments.page.bars import Bar
from experiments.page.facts import Method
from experiments.report_types import Cell

PIAP = Method(Said("piap"), "PIAP", "#0072b2", (1, 2))


def path_of(text):
    """Pairs of coordinates of a path with M, L."""
    return [tuple(map(float, pair)) for pair in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", text)]


def test_a_bar_s_pixels():
    """The plot is 138 px high, from 40 to 178: 75 % is 103.5 px, so its top is at 74.5."""
    people = {"F001": 0.0, "F002": 100.0, "F003": 25.0}
    bar = Bar(PIAP, Cell(75.0, 50.0, 100.0, positives=1234, people=3), people)
    other = Bar(PIAP, Cell(None, note="no fold has it"), {})
    root = read(bars.panel("6", [bar, other], floor=50.0, named=True).text)
    (rect,) = root.all("rect")
    assert (rect.attributes["y"], rect.attributes["height"]) == ("74.5", "103.5")
    # Two slots of 119 px from 34 on; a bar is 30 px wide at most and stands in the middle.
    assert (rect.attributes["x"], rect.attributes["width"]) == ("78.5", "30")
    assert [e.attributes["cy"] for e in root.all("circle")] == ["178", "40", "143.5"]
    assert all(78.5 - 5 <= float(e.attributes["cx"]) <= 108.5 + 5 for e in root.all("circle"))
    assert [e.text for e in root.all("circle")] == ["F001: 0.0", "F002: 100.0", "F003: 25.0"]
    (line,) = (e for e in root.all("path") if "interval" in e.classes)
    assert line.attributes["d"] == "M93.5 109V40M90.5 109h6M90.5 40h6"
    (floor,) = (e for e in root.all("path") if "mean" in e.classes)
    assert path_of(floor.attributes["d"]) == [(34, 109), (272, 109)]
    assert "AU6" in root.text and "1,234 frames, 3 people" in root.text
    assert "PIAP: no fold has it" in root.text


def test_many_bars_share_the_width():
    drawn = [Bar(PIAP, Cell(10.0), {}) for _ in range(14)]
    root = read(bars.panel("mean", drawn, floor=None, named=False).text)
    left, width = ([float(e.attributes[key]) for e in root.all("rect")] for key in ("x", "width"))
    # 238 px / 14 = 17 px a slot, of which 72 % are a bar.
    assert width == pytest.approx([12.24] * 14, abs=0.06)
    assert np.diff(left) == pytest.approx(17, abs=0.11)


def test_dots_without_names_are_one_path():
    bar = Bar(PIAP, Cell(75.0), {"F001": 0.0, "F002": 100.0})
    root = read(bars.panel("1", [bar], floor=None, named=False).text)
    assert not list(root.all("circle"))
    (dots,) = (e for e in root.all("path") if "dots" in e.classes)
    assert [y for _, y in path_of(dots.attributes["d"])] == [178, 40]


def test_f1_of_single_people_by_hand():
    """F1: AU1 right in 1 of 2 frames and one alarm too many; 2 * 1 / (2 + 1 + 1) = 50 %."""
    who = ["F1"] * 3 + ["F2"] * 2 + ["F3"]
    coded = [[1, 0], [1, 0], [0, 0], [1, 1], [-1, 1], [0, 0]]
    probs = [[0.9, 0.1], [0.2, 0.1], [0.8, 0.1], [0.5, 0.1], [0.9, 0.7], [0.9, 0.9]]
    missed = np.zeros((6, 2))
    made = group(frames(who, coded, probs), frames(who, coded, missed, seed=1))
    (method,) = facts.methods(made, "published")
    ids, f1 = facts.people_f1(facts.folds(made, method, "published"))
    assert ids == ["F1", "F2", "F3"]
    # Seed 1 says nothing is there: half of seed 0. F1 never shows AU2, F3 neither.
    expected = np.array([[25, np.nan], [50, 100 / 3], [np.nan, np.nan]])
    assert f1 == pytest.approx(expected, nan_ok=True)
    told = facts.rates(made, method, "published")
    assert told.coded == pytest.approx(np.array([[200 / 3, 0], [100, 100], [0, 0]]))
    assert told.said == pytest.approx(np.array([[100 / 3, 0], [50, 25], [50, 50]]))


def naive_bins(probs, labels):
    """Counts, mean probability, share present, bin by bin, frame by frame."""
    found = [[] for _ in range(15)]
    for p, label in zip(probs.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if label != -1:
            found[14 if p == 1 else int(p * 15)].append((p, label))
    n = sum(map(len, found))
    error = sum(abs(sum(p for p, _ in b) - sum(v for _, v in b)) for b in found) / n
    means = [[np.mean(b, axis=0) if b else (np.nan, np.nan)][0] for b in found]
    return [len(b) for b in found], np.array(means), error


def test_reliability_by_a_small_program():
    rng = np.random.default_rng(3)
    probs = rng.beta(0.6, 0.9, (60, 2)).astype(np.float32)
    # The bins from 6/15 to 9/15 stay empty.
    probs[(probs > 0.39) & (probs < 0.61)] = 0.2
    probs[0, 0] = 1.0
    labels = rng.integers(-1, 2, (60, 2))
    made = group(frames(["F1"] * 30 + ["F2"] * 30, labels, probs))
    (method,) = facts.methods(made, "published")
    bins = facts.reliability(made, method, "published")
    counts, means, error = naive_bins(probs, labels)
    assert bins.counts.tolist() == counts and 0 in counts
    assert bins.probs == pytest.approx(means[:, 0], nan_ok=True)
    assert bins.shares == pytest.approx(means[:, 1], nan_ok=True)
    assert bins.error == pytest.approx(error)
    root = read(curves.reliability_panel(method, bins).text)
    # The square is 238 px wide from 34 on, and 184 px high from 224 up.
    seen = [(float(e.attributes["cx"]), float(e.attributes["cy"])) for e in root.all("circle")]
    there = ~np.isnan(means[:, 0])
    expected = np.stack([34 + 238 * means[there, 0], 224 - 184 * means[there, 1]], -1)
    assert np.array(seen) == pytest.approx(expected, abs=0.051)
    assert f"error {error:.3f}" in root.text
    heights = [float(e.attributes["height"]) for e in root.all("rect")]
    full = [184 * count / max(counts) for count in counts if count]
    assert heights == pytest.approx(full, abs=0.051)


def test_true_labels_are_drawn_where_they_are_asked_for():
    true = np.array([[1, 1], [1, 1]], np.int8)
    told = frames(["F1", "F2"], [[0, 0], [0, 0]], [[0.9, 0.9], [0.9, 0.1]], true=true)
    made = group(told)
    (method,) = facts.methods(made, "true")
    _, f1 = facts.people_f1(facts.folds(made, method, "true"))
    assert f1.tolist() == [[100, 100], [100, 0]]
    assert facts.rates(made, method, "true").coded.tolist() == [[100, 100], [100, 100]]
    assert facts.reliability(made, method, "true").shares[13] == 1
    unknown = group(frames(["F1"], [[0, 1]], [[0.1, 0.9]]))
    assert facts.methods(unknown, "true") == []


def test_rates_are_where_they_belong():
    told = facts.Rates(["F1", "F2"], np.array([[50.0], [np.nan]]), np.array([[25.0], [np.nan]]))
    root = read(curves.rates_panel(PIAP, 12, told, 0, named=True).text)
    (dot,) = root.all("circle")
    # 34 + 238 / 2; 224 - 184 / 4
    assert (dot.attributes["cx"], dot.attributes["cy"]) == ("153", "178")
    assert dot.text == "F1: coded 50.0 %, said 25.0 %"
    assert "-25.0, 1 people" in root.text


def test_losses_of_two_runs_share_the_scale_of_the_higher_one():
    two = [
        curves.Loss("fold 1 seed 0", [1, 2], [4.0, 2.0]),
        curves.Loss("fold 1 seed 1", [1, 3], [1.0, 0.0]),
    ]
    root = read(curves.loss_panel("piap", two).text)
    found = [path_of(e.attributes["d"]) for e in root.all("path") if "curve" in e.classes]
    # From 40 px down for 4 to 178 for 0; steps 1 to 3 from 34 px to 272.
    assert found == [[(34, 40), (153, 109)], [(34, 143.5), (272, 178)]]
    assert "2 runs, ends at 1.000" in root.text


def test_losses_are_read_once_an_export_and_thinned(tmp_path):
    made = group(
        frames(["F1"], [[1, 0]], [[0.9, 0.1]]),
        frames(["F1"], [[1, 0]], [[0.9, 0.1]], seed=1),
        folder=tmp_path,
    )
    assert curves.losses_of(made, "piap") == (
        [], ["piap of fold 1 seed 0 has no metrics.jsonl with a loss"]
    )  # fmt: skip
    folder = tmp_path / "fold1_seed1" / "piap" / "0123456789abcdef"
    folder.mkdir(parents=True)
    lines = [{"step": k, "loss": None if k == 7 else 2.0 - k / 1000} for k in range(1, 1001)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 1001, "lo')
    (loss,), missing = curves.losses_of(made, "piap")
    assert missing == []
    assert loss.where == "fold 1 seed 1"
    assert len(loss.steps) == curves.POINTS
    assert (loss.steps[0], loss.steps[-1], loss.values[-1]) == (1, 1000, 1.0)
    assert 7 not in loss.steps
    root = read(curves.loss_panel("piap", [loss]).text)
    (curve,) = (e for e in root.all("path") if "curve" in e.classes)
    points = path_of(curve.attributes["d"])
    # From the first loss, 1.999, at the top, to 1.0 of [0, 1.999] over 138 px.
    assert points[0] == (34, 40)
    assert points[-1] == (272, pytest.approx(178 - 138 / 1.999, abs=0.051))
    (folder / "metrics.jsonl").write_text("[1, 2]\n{broken}\n")
    assert curves.losses_of(made, "piap")[0] == []


def test_claims_stand_beside_chance():
    rows = [
        row("PIAP, made", Cell(30.0, 20.0, 40.0), Cell(10.0)),
        row("AP, made", Cell(None, note="no probe"), Cell(None)),
    ]
    told = table(*rows, name="identity_probe", columns=("accuracy", "chance"), title="Probe")
    root = read(claims.section([told, table()]).text)
    (dot,) = root.all("circle")
    # 420 px from 270 on stand for 0 to 40.
    assert float(dot.attributes["cx"]) == pytest.approx(270 + 420 * 30 / 40)
    between, chance = (e.attributes["d"] for e in root.all("path") if "interval" in e.classes)
    assert path_of(between) == [(480, 18), (690, 18)]
    assert [x for x, _ in path_of(chance)] == [375, 375]
    assert dot.attributes["fill"] == "#0072b2"
    assert "No value: AP, made: no probe." in root.text
    assert "Neither was measured" in claims.section([table()]).text


def test_the_bars_take_intervals_from_the_tables():
    made = group(frames(["F1", "F2"], [[1, 0], [1, 1]], [[0.9, 0.1], [0.9, 0.1]]))
    cells = Cell(61.25, 50.0, 70.0, positives=7, people=2), Cell(None, note="why"), Cell(60.0)
    for title in ("PIAP, made", "PIAP, made (a fold is missing)", "PIAP, made \N{DAGGER}"):
        tables = [table(row("PIAP", 1.0, 2.0, 3.0, kind="paper"), row(title, *cells))]
        (method,) = facts.methods(made, "published")
        found = facts.f1_cells(tables, made, method, "published")
        assert found == {"1": cells[0], "2": cells[1], "mean": cells[2]}
        text = page.page([made], tables)
        assert "F1 of AU1: PIAP 61.2 [50.0, 70.0]" in text
        assert "AU2: no value. PIAP: why" in text
    # A group whose title begins alike is another one.
    rows = [row("PIAP, other", *cells), row("PIAP, made (steps=2)", *cells)]
    other = facts.f1_cells([table(*rows)], made, method, "published")
    assert other["1"].value == 100 and other["1"].low is None
    assert other["1"].positives == 2 and other["2"].people == 1


def test_chance_may_be_a_row_and_the_mean_is_drawn():
    columns = ("1", "mean")
    rows = [row("PI Generator 0", 3.0, Cell(41.0, 40.0, 42.0)), row("share of area", 9.0, 4.0)]
    told = claims.claims_of(table(*rows, columns=columns))
    assert told == [("PI Generator 0", Cell(41.0, 40.0, 42.0), 4.0)]
    by_column = table(row("decoder", 41.0, 5.0, 3.0), columns=("mean", "area", "1"))
    assert claims.claims_of(by_column) == [("decoder", Cell(41.0), 5.0)]
    # Words alone count: no score of a training is chance because its name has the letters.
    assert claims.claims_of(table(row("areas", 1.0, 2.0), columns=columns)) == []
    assert claims.claims_of(table(row("chance", 1.0, 2.0), columns=columns)) == []
    assert claims.claims_of(table(row("PIAP", 1.0), columns=("area",))) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0, 0.17, [0, 0.05, 0.1, 0.15]), (-1, 7, [0, 2, 4, 6]), (3, 3, [3])],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high) == expected


def test_coordinates_have_one_decimal():
    assert [charts.shown(v) for v in (0, -0.01, 1.25001, 100, -3.96)] == [
        "0", "0", "1.3", "100", "-4"
    ]  # fmt: skip
