"""Formats the results of ``experiments.judge`` as Markdown."""

from typing import Any

from experiments import markdown


def report(found: dict[str, Any]) -> str:
    """Returns the numbers as Markdown.

    Args:
        found: what ``judge`` returned.
    """
    lines, names = [], [f"{m['title']} {m['digest'][:8]}" for m in found["models"]]
    for kind, word in (("tree", "frames"), ("pairs", "pictures")):
        if kind not in found:
            continue
        facts = found[kind]
        lost = facts["pictures"] - facts["faces"]
        lines += [
            f"**{_TITLES[kind]}**, {found['half']} of two halves" if found["half"] != "all" else
            f"**{_TITLES[kind]}**",
            f"{facts['faces']} {word} of {len(facts['people'])} people; finder {found['finder']}, no face in {lost}",
            "", _table(kind, found["models"], names), "",
        ]  # fmt: skip
        for name, model in zip(names, found["models"], strict=True):
            if absent := model[kind].get("without_labels"):
                lines.append(f"{name}: no labels here of {', '.join(f'AU{au}' for au in absent)}")
            if weak := [unit for unit in _weak(model) if unit in model[kind]["units"]]:
                lines.append(f"{name}: its model.json names as weak {', '.join(weak)}")
    return "\n".join(lines).rstrip()


_TITLES = {
    "tree": "ROC AUC (95 % over people)",
    "pairs": "Pairs that go up with a smile (95 % over people), ROC AUC",
}


def _table(kind: str, models: list[dict[str, Any]], names: list[str]) -> str:
    units = list(dict.fromkeys(name for model in models for name in model[kind]["units"]))
    units.sort(key=lambda name: int(name[2:]))
    rows = []
    for name in units:
        cells = [
            _cell(kind, model[kind]["units"].get(name), name in _weak(model)) for model in models
        ]
        shown = [m[kind]["units"][name] for m in models if name in m[kind]["units"]]
        rows.append((name, *cells, *([str(shown[0]["frames"])] if kind == "tree" else [])))
    if kind == "tree":
        rows.append(("mean", *(_cell(kind, model[kind]["mean"]) for model in models), ""))
    header = ("unit", *names, *(["frames that show it"] if kind == "tree" else []))
    return "\n".join([*markdown.heading(header), *map(markdown.line, rows)])


def _weak(model: dict[str, Any]) -> list[str]:
    """Names of the units that a model was said not to tell well, wherever that was."""
    # A file of a release that did not ask has no such key.
    return [f"AU{au}" for au in model.get("weak_units") or ()]


def _cell(kind: str, numbers: dict[str, Any] | None, weak: bool = False) -> str:
    if numbers is None:
        return ""
    low, high = numbers["low"], numbers["high"]
    between = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    mark = " (weak)" if weak else ""
    if kind == "tree":
        return f"{numbers['auc']:.2f}{between}{mark}"
    return (
        f"{100 * numbers['up']:.0f} %"
        + ("" if low is None else f" [{100 * low:.0f}, {100 * high:.0f}]")
        + f", {numbers['auc']:.2f}{mark}"
    )


def aucs(found: dict[str, Any], digest: str) -> dict[str, float | None]:
    """Returns ROC AUC by unit, ``{"AU1": 0.8}``, of the model of a digest.

    Args:
        found: what ``experiments.judge --out`` wrote.
        digest: of the export.

    Raises:
        KeyError: where it says nothing of that model on a tree.
    """
    judged = {model["digest"]: model for model in found["models"]}
    return {name: numbers["auc"] for name, numbers in judged[digest]["tree"]["units"].items()}
