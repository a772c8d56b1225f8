"""Formats benchmark results as a table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

MEBI = 2**20


def summary(
    name: str,
    what: str,
    batch: int,
    seconds: Mapping[str, Sequence[float]],
    first: Mapping[str, float],
    peaks: Mapping[str, int],
) -> dict[str, Any]:
    """One row: medians, and the ratio of the fastest PyTorch form's to ours.

    Args:
        name: of the case.
        what: pass of it.
        batch: images a call.
        seconds: of each call, by side; ours is ``jax``, all others are forms of PyTorch.
        first: seconds of the first call, compilation and all, by side.
        peaks: bytes that the process had held at most by the end of this pass, by side.

    Returns:
        ``ms`` an image by side, ``fastest`` form and ``ratio`` (above 1 where ours is faster),
        number of ``calls``, ``first_s`` and ``peak_mib`` by side.
    """
    medians = {side: 1e3 * statistics.median(times) / batch for side, times in seconds.items()}
    forms = {side: ms for side, ms in medians.items() if side != "jax"}
    row: dict[str, Any] = {"case": name, "pass": what, "ms": medians, "calls": {}}
    row["calls"] = {side: len(times) for side, times in seconds.items()}
    row["first_s"], row["peak_mib"] = dict(first), {s: peak // MEBI for s, peak in peaks.items()}
    if forms and "jax" in medians:
        row["fastest"] = min(forms, key=forms.__getitem__)
        row["ratio"] = forms[row["fastest"]] / medians["jax"]
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of ``summary`` as a Markdown table."""
    sides = list(dict.fromkeys(side for row in rows for side in row["ms"]))
    names = ["ours" if side == "jax" else side.replace("_", " ") for side in sides]
    heads = ["network", "pass", *(f"{name}, ms" for name in names), "ratio"]
    heads += [f"{name}, first s" for name in names] + [f"{name}, MiB" for name in names]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row["case"], row["pass"], *(_cell(row["ms"], side, ".2f") for side in sides)]
        cells.append(f"{row['ratio']:.2f}" if "ratio" in row else "")
        cells += [_cell(row["first_s"], side, ".1f") for side in sides]
        cells += [_cell(row["peak_mib"], side, "d") for side in sides]
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(values: Mapping[str, Any], side: str, spec: str) -> str:
    return format(values[side], spec) if side in values else ""
