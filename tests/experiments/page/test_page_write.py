"""The whole page: nothing of data becomes markup, nothing is asked for, and numbers are those handed in."""

import base64
import hashlib
import json
import re
import time

import cv2
import numpy as np
import pytest
from made_runs import make_runs
from page_parts import NASTY, by_id, frames, group, read, row, table

from experiments import page
from experiments.groups import read_groups
from experiments.page import figures, style
from experiments.report_types import Cell

#: All elements that a page is made of.
KNOWN = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main"),
    *("section", "h1", "h2", "h3", "p", "ul", "li", "a", "div", "figure", "figcaption", "img"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "button", "small", "sup"),
    *("details", "summary", "svg", "path", "rect", "circle", "text"),
}
#: Attributes of which a browser could make a request.
LINKS = ("href", "src", "srcset", "action", "data", "poster", "xlink:href", "style", "formaction")


def judged(text):
    """Reads a page, and refuses whatever could load, run or send something."""
    root = read(text)
    scripts = [e for e in root.all("script") if e.attributes.get("type") != "application/json"]
    assert [e.text for e in scripts] == [style.SCRIPT]
    for element in root.all():
        assert element.name in KNOWN, element.name
        for name, value in element.attributes.items():
            assert not name.startswith("on"), (element.name, name)
            if name in LINKS:
                inner = value.startswith("#") or value.startswith("data:image/jpeg;base64,")
                assert inner, (element.name, name, value[:80])
    ids = [e.attributes["id"] for e in root.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    anchors = [e.attributes["href"][1:] for e in root.all("a")]
    assert len(anchors) == 10 and set(anchors) <= set(ids)
    for code in (style.CSS, style.SCRIPT):
        assert not re.search(r"url\(|@import|https?:|//[a-z]|fetch|XMLHttp|eval|innerHTML", code)
    return root


def named_page(word, folder):
    """A page of which everything that data name has one name."""
    told = frames([word, "b"], [[1, 0], [1, 1]], [[0.9, 0.1], [0.2, 0.9]], dataset=word)
    other = frames(["c"], [[1, 0]], [[0.9, 0.1]], training=word, fold=2)
    one = group(
        *(told, other),
        title=word,
        folder=folder / word.replace("/", "|"),
        notes=(word,),
        stand_ins={word: word},
        config={word: word, "a": [word]},
    )
    two = group(told, title=word + "2", config={word: word + "2"})
    one.runs[0].versions[word] = word
    cells = Cell(1.0, 0.5, 2.0, note=word), Cell(None, note=word + "x"), Cell(3.0)
    rows = [row(f"PIAP, {word}", *cells, note=word), row(word, 1.0, 2.0, 3.0, kind="other")]
    claim = table(*rows, name="c", columns=("accuracy", "chance", word), title=word)
    return page.page([one, two], [table(*rows, notes=(word,), title=word), claim])


@pytest.mark.parametrize("name", NASTY)
def test_names_from_data_stay_text_everywhere(name, tmp_path):
    """The page is that of a harmless name, the name aside: as many elements, and every text as it was."""
    tame = "A" * len(name)
    root, expected = (judged(named_page(word, tmp_path)) for word in (name, tame))
    seen = 0
    for element, wanted in zip(root.all(), expected.all(), strict=True):
        assert element.name == wanted.name
        assert element.attributes.keys() == wanted.attributes.keys()
        if element.attributes.get("id") == "data":
            told = json.dumps(json.loads(wanted.text)).replace(tame, json.dumps(name)[1:-1])
            assert json.loads(element.text) == json.loads(told)
            continue
        # A training's color is made of its name.
        pairs = [(v or "", wanted.attributes[k] or "") for k, v in element.attributes.items()
                 if k not in ("fill", "stroke")]  # fmt: skip
        own, others = ("".join(p for p in e.own if isinstance(p, str)) for e in (element, wanted))
        for text, other in (*pairs, (own, others)):
            if "\N{HORIZONTAL ELLIPSIS}" in other:
                assert len(text) == len(other)
                continue
            assert text in {other.replace(tame, n) for n in (name, name.replace("/", "|"))}
            seen += other.count(tame)
    assert seen > 80


def test_the_policy_names_this_script_and_style_alone(tmp_path):
    root = judged(page.page([], []))
    metas = [e.attributes for e in root.all("meta")]
    (policy,) = (a["content"] for a in metas if a.get("http-equiv") == "Content-Security-Policy")
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    hashes = [
        "'sha256-"
        + base64.b64encode(hashlib.sha256(next(root.all(name)).text.encode()).digest()).decode()
        + "'"
        for name in ("style",)
    ]
    (script,) = (e for e in root.all("script") if "type" not in e.attributes)
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert parts == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes[0],
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # The policy holds for what stands below it.
    html = next(root.all("html"))
    assert [e.name for e in html.children[0].children[:3]] == ["meta", "meta", "meta"]
    assert html.attributes == {"lang": "en"}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Runs of made-up methods on two folds, with pictures, and tables of known cells."""
    folder = tmp_path_factory.mktemp("runs")
    runs = make_runs(folder, folds=(1, 2), seeds=(0,), people=3, frames=8, nasty=True)
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    cv2.imwrite(str(runs[1, 0] / "figure1.png"), noise)
    (runs[1, 0] / "pi_maps.png").write_bytes(b"no picture")
    groups = read_groups([folder])
    cells = Cell(64.849, 60.0, 70.04, p=0.0004, better=0.987, positives=1234, people=38)
    rows = [
        row("LSVM", 23.2, 22.8, 23.0, kind="other", note="the paper prints a mean of 35.3"),
        row("PIAP, made", cells, Cell(None, note="no test frame shows it"),
            Cell(0.05, note="fewer than 5 people")),
        row("PIAP", 54.2, 47.1, 50.0, kind="paper"),
        row("PIAP-DF, made", Cell(7.25, p=0.0305), 100.0, Cell(None)),
    ]  # fmt: skip
    scores = table(
        row("PIAP, made", 0.12345, 12345.0, 2.0), name="scores", columns=("MCC", "frames", "F1")
    )
    tables = [table(*rows), scores]
    path = page.write(groups, tables, folder / "report")
    return groups, tables, path, judged(path.read_text(encoding="utf-8"))


def test_every_number_is_the_one_handed_in(study):
    _, tables, _, root = study
    data = json.loads(by_id(root, "data").text)
    for told, given in zip(data["tables"], tables, strict=True):
        assert told["columns"] == list(given.columns)
        for row_told, row_given in zip(told["rows"], given.rows, strict=True):
            for cell, wanted in zip(row_told["cells"], row_given.cells, strict=True):
                assert Cell(**{"value": None} | cell) == wanted
        drawn = by_id(root, f"table-{given.name}")
        body = next(drawn.all("tbody"))
        for line, row_given in zip(body.children, given.rows, strict=True):
            assert line.children[0].text.startswith(row_given.title)
            for cell, wanted in zip(line.children[1:], row_given.cells, strict=True):
                if wanted.value is None:
                    assert "data-v" not in cell.attributes and cell.text[0] == "-"
                else:
                    assert float(cell.attributes["data-v"]) == wanted.value


def test_cells_as_they_are_printed(study):
    root = study[3]
    lines = list(next(by_id(root, "table-table3").all("tbody")).children)
    assert [[c.text for c in line.children] for line in lines] == [
        ["LSVMthe paper prints a mean of 35.3", "23.2", "22.8", "23.0"],
        ["PIAP, made", "64.8[60.0, 70.0]p <.001", "-a", "0.1b"],
        ["PIAPthe paper", "54.2", "47.1", "50.0"],
        ["PIAP-DF, made", "7.2p .030", "100.0", "-"],
    ]
    assert [line.classes for line in lines] == [["other"], ["ours"], ["paper"], ["ours"]]
    cell = lines[1].children[1]
    assert cell.attributes["title"] == (
        "1,234 frames show it; 38 people; better with probability 0.99"
    )
    assert "a: no test frame shows it" in by_id(root, "tables").text
    (line,) = next(by_id(root, "table-scores").all("tbody")).children
    assert [c.text for c in line.children[1:]] == ["0.123", "12,345", "2"]


def test_tables_can_be_heard_and_sorted_by_keyboard(study):
    root = study[3]
    found = list(root.all("table"))
    assert len(found) >= 6
    for element in found:
        assert element.parent.classes == ["scroll"]
        assert element.parent.attributes["tabindex"] == "0"
        assert element.children[0].name == "caption"
        heads = list(next(element.all("thead")).all("th"))
        assert all(h.attributes["scope"] == "col" for h in heads)
        assert all([c.name for c in h.children] == ["button"] for h in heads)
        for line in next(element.all("tbody")).children:
            assert line.children[0].attributes["scope"] == "row"
            assert len(line.children) == len(heads)


def test_headings_go_down_step_by_step_and_charts_have_titles(study):
    root = study[3]
    levels = [int(e.name[1]) for e in root.all() if re.fullmatch("h[1-6]", e.name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    charts = list(root.all("svg"))
    assert len(charts) > 100
    for chart in charts:
        assert chart.attributes["role"] == "img"
        assert chart.children[0].name == "title" and chart.children[0].text
    assert all(e.children[-1].name == "figcaption" for e in root.all("figure"))


def test_warnings_are_red_and_people_are_counted(study):
    groups, _, _, root = study
    red = [e.text for e in root.all() if {"bad", "note"} & set(e.classes)]
    told = next(iter(groups[0].stand_ins.values()))
    assert any(told in text and "Stand-in" in text for text in red)
    assert any("fold 3 is missing" in text for text in red)
    told = table(title="T; STAND-INS for the paper's data", notes=("stand-ins: a", "a note"))
    warned = judged(page.page([], [told]))
    assert [e.text for e in warned.all() if "bad" in e.classes] == [told.title, "stand-ins: a"]
    assert "6 test people, 48 test frames" in by_id(root, "about").text
    assert "on 6 test people" in by_id(root, "units").text


def test_pictures_are_in_the_page_and_broken_ones_are_told(study):
    root = study[3]
    (image,) = root.all("img")
    data = base64.b64decode(image.attributes["src"].removeprefix("data:image/jpeg;base64,"))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (720, 1280, 3)
    assert len(image.attributes["src"]) <= figures.BUDGET // 2 + 30
    assert image.attributes["alt"].startswith("Figure 1")
    assert "pi_maps.png of made, fold1_seed0 cannot be shown" in by_id(root, "figures").text


def test_a_picture_is_made_small_enough_or_left_out(tmp_path):
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8))
    large = figures.jpeg(path, most=10**6)
    less = figures.jpeg(path, most=100_000)
    assert large is not None and less is not None
    assert len(base64.b64encode(less)) <= 100_000 < len(base64.b64encode(large))
    assert figures.jpeg(path, most=100) is None


def test_a_large_study_fits_in_seconds(tmp_path):
    """Two groups of seven methods, a teacher, 41 people and 12 units, with pictures of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    aus = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    names = ("baseline", "pi2", "pi3", "ap", "df", "piap", "piapdf")
    groups = []
    for title in ("first", "second"):
        told = []
        for name in names:
            rng = np.random.default_rng(len(told))
            who = np.repeat([f"F{number:03d}" for number in range(41)], 40)
            labels = rng.integers(0, 2, (len(who), 12))
            probs = rng.random((len(who), 12))
            taught = {"teacher_probs": probs[::-1].copy()} if name in ("df", "piapdf") else {}
            told.append(frames(who, labels, probs, training=name, aus=aus, **taught))
        made = group(*told, title=title, folder=tmp_path / title)
        folder = made.runs[0].folder
        folder.mkdir(parents=True)
        for picture in figures.PICTURES:
            cv2.imwrite(str(folder / picture), noise, [cv2.IMWRITE_PNG_COMPRESSION, 0])
        groups.append(made)
    start = time.perf_counter()
    path = page.write(groups, [], tmp_path / "out")
    assert time.perf_counter() - start < 20
    assert 1_000_000 < path.stat().st_size < 5_000_000
    assert path.read_bytes().count(b"data:image/jpeg") == 4


def test_too_many_dots_lose_their_names(monkeypatch):
    made = group(frames(["F1", "F2"], [[1, 1], [1, 1]], [[0.9, 0.1], [0.2, 0.9]]))
    # Two people, two units, in two charts.
    monkeypatch.setattr(page, "NAMED_DOTS", 8)
    named = judged(page.page([made], []))
    monkeypatch.setattr(page, "NAMED_DOTS", 7)
    bare = judged(page.page([made], []))
    assert len([e for e in named.all("circle") if "dot" in e.classes]) == 8
    assert not [e for e in bare.all("circle") if "dot" in e.classes]


def test_people_who_never_show_a_unit_have_no_dot_and_are_counted():
    coded = [[1, 1], [0, 1], [-1, 1], [1, -1]]
    made = group(frames(["F1", "F2", "F3", "F4"], coded, [[0.9, 0.1]] * 4))
    text = page.page([made], [])
    units = by_id(judged(text), "units")
    panels = [svg for svg in units.all("svg") if "key" not in svg.classes]
    dots = [[e.text for e in svg.all("circle")] for svg in panels]
    assert dots == [["F1: 100.0", "F4: 100.0"], ["F1: 0.0", "F2: 0.0", "F3: 0.0"], []]
    assert "a frame that shows the unit: AU1: 2; AU2: 1." in units.text
    assert "2 frames, 2 people" in units.text and "3 frames, 3 people" in units.text
    assert "nan" not in text


def test_nothing_to_show_is_said():
    text = judged(page.page([], [])).text
    for words in ("There are no tables", "nothing to draw", "Neither was measured", "No run has"):
        assert words in text


def test_gaps_everywhere_and_one_person():
    told = frames(["F1"] * 3, [[-1, -1], [-1, 0], [-1, 0]], [[0.9, 0.1]] * 3)
    made = group(told, frames([], np.zeros((0, 2)), np.zeros((0, 2)), fold=2))
    gap = Cell(None, note="no test frame shows it")
    text = judged(page.page([made], [table(row("PIAP, made", gap, gap, gap))])).text
    assert "no test frame shows it" in text
    assert "No loss curve: piap of fold 1 seed 0 has no metrics.jsonl" in text
    assert "nan" not in text


def test_a_training_without_frames_or_report_is_no_fault():
    made = group(frames(["F1"], [[1, 0]], [[0.9, 0.1]]))
    made.runs[0].results["trainings"] |= {"ap": {"digest": "x"}}
    made.runs[0].frames.clear()
    root = judged(page.page([made], []))
    lines = next(by_id(root, "times").all("tbody")).children
    assert [c.text for c in lines[0].children] == [
        "PIAP", "1", "-", "2.5", "2.5", "-", "-", "-", "-"
    ]  # fmt: skip
    assert [c.text for c in lines[1].children[1:]] == ["1", *"-------"]


def test_settings_that_differ_come_first():
    told = frames(["F1"], [[1, 0]], [[0.9, 0.1]])
    one = group(told, title="one", config={"piap": {"steps": 200, "rate": 0.1}, "x": None})
    two = group(told, title="two", config={"piap": {"steps": 600, "rate": 0.1}})
    section = by_id(judged(page.page([one, two], [])), "configuration")
    first, everything, _ = section.all("table")
    assert [[c.text for c in line.children] for line in first.all("tr")] == [
        ["setting", "one", "two"], ["piap.steps", "200", "600"]
    ]  # fmt: skip
    assert len(list(everything.all("tr"))) == 4
    assert "its runs differ in fold and seed alone" in judged(page.page([one], [])).text


def test_what_is_there_is_replaced_whole(tmp_path, monkeypatch):
    path = page.write([], [], tmp_path / "a" / "report")
    before = path.read_bytes()
    assert path == tmp_path / "a" / "report" / "index.html"

    def fails(*_, **__):
        raise RuntimeError("half")

    monkeypatch.setattr(page.about, "times", fails)
    with pytest.raises(RuntimeError, match="half"):
        page.write([], [table()], path.parent)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
