"""The checks can fail: a small page that passes them all, and what each must see once it is broken."""

import pathlib
import time

import browser as driver
import checks
import pytest
from browser import Browser, BrowserError, Page

from piapdf_jax.export import chromium

pytestmark = pytest.mark.page

GOOD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Small</title><style>
:root { color-scheme: light dark; } body { font: 16px sans-serif; color: #222; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
.scroll { overflow-x: auto; } td { min-width: 90px; } button { font: inherit; color: inherit; background: none; }
</style></head><body><h1>Small</h1>
<div class="scroll"><table><caption>Scores</caption>
<thead><tr><th>method</th><th><button>F1</button></th><th><button>frames</button></th><th>x</th><th>y</th></tr></thead>
<tbody><tr><td>a</td><td>9.5 [1, 12]</td><td>1,000</td><td>1</td><td>1</td></tr>
<tr><td>b</td><td>- no fold 2</td><td>20</td><td>1</td><td>1</td></tr>
<tr><td>c</td><td>10.25</td><td>-3</td><td>1</td><td>1</td></tr></tbody></table></div>
<svg width="200" height="50"><title>bars</title>
<rect x="10" y="10" width="20" height="40"/><rect x="50" y="30" width="20" height="20"/></svg>
<script>
const number = cell => { const n = parseFloat(cell.textContent.replace(/,/g, "")); return isNaN(n) ? null : n; };
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const th = button.parentElement, body = th.closest("table").tBodies[0];
  const order = th.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  th.parentElement.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", order);
  const value = row => number(row.cells[th.cellIndex]), sign = order === "ascending" ? 1 : -1;
  body.append(...[...body.rows].sort((a, b) =>
    (value(a) === null) - (value(b) === null) || sign * (value(a) - value(b))));
}));
</script></body></html>
"""


def judged(browser: Browser, path: pathlib.Path) -> list[str]:
    """All that the checks find at a phone's width, light and dark."""
    page = Page(browser, path).load(width=390, height=844, phone=True)
    wrong = [*checks.drawn(page), *checks.harmless(page)]
    for scheme in ("light", "dark"):
        page.color_scheme(scheme)
        texts = checks.ask(page, "texts()")
        wrong += [*checks.narrow(page, texts, 390), *checks.legible(texts)]
    return [*wrong, *checks.sortable(page), *checks.quiet(page), *checks.weight(path)]


def test_a_good_page_passes(browser: Browser, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "good page.html"
    path.write_text(GOOD)
    assert judged(browser, path) == []
    assert checks.words_differ(Page(browser, path).load())


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("<script>", "<script>console.error('oh');", "console, error: oh"),
        ("<script>", "<script>console.warn('hm');", "console, warning: hm"),
        ("<script>", "<script>setTimeout(() => { throw Error('late'); });", "Error: late"),
        ("<script>", "<script>fetch('http://127.0.0.1:1/').catch(() => 0);", "http://127.0.0.1:1/"),
        ("<script>", "<script>new WebSocket('ws://127.0.0.1:1/');", "asked for ws://127.0.0.1:1/"),
        ("<script>", "<script>alert('boo');", "dialog: boo"),
        ("<svg", "<img src='http://127.0.0.1:1/x.png'><svg", "asked for http://127.0.0.1:1/x.png"),
        ("<svg", "<img src=x><svg", "not of the page: <img src"),
        ("<h1", "<h1 onclick=0", "not of the page: <h1 onclick"),
        ("<h1", "<a href='javascript:0'>go</a><h1", "not of the page: <a href"),
        (
            "<meta ",
            """<meta http-equiv="Content-Security-Policy" content="default-src 'none'"><meta """,
            "console, error: Applying inline style violates",
        ),
        ('<meta name="viewport" content="width=device-width">', "", "px wide, the view 390"),
        ("<h1", "<p style='width: 500px'>wide</p><h1", "px wide, the view 390"),
        (" overflow-x: auto;", "", "px wide, the view 390"),
        (
            "<h1",
            "<div style='overflow: hidden'><p style='width: 600px'>cut off</p></div><h1",
            "'cut off' ends at",
        ),
        ("<h1", "<small style='font-size: 10px'>fine print</small><h1", "'fine print' is 10.0 px"),
        ("color: #222", "color: #888", "'Small' has a contrast of 3.54"),
        ("color: #ddd", "color: #333", "'Small' has a contrast of 1.4"),
        ("<h1>", "<h1 style='opacity: 0.3'>", "'Small' has a contrast of"),
        ('x="10" y="10"', 'x="300" y="10"', "1 marks outside its box"),
        ('x="10" y="10"', 'x="NaN" y="10"', 'x="NaN"'),
        (
            "<rect x",
            "<text y='9'>one</text><text x='9' y='15'>two</text><rect x",
            "'one' is written",
        ),
        ("rect x", "rect fill='none' x", "has 0 marks"),
        ("<title>bars</title>", "", "has no title"),
        ("sign * (value(a) - value(b))", "0", "is not in rising order"),
        ('.replace(/,/g, "")', "", "is not in rising order"),
        (
            "value(a) - value(b))",
            "(value(a) + '' < value(b) + '' ? -1 : 1))",
            "is not in rising order",
        ),
        ("(value(a) === null) - (value(b) === null) ||", "", "gaps are not last"),
        ("body.append", "body.rows[0].remove(); body.append", "sorting changed the rows"),
        (
            "(value(a) === null) - (value(b) === null)",
            "(value(b) === null) - (value(a) === null)",
            "gaps are not last",
        ),
        ('th.setAttribute("aria-sort", order)', "0", "aria-sort is None"),
        ("other.removeAttribute", "other.getAttribute", "another column still"),
        ('"ascending" ? "descending" :', '"x" ? "descending" :', "the direction stays"),
        ("th button", "th span", "aria-sort is None"),
        ("button>", "b>", "no button to sort by"),
        ("cells[th.cellIndex]", "cells[1]", "is not in rising order"),
    ],
)
def test_each_fault_is_found(
    browser: Browser, tmp_path: pathlib.Path, old: str, new: str, found: str
) -> None:
    assert old in GOOD
    path = tmp_path / "bad.html"
    path.write_text(GOOD.replace(old, new))
    wrong = judged(browser, path)
    assert any(found in line for line in wrong), wrong


