"""Breaks down a JAX training step by operation, from JAX's profiler trace."""

import collections
import pathlib
import re
import tempfile
from typing import Any

import jax

#: Instructions that contain others, which the trace has too.
_CONTAINERS = ("while", "call", "conditional")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%(\S+) = .*? ([a-z][\w-]*)\(")
_NAME = re.compile(r"op_name=\"([^\"]*)\"")
#: Blocks and levels of a network count together.
_NUMBERED = re.compile(r"^(block|down|up|lift)\d+(_\d+)?$")


def label(op_name: str) -> str:
    """What an instruction belongs to: direction and layer, such as ``backward depthwise``.

    Args:
        op_name: as the compiled program has it, ``jit(train_step)/transpose(jvp(Net))/up0/norm/mul``.

    Returns:
        The layer is the first module below the numbered blocks; outside of the networks it is the
        function's own name.
    """
    path = op_name.split(";")[0].split("/")[1:]
    passes = [part for part in path if "jvp(" in part or part == "checkpoint"]
    direction = "step"
    if passes:
        direction = "backward" if any("transpose(" in part for part in path) else "forward"
    inside = [
        part for part in path[:-1] if re.fullmatch(r"\w+", part) and not _NUMBERED.fullmatch(part)
    ]
    return f"{direction} {inside[0] if inside else path[-1] if path else 'other'}"


def instructions(text: str) -> dict[str, str]:
    """Label of each instruction of a compiled program that contains no others, by its name."""
    found = {}
    for line in text.splitlines():
        match = _INSTRUCTION.match(line)
        if match and match[2] not in _CONTAINERS:
            name = _NAME.search(line)
            found[match[1]] = label(name[1]) if name else f"step {match[2]}"
    return found


def traced(folder: str) -> dict[str, float]:
    """Seconds of each instruction in the trace of a folder, over all threads."""
    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    seconds: dict[str, float] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in dict(event.stats):
                    seconds[event.name] += event.duration_ns / 1e9
    return seconds


def profile(side: Any, *, steps: int = 3, rows: int = 25) -> list[str]:
    """Times a training step by operation.

    Args:
        side: a ``JaxSide``; its state is used up.
        steps: traced.
        rows: of the table, the largest first.

    Returns:
        Lines of a Markdown table: ms a step, summed over threads, share, and number of instructions.
    """
    step = type(side.stage).train_step
    lowered = step.lower(side.stage, side.state, side.frozen, side.batch, side.key)
    run, state = lowered.compile(), side.state
    state, _ = run(state, side.frozen, side.batch, side.key)
    jax.block_until_ready(state)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                state, _ = run(state, side.frozen, side.batch, side.key)
                jax.block_until_ready(state)
        seconds = traced(folder)
    labels = instructions(run.as_text())
    totals: dict[str, float] = collections.Counter()
    counts: dict[str, int] = collections.Counter()
    for name in seconds.keys() & labels.keys():
        totals[labels[name]] += seconds[name] / steps
        counts[labels[name]] += 1
    whole = sum(totals.values())
    lines = ["| operation | ms a step | share | instructions |", "| --- | --- | --- | --- |"]
    for name, time in sorted(totals.items(), key=lambda item: -item[1])[:rows]:
        lines.append(f"| {name} | {1e3 * time:.1f} | {time / whole:.1%} | {counts[name]} |")
    return [*lines, f"| all | {1e3 * whole:.1f} | | {sum(counts.values())} |"]
