"""Judges a page by what a reader sees of it. Each check returns what is wrong, one line each."""

import pathlib
import re
from typing import Any

from browser import Page

#: CSS pixels of a phone.
PHONE = (390, 844)
#: Smallest letters, in CSS pixels: of text, and of what is written into charts.
TEXT, CHART_TEXT = 12.0, 9.0
#: Least contrast of text, by the Web Content Accessibility Guidelines.
CONTRAST = 4.5
LARGEST_FILE = 5_000_000
_SCRIPT = pathlib.Path(__file__).with_name("checks.js").read_text()
_NUMBER = re.compile(r"[-+\u2212]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)
_GAP = re.compile(r"([-\u2013\u2014](?![\d.]).*)?", re.DOTALL)


def ask(page: Page, question: str) -> Any:
    """Returns what ``checks.js`` answers."""
    return page.evaluate(f"{_SCRIPT}.{question}")


def quiet(page: Page) -> list[str]:
    """Finds what a page said on its console, asked for and opened while it was looked at."""
    return [
        *(f"console, {level}: {text}" for level, text in page.console),
        *(f"asked for {url}" for url in page.requests),
        *(f"dialog: {text}" for text in page.dialogs),
    ]


def weight(path: pathlib.Path) -> list[str]:
    """Finds a file that is too large."""
    size = path.stat().st_size
    return [] if size < LARGEST_FILE else [f"{path.name} has {size:,} bytes"]


def harmless(page: Page) -> list[str]:
    """Finds elements that no page of numbers has, as a name that was not escaped would make them."""
    return [f"not of the page: {element}" for element in ask(page, "foreign()")]


Text = dict[str, Any]


def narrow(page: Page, texts: list[Text], width: int) -> list[str]:
    """Finds what does not fit into a view: what is wide may scroll within its own box alone."""
    whole = ask(page, "width()")
    wrong = [f"the page is {whole} px wide, the view {width}"] if whole > width else []
    return wrong + [
        f"{text['text']!r} ends at {text['right']:.0f} px, the view at {width}"
        for text in texts
        if text["right"] > width + 0.5 and not text["scrolls"]
    ]


def legible(texts: list[Text]) -> list[str]:
    """Finds letters that are too small, and such of too little contrast."""
    wrong = []
    for text in texts:
        least = CHART_TEXT if text["chart"] else TEXT
        if text["size"] < least - 0.05:
            wrong.append(f"{text['text']!r} is {text['size']:.1f} px high, {least:g} are needed")
        if text["contrast"] < CONTRAST - 0.005:
            wrong.append(f"{text['text']!r} has a contrast of {text['contrast']:.2f}")
    return wrong


def drawn(page: Page, *, fewest: int = 2) -> list[str]:
    """Finds charts without marks, with marks outside their box, and with broken coordinates."""
    wrong = []
    for number, chart in enumerate(ask(page, "charts()"), 1):
        name = f"chart {number} ({chart['name'][:60]})"
        left, top, right, bottom = chart["box"]
        outside = [
            mark
            for mark in chart["marks"]
            if mark[0] < left - 1
            or mark[1] < top - 1
            or mark[2] > right + 1
            or mark[3] > bottom + 1
        ]
        if right - left < 10 or bottom - top < 10:
            wrong.append(f"{name} is {right - left:.0f} x {bottom - top:.0f} px")
        if len(chart["marks"]) < fewest:
            wrong.append(f"{name} has {len(chart['marks'])} marks")
        if outside:
            wrong.append(f"{name} has {len(outside)} marks outside its box, one at {outside[0]}")
        wrong += [f"{name}: {element}" for element in chart["broken"]]
        wrong += [f"{name}: {a!r} is written over {b!r}" for a, b in chart["collisions"]]
        if not chart["name"]:
            wrong.append(f"{name} has no title")
    return wrong


def number(text: str) -> float | None:
    """Returns the number that a cell begins with; None where it does not begin with one."""
    found = _NUMBER.match(text)
    return float(found[0].replace(",", "").replace("\u2212", "-")) if found else None


def gap(text: str) -> bool:
    """Returns True for a cell that says nothing, or a dash and why."""
    return _GAP.fullmatch(text) is not None


def numeric(cells: list[str]) -> bool:
    """Returns True for a column of numbers and gaps."""
    return any(number(c) is not None for c in cells) and all(
        gap(c) or number(c) is not None for c in cells
    )


def sortable(page: Page) -> list[str]:
    """Sorts by every column of numbers, up and down, and finds rows that stand wrong.

    The first such column of a table is sorted with the mouse and with the keyboard as well.
    """
    wrong: list[str] = []
    for index, table in enumerate(ask(page, "tables()")):
        columns = [column for column, head in enumerate(table["heads"]) if head["button"]]
        if not columns and max(map(len, table["bodies"]), default=0) > 1:
            wrong.append(f"{table['name']}: no button to sort by")
        by_hand = True
        for column in columns:
            if not all(numeric([row[column] for row in body]) for body in table["bodies"]):
                continue
            wrong += _sorts(page, index, column, by_hand=by_hand)
            by_hand = False
    return wrong


def _sorts(page: Page, index: int, column: int, *, by_hand: bool) -> list[str]:
    button = f"{_SCRIPT}.button({index}, {column})"
    before = ask(page, f"table({index})")
    name = f"{before['name'][:60]}, {before['heads'][column]['text']}"
    ways = [lambda: page.evaluate(f"{button}.click()")] * 2
    if by_hand:
        ways = [
            lambda: page.click(button),
            *(lambda key=key: _typed(page, button, key) for key in _KEYS),
        ]
    wrong, seen = [], []
    for press in ways:
        press()
        table = ask(page, f"table({index})")
        order = table["heads"][column]["sort"]
        seen.append(order)
        if order not in ("ascending", "descending"):
            wrong.append(f"{name}: aria-sort is {order!r} after sorting")
            continue
        others = [h["sort"] for c, h in enumerate(table["heads"]) if c != column]
        if any(other not in (None, "none") for other in others):
            wrong.append(f"{name}: another column still says that the table is sorted by it")
        for old, new in zip(before["bodies"], table["bodies"], strict=True):
            wrong += _wrong_order(name, old, new, column, falling=order == "descending")
    if any(a == b for a, b in zip(seen, seen[1:], strict=False)):
        wrong.append(f"{name}: sorted twice, the direction stays: {seen}")
    return wrong


_KEYS = ("Enter", "Space")


def _typed(page: Page, button: str, key: str) -> None:
    page.evaluate(f"{button}.focus()")
    page.press(key)


def _wrong_order(
    name: str, old: list[list[str]], new: list[list[str]], column: int, *, falling: bool
) -> list[str]:
    wrong = []
    if sorted(old) != sorted(new):
        wrong.append(f"{name}: sorting changed the rows")
    values = [number(row[column]) for row in new]
    known = [value for value in values if value is not None]
    if known != sorted(known, reverse=falling):
        wrong.append(f"{name}: {known} is not in {'falling' if falling else 'rising'} order")
    if values[: len(known)] != known:
        wrong.append(f"{name}: gaps are not last: {[row[column] for row in new]}")
    return wrong


def words_differ(page: Page) -> bool:
    """Returns True if some sortable column would stand otherwise were its numbers sorted as words."""
    for table in ask(page, "tables()"):
        for body in table["bodies"]:
            for column, head in enumerate(table["heads"]):
                cells = [row[column] for row in body if not gap(row[column])]
                if (
                    head["button"]
                    and numeric(cells)
                    and sorted(cells) != sorted(cells, key=lambda c: number(c) or 0.0)
                ):
                    return True
    return False