def test_a_large_file_is_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5_000_000))
    assert checks.weight(tmp_path / "large") == ["large has 5,000,000 bytes"]


def test_no_answer_and_a_dead_browser_are_errors(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").write_text(GOOD)
    with Browser() as browser:
        page = Page(browser, tmp_path / "page.html").load()
        with pytest.raises(BrowserError, match="TypeError"):
            page.evaluate("null.x")
        with pytest.raises(BrowserError, match="has no element with the id nowhere"):
            page.picture(tmp_path / "x.png", "nowhere")
        monkeypatch.setattr(chromium, "TIMEOUT", 0.5)
        with pytest.raises(BrowserError, match=r"Runtime\.evaluate: no answer in 0\.5 s"):
            page.evaluate("new Promise(() => 0)")
        with pytest.raises(BrowserError, match="Chromium ended|no answer"):
            browser.call("Browser.crash")
    group = browser.group
    deadline = time.monotonic() + 10
    while living(group):
        assert time.monotonic() < deadline, living(group)
        time.sleep(0.05)


def living(group: int) -> list[str]:
    """Processes of a group that are no zombies."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, _, its_group = rest.split()[:3]
        if int(its_group) == group and state not in "ZX":
            found.append(name)
    return found


def test_without_chromium_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserError, match="apt install chromium"), Browser():
        pass


@pytest.mark.parametrize("suffix, begins", [(".png", b"\x89PNG"), (".jpg", b"\xff\xd8")])
def test_a_picture_of_a_section(tmp_path: pathlib.Path, suffix: str, begins: bytes) -> None:
    import cv2

    (tmp_path / "page.html").write_text(GOOD.replace("<svg", "<svg id='bars'"))
    picture = tmp_path / f"bars{suffix}"
    page = str(tmp_path / "page.html")
    driver.main([page, str(picture), "--section=bars", "--margin=0"])
    assert picture.read_bytes().startswith(begins)
    pixels = cv2.imread(str(picture))
    assert pixels is not None and pixels.shape == (50, 200, 3)
    # a bar, what is above it, and what is between the bars
    assert pixels[13:, 13:27].max() < 40
    assert pixels[:7].min() > 215 and pixels[:, 33:47].min() > 215
    # The body's own margin is 8 px, so more is not to be had at the left.
    driver.main([page, str(picture), "--section=bars", "--margin=20"])
    pixels = cv2.imread(str(picture))
    assert pixels is not None and pixels.shape == (90, 216, 3)
    assert pixels[33:67, 21:35].max() < 40 and pixels[:27].max() > 215
