"""Times a step of discrete feedback by the way its feedback is taken, beside PyTorch.

python -m benchmarks.feedback                                  B1 at 128 px, 8 labeled and 8 unlabeled images
python -m benchmarks.feedback --model=tiny --side=96 --batch=32
"""

import contextlib
import json
import statistics
import sys
from typing import Any

from absl import app, flags

from benchmarks.cases import Case
from benchmarks.worker import Worker
from piapdf_jax import command_line, paths

#: Our ways, ``supervised`` being one step on the labeled images alone.
WAYS = ("supervised", "grad", "jvp", "vjp", "difference", "exact", "whole", "targets")
FORMS = ("contiguous", "channels_last")
MEBI = 2**20

_MODEL = flags.DEFINE_string("model", "b1", "a preset of models/presets.py")
_SIDE = flags.DEFINE_integer("side", 128, "of the images, px", lower_bound=32)
_BATCH = flags.DEFINE_integer("batch", 8, "labeled images, and as many unlabeled", lower_bound=1)
_WAYS = flags.DEFINE_list(
    "ways", [*WAYS, *FORMS], "which; contiguous and channels_last are PyTorch"
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "blocks of each way", lower_bound=1)
_BLOCK = flags.DEFINE_float("block_s", 1.0, "seconds of a block, at least one step", lower_bound=0)
_JSON = flags.DEFINE_string("json", "", "file for the numbers")


def case_of(way: str, model: str, side: int, batch: int) -> Case:
    """What a way runs."""
    if way == "supervised":
        return Case("b1", side, batch, model)
    return Case("targets" if way == "targets" else "feedback", side, batch, model, way=way)


def measure(cases: dict[str, Case], rounds: int, block: float) -> dict[str, dict[str, Any]]:
    """Times all ways by turns, each in a process of its own.

    Args:
        cases: by way.
        rounds: blocks of each; every other round takes them in reverse.
        block: seconds of one.

    Returns:
        By way: ``first_s``, ``ms`` (median) a step, ``steps`` timed and ``peak_mib``.
    """
    with contextlib.ExitStack() as stack:
        workers, first = {}, {}
        for way, case in cases.items():
            workers[way] = stack.enter_context(Worker(way if way in FORMS else "jax"))
            workers[way].make(case)
            first[way] = workers[way].run("train", 0.0)[0]
            print(f"{way}: first step {first[way]:.1f} s", file=sys.stderr, flush=True)
            workers[way].run("train", 0.0)
        seconds: dict[str, list[float]] = {way: [] for way in cases}
        for turn in range(rounds):
            for way in list(cases)[:: -1 if turn % 2 else 1]:
                seconds[way] += workers[way].run("train", block)
        return {
            way: {
                "first_s": first[way],
                "ms": 1e3 * statistics.median(seconds[way]),
                "steps": len(seconds[way]),
                "peak_mib": workers[way].ask(do="peak") // MEBI,
            }
            for way in cases
        }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows of ``measure`` as a Markdown table, in supervised steps where there is one."""
    base = rows.get("supervised", {}).get("ms")
    lines = ["| way | ms a step | supervised steps | first step, s | peak memory, MiB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for way, row in rows.items():
        name = f"PyTorch, {way.replace('_', ' ')}" if way in FORMS else way
        ratio = f"{row['ms'] / base:.2f}" if base else ""
        cells = f"{row['ms']:.0f} | {ratio} | {row['first_s']:.1f} | {row['peak_mib']}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    unknown = [way for way in _WAYS.value if way not in (*WAYS, *FORMS)]
    if unknown:
        known = ", ".join((*WAYS, *FORMS))
        raise app.UsageError(f"unknown way {unknown[0]!r}; there are {known}")
    path = paths.target_file(_JSON.value, "--json") if _JSON.value else None
    size = _MODEL.value, _SIDE.value, _BATCH.value
    rows = measure({way: case_of(way, *size) for way in _WAYS.value}, _ROUNDS.value, _BLOCK.value)
    print("{}, {} px, {} labeled and as many unlabeled images\n".format(*size))
    print(table(rows))
    if path:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
