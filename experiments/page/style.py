"""Style and script of a page: constants whose hashes stand in the page's content security policy."""

import base64
import hashlib
import zlib

#: Colors that color-blind people tell apart (Okabe & Ito, 2008), by training, the same all over a page.
COLORS = {
    "baseline": "#8c8c8c",
    "pi1": "#56b4e9",
    "pi2": "#e69f00",
    "pi3": "#56b4e9",
    "ap": "#cc79a7",
    "lp": "#882255",
    "df": "#d9c82a",
    "piap": "#0072b2",
    "longer": "#44aa99",
    "piapdf": "#d55e00",
    "disfa": "#009e73",
    "identity": "#009e73",
}
_OTHERS = ("#009e73", "#e69f00", "#56b4e9", "#cc79a7")


def color(training: str) -> str:
    """Returns the color of a training; one from outside has always the same."""
    return COLORS.get(training) or _OTHERS[zlib.crc32(training.encode()) % len(_OTHERS)]


CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --soft: #5b6067; --line: #dfe1e4;
  --band: #f5f6f7; --bad: #b3261e; --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e4e6e9; --soft: #a3a9b1;
  --line: #353a40; --band: #1e2124; --bad: #ff8a80; --link: #8ec1f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1rem 5rem; max-width: 1300px; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 3.5rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.9rem 0 .4rem; }
p, li, figcaption { max-width: 76ch; }
.lead, figcaption, caption, .notes { color: var(--soft); font-size: .875rem; line-height: 1.45; }
figcaption { margin: .1rem 0 .8rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; font-size: .9rem; }
.notes { padding-left: 1.1rem; margin: .5rem 0; }
.bad, .note { color: var(--bad); } .bad { font-weight: 600; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .5rem; caption-side: top; }
th, td { padding: .38rem .5rem; text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: min(10.5rem, 40vw);
  max-width: 22rem; overflow-wrap: break-word; }
tbody th { font-weight: 500; }
tbody th:first-child, thead th:first-child { position: sticky; left: 0; background: var(--paper); }
tbody tr.ours > th { background: var(--band); }
table.text td, table.text th + th { text-align: left; white-space: normal; max-width: 26rem; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; font-weight: 600; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody tr.ours > * { background: var(--band); }
tbody tr.differs > * { background: var(--band); font-weight: 600; }
tr.floor, tr.other { color: var(--soft); }
td small, th small { display: block; color: var(--soft); font-size: .75rem; line-height: 1.35; font-weight: 400; }
sup { font-size: 12px; line-height: 0; padding-left: 1px; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: .1rem .15rem; cursor: pointer;
  text-align: inherit; }
th button::after { content: "\\2195"; color: var(--soft); padding-left: .25em; font-weight: 400; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: inherit; }
th[aria-sort=descending] button::after { content: "\\2193"; color: inherit; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
figure { margin: 1rem 0 2rem; }
.grid { display: grid; gap: 1.1rem 1.3rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 268px), 1fr)); }
.grid > * { min-width: 0; }
svg { display: block; width: 100%; max-width: 380px; height: auto; overflow: hidden; }
svg.key { width: 22px; height: 12px; display: inline-block; vertical-align: -2px; margin-right: .35rem; }
svg.wide { max-width: 720px; min-width: 640px; }
svg text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft); }
svg text.name { fill: var(--ink); font-size: 12px; font-weight: 600; }
svg text.on { fill: var(--ink); }
.axis { stroke: var(--soft); fill: none; } .rule { stroke: var(--line); fill: none; }
.interval { stroke: var(--ink); stroke-width: 1.4; fill: none; }
.mean { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 4 3; fill: none; }
.dot { fill: var(--ink); fill-opacity: .42; }
.dots { stroke: var(--ink); stroke-opacity: .42; stroke-width: 2.6; stroke-linecap: round; fill: none; }
.rings { stroke-width: 5; stroke-opacity: .6; stroke-linecap: round; fill: none; }
.curve { fill: none; stroke-width: 1.1; stroke-opacity: .55; }
.curve.strong { stroke-width: 2.2; stroke-opacity: 1; }
.ghost { fill: none; stroke-width: 1.5; stroke-dasharray: 3 2; }
ul.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; font-size: .875rem; }
img { max-width: 100%; height: auto; display: block; background: #fff; }
details { margin: .8rem 0; } summary { cursor: pointer; }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; }
"""

#: Sorts a table by a column: numbers by value, else text; what is missing comes last either way.
SCRIPT = """
"use strict";
(() => {
  const figure = /^[-+\\u2212]?\\d[\\d,]*(\\.\\d+)?(e[-+]?\\d+)?/i, missing = /^([-\\u2013\\u2014](?![\\d.])[^]*)?$/;
  const value = cell => {
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = cell.textContent.trim(), found = figure.exec(text);
    if (missing.test(text)) return null;
    return found ? Number(found[0].replace(/,/g, "").replace("\\u2212", "-")) : text;
  };
  const order = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
  };
  const sort = th => {
    const table = th.closest("table"), up = th.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].map(row => [value(row.cells[th.cellIndex]), row]);
      const mixed = rows.some(pair => typeof pair[0] === "string");
      for (const pair of mixed ? rows : []) {
        if (pair[0] !== null) pair[0] = pair[1].cells[th.cellIndex].textContent.trim();
      }
      rows.sort((a, b) => order(a[0], b[0], up ? 1 : -1));
      body.append(...rows.map(pair => pair[1]));
    }
  };
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
})();
"""


def policy() -> str:
    """Returns the content security policy: a page loads nothing and runs this style and script alone."""
    style, script = (f"'sha256-{_digest(text)}'" for text in (CSS, SCRIPT))
    return (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script};"
        " base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
