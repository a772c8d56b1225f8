"""Groups and tables small enough to reckon by hand, and a reader of pages that trusts nothing."""

import html.parser
import pathlib

import numpy as np

from experiments.frame_table import FrameTable
from experiments.report_types import Cell, Group, Row, Run, Table

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]></svg><b>",
    "</script><script>alert(2)</script>",
    "' onload='alert(3)",
    "<!-- &lt;i&gt; -->",
)
VOID = {"meta", "img", "br"}


def frames(subject, coded, probs, *, training="piap", fold=1, seed=0, aus=(1, 2), **other):
    count = len(subject)
    coded, probs = np.array(coded, np.int8), np.array(probs, np.float32)
    return FrameTable(
        training=training,
        digest="0123456789abcdef",
        fold=fold,
        seed=seed,
        dataset=other.pop("dataset", "bp4d"),
        data="d",
        aus=aus,
        subject=np.array(subject),
        task=np.array([""] * count),
        frame=np.arange(count),
        coded=coded,
        probs=probs,
        base_rates=np.full(len(aus), 0.5),
        cuts=np.full(len(aus), 0.5),
        **other,
    )


def group(*tables, title="made", folder="/nowhere/made", notes=(), stand_ins=None, config=None):
    """A group whose runs have one table each."""
    runs = tuple(
        Run(
            folder=pathlib.Path(folder) / f"fold{t.fold}_seed{t.seed}",
            fold=t.fold,
            seed=t.seed,
            config={"fold": t.fold, "seed": t.seed},
            results={"trainings": {t.training: {"digest": t.digest, "report": {"seconds": 2.5}}}},
            versions={"jax": "0.10.2"},
            frames={t.training: t},
        )
        for t in tables
    )
    return Group(
        title=title,
        config=config or {"data": {"dataset": "bp4d"}},
        runs=runs,
        folds=tuple(sorted({t.fold for t in tables})),
        seeds=tuple(sorted({t.seed for t in tables})),
        missing_folds=(),
        notes=tuple(notes),
        stand_ins=stand_ins or {},
    )


def table(*rows, name="table3", columns=("1", "2", "mean"), notes=(), title="Parts: F1 (%)"):
    return Table(name, title, columns, tuple(rows), tuple(notes))


def row(title, *values, kind="ours", note=""):
    cells = (value if isinstance(value, Cell) else Cell(value) for value in values)
    return Row(title, kind, tuple(cells), note)


class Element:
    def __init__(self, name, attributes, parent):
        self.name, self.attributes, self.parent = name, attributes, parent
        self.children, self.own = [], []

    def all(self, name=None):
        """Elements below this one, of a name."""
        for child in self.children:
            if name in (None, child.name):
                yield child
            yield from child.all(name)

    @property
    def text(self):
        return "".join(p if isinstance(p, str) else p.text for p in self.own)

    @property
    def classes(self):
        return (self.attributes.get("class") or "").split()


class Reader(html.parser.HTMLParser):
    """Reads a page to a tree; a tag that is not closed, or closed wrongly, is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.root = self.place = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.place is self.root, f"<{self.place.name}> is not closed"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        element = Element(tag, dict(attrs), self.place)
        self.place.children.append(element)
        self.place.own.append(element)
        if tag not in VOID:
            self.place = element

    def handle_endtag(self, tag):
        assert self.place.name == tag, f"</{tag}> closes <{self.place.name}>"
        self.place = self.place.parent

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(f"<{tag}/>: HTML has no such tags")

    def handle_data(self, data):
        self.place.own.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def read(text):
    return Reader(text).root


def by_id(root, name):
    found = [element for element in root.all() if element.attributes.get("id") == name]
    assert len(found) == 1, f"{len(found)} elements have the id {name}"
    return found[0]
