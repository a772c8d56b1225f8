"""The page of a report as a browser shows it: runs are made up, with names that are markup, formulas and LaTeX."""

import os
import pathlib
import subprocess
import sys

import checks
import pytest
from browser import Browser, Page
from made_runs import NASTY, make_runs

pytestmark = pytest.mark.page

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A report of two configurations, as the command writes it: hostile names in one, a fold missing in the other."""
    folder = tmp_path_factory.mktemp("made")
    make_runs(folder / "runs", nasty=True)
    make_runs(folder / "runs", name="made2", settings=["ap.steps=7"], without=[(2, 0), (2, 1)])
    command = [sys.executable, "-m", "experiments.tables", str(folder / "runs")]
    done = subprocess.run(
        [*command, f"--out={folder / 'report'}", "--resamples=200"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    index = folder / "report" / "index.html"
    assert f"open {index} in a browser" in done.stdout
    return index


def test_it_is_quiet_small_and_of_its_own_elements(path: pathlib.Path, browser: Browser) -> None:
    page = Page(browser, path).load()
    assert checks.quiet(page) == []
    assert checks.harmless(page) == []
    assert checks.weight(path) == []
    assert checks.ask(page, "scripts()") == 1
    print(f"{path.stat().st_size:,} bytes, no request, nothing on the console")


def test_names_are_text(path: pathlib.Path, browser: Browser) -> None:
    page = Page(browser, path).load()
    text = page.evaluate("document.body.textContent")
    assert NASTY[0] in text
    assert page.evaluate("document.querySelectorAll('[onload], [onerror]').length") == 0
    assert checks.quiet(page) == []


def test_what_got_in_nevertheless_would_not_run(
    path: pathlib.Path, browser: Browser, tmp_path: pathlib.Path
) -> None:
    got_in = """<script>window.ran = 1</script><b id="b" onclick="window.ran = 2">b</b>
<style>h1 { display: none }</style><img src="data:,x" onerror="window.ran = 3">
<img src="http://127.0.0.1:1/x.png"><iframe src="data:text/html,x"></iframe>"""
    whole = path.read_text(encoding="utf-8")
    for place in ("<main>", "</body>"):
        assert whole.count(place) == 1
        bad = tmp_path / "bad.html"
        bad.write_text(
            whole.replace(place, place + got_in if place == "<main>" else got_in + place)
        )
        page = Page(browser, bad).load()
        page.click("document.getElementById('b')")
        assert page.evaluate("window.ran === undefined")
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).display") == "block"
        blocked = [text for _, text in page.console if "Content Security Policy" in text]
        assert len(blocked) >= 6
        assert len(checks.harmless(page)) == 4


def test_every_column_of_numbers_sorts(path: pathlib.Path, browser: Browser) -> None:
    page = Page(browser, path).load()
    assert checks.words_differ(page)
    assert checks.sortable(page) == []
    assert checks.quiet(page) == []
    tables = checks.ask(page, "tables()")
    columns = sum(head["button"] for table in tables for head in table["heads"])
    assert len(tables) >= 5 and columns >= 30
    print(f"{len(tables)} tables, {columns} columns to sort by")


@pytest.mark.parametrize(("width", "height"), [checks.PHONE, (1280, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(
    path: pathlib.Path, browser: Browser, width: int, height: int, scheme: str
) -> None:
    page = Page(browser, path)
    page.color_scheme(scheme)
    page.load(width=width, height=height, phone=width < 500)
    # what is folded away is read as well
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    texts = checks.ask(page, "texts()")
    assert checks.narrow(page, texts, width) == []
    assert checks.legible(texts) == []
    assert checks.drawn(page) == []
    print(
        f"{len(texts)} texts at {width} px, {scheme}: contrast at least {min(t['contrast'] for t in texts):.2f},"
        f" letters of at least {min(t['size'] for t in texts):.1f} px"
    )


def test_dark_is_dark(path: pathlib.Path, browser: Browser) -> None:
    page = Page(browser, path)
    lightness = {}
    for scheme in ("light", "dark"):
        page.color_scheme(scheme)
        page.load()
        lightness[scheme] = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
        )
    assert lightness["light"] > 3 * 230 and lightness["dark"] < 3 * 60
