"""The tables of docs/scaling.md: what one step of discrete feedback costs, on paper and beside XLA."""

import dataclasses
from typing import Any

import jax

from benchmarks.compiled_step import Compiled, compile_step
from benchmarks.machine import Machine, Step, predict
from benchmarks.step_cost import (
    FLOAT,
    PASSES,
    Network,
    Phase,
    Sizes,
    Total,
    kept_bytes,
    network,
    phases,
    total,
)
from piapdf_jax.models.flops import count_params

DEVICES = (8, 64, 512)
#: Action units, and as many maps.
AUS = 12
#: Labeled images a device of the step that is compiled for comparison; operations are proportional to them.
CHECKED_IMAGES = 2
#: Numbers of a machine that were measured; the rest is assumed.
MEASURED = ("jpeg_kb", "core_rate")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def assumed(machine: Machine) -> str:
    """Every number of the machine with where it comes from."""
    rows = [
        [name, f"{value:g}", "measured" if name in MEASURED else "assumed"]
        for name, value in dataclasses.asdict(machine).items()
    ]
    return table(["flag", "value", ""], rows)


def parts_table(found: list[Phase], parts: Network) -> str:
    """Operations and reductions of a step by its passes."""
    by_name = {phase.name: phase for phase in found}
    targets = by_name["_targets"]
    rows = [["PI generator and Encoder P on x_l and x_u", *_cells(targets, 2)]]
    rows += [[title, *_cells(by_name[phase], 1)] for title, phase in PASSES]
    rest = [by_name[name] for name in ("_open_gate", "_step_teacher")]
    reduced, number = sum(p.reduced for p in rest), sum(p.collectives for p in rest)
    rows.append(["gate and metrics", "0", f"{reduced:,}", str(number)])
    step = total(found)
    adds = step.work.an_image.multiply_adds
    rows.append(["the step", f"{adds:,.0f}", f"{step.reduced:,}", str(step.collectives)])
    head = ["part", "multiply-adds", "bytes reduced", "reductions in a row"]
    sizes = f"P = {parts.parameters:,} parameters, {parts.channels:,} channels in {parts.norms} BatchNorms"
    return f"{sizes}\n\n{table(head, rows)}"


def _cells(phase: Phase, times: int) -> list[str]:
    adds = times * phase.work.an_image.multiply_adds
    return [f"{adds:,.0f}", f"{times * phase.reduced:,}", str(times * phase.collectives)]


def held_table(sizes: Sizes, parts: Network, images: int) -> str:
    """Bytes on every device by what they are."""
    p, square = parts.parameters, sizes.image_size**2
    frozen = count_params(parts.frozen)
    maps = sizes.num_maps if sizes.weights.pi else 0
    rows = {
        "parameters of teacher and student": 2 * FLOAT * p,
        "running statistics of both": 4 * FLOAT * parts.channels,
        "two AdamW moments of both": 4 * FLOAT * p,
        "three gradients at a time": 3 * FLOAT * p,
        "frozen networks": FLOAT * frozen,
        f"{2 * images} images and their PI maps": 2 * images * FLOAT * square * (3 + maps),
        f"kept by one pass over {images} images, unfused": images * kept_bytes(sizes, parts),
    }
    return table(["what", "MB"], [[name, f"{size / 1e6:,.1f}"] for name, size in rows.items()])


def steps_of(machine: Machine, step: Total, images: int) -> list[tuple[str, Step]]:
    """Weak scaling at this many images a device and four times as many; strong scaling from the latter."""
    weak = [(n, b) for b in (images, 4 * images) for n in DEVICES]
    strong = [(n, 4 * images * DEVICES[0] // n) for n in DEVICES]
    strong = [(n, b) for n, b in strong if b]
    return [
        (name, predict(machine, step, n, b))
        for name, pairs in (("weak", weak), ("strong", strong))
        for n, b in pairs
    ]


def efficiency_table(steps: list[tuple[str, Step]]) -> str:
    """Milliseconds and efficiency by number of devices."""
    head = ["scaling", "devices", "labeled images a device", "arithmetic, ms", "bytes, ms"]
    head += ["latency, ms", "step, ms", "efficiency"]
    rows = []
    for name, s in steps:
        spans = [f"{1e3 * x:.1f}" for x in (s.compute, s.send, s.wait, s.seconds)]
        rows.append([name, str(s.devices), str(s.images), *spans, f"{s.efficiency:.0%}"])
    return table(head, rows)


def input_table(machine: Machine, sizes: Sizes, steps: list[tuple[str, Step]]) -> str:
    """What hosts must read for the weak steps."""
    head = ["devices", "labeled images a device", "images/s a host", "compressed MB/s a host"]
    head += ["compressed MB/s in all", "cores a host", "MB/s into a device"]
    rows = []
    for name, s in steps:
        if name != "weak":
            continue
        device = 2 * s.images / s.seconds
        host = device * min(s.devices, machine.devices_per_host)
        compressed = 1e-3 * host * machine.jpeg_kb
        rows.append(
            [
                *(str(s.devices), str(s.images), f"{host:,.0f}", f"{compressed:,.0f}"),
                f"{1e-3 * device * s.devices * machine.jpeg_kb:,.0f}",
                f"{host / machine.core_rate:.1f}",
                # Images go as bytes.
                f"{1e-6 * device * 3 * sizes.image_size**2:,.0f}",
            ]
        )
    return table(head, rows)


def report(machine: Machine, sizes: Sizes, images: int) -> list[str]:
    """All tables."""
    parts = network(sizes)
    found = phases(sizes, parts)
    steps = steps_of(machine, total(found), images)
    return [
        parts_table(found, parts),
        held_table(sizes, parts, images),
        assumed(machine),
        efficiency_table(steps),
        input_table(machine, sizes, steps),
    ]


def check(
    sizes: Sizes, images: int, *, estimator: str = "grad", whole: bool = True
) -> dict[str, Any]:
    """The prediction beside what XLA says of the step compiled over all devices.

    Args:
        sizes: of everything.
        images: labeled images a device.
        estimator: of the feedback; the prediction is always that of ``grad``.
        whole: compile it as one function too.

    Returns:
        ``predicted`` by phase, ``phases`` and ``whole`` by compiled function, ready for JSON.
    """
    compiled = compile_step(sizes, images, estimator=estimator)
    one = compile_step(sizes, images, in_parts=False, estimator=estimator) if whole else []
    return {
        **predicted(sizes, images, jax.device_count()),
        "phases": [_told(c) for c in compiled],
        "whole": [_told(c) for c in one],
    }


def predicted(sizes: Sizes, images: int, devices: int) -> dict[str, Any]:
    """The half of ``check`` that needs no compiler."""
    parts = network(sizes)
    rows = [
        {
            **{"name": p.name, "times": p.times, "bytes": p.reduced},
            "collectives": p.collectives,
            "lowered": p.work.of(devices * images).counted,
            "flops": p.work.of(images).counted,
        }
        for p in phases(sizes, parts)
    ]
    facts = {"parameters": parts.parameters, "channels": parts.channels, "norms": parts.norms}
    return {"devices": devices, "images": images, **facts, "predicted": rows}


def _told(c: Compiled) -> dict[str, Any]:
    return {
        **{"name": c.name, "lowered": c.lowered, "flops": c.flops, "split": c.split},
        "kinds": sorted({x.kind for x in c.collectives}),
        "collectives": len(c.collectives),
        "bytes": sum(x.bytes for x in c.collectives),
    }


def check_table(told: dict[str, Any]) -> str:
    """Prediction and XLA side by side; operations in millions."""
    by_name = {row["name"]: row for row in told["predicted"]}
    rows = [
        _compared(f"`{c['name']}`", [by_name[c["name"]]], [c])
        for c in told["phases"]
        if c["name"] in by_name
    ]
    every = [p for p in told["predicted"] for _ in range(p["times"])]
    rows.append(_compared("all parts", every, told["phases"]))
    if told["whole"]:
        rows.append(_compared("as one function", every, told["whole"]))
    head = ["compiled function", "before optimization, all devices: predicted", "XLA"]
    head += ["compiled, a device: predicted", "XLA", "bytes reduced: predicted", "XLA"]
    head += ["reductions: predicted", "XLA"]
    title = f"{told['devices']} devices, {told['images']} labeled images each; operations in 10^6"
    return f"{title}\n\n{table(head, rows)}"


def _compared(name: str, wanted: list[Any], found: list[Any]) -> list[str]:
    cells = [name]
    for key in ("lowered", "flops", "bytes", "collectives"):
        sums = [sum(row[key] for row in rows) for rows in (wanted, found)]
        rational = key in ("lowered", "flops")
        cells += [f"{x / 1e6:,.2f}" if rational else f"{x:,}" for x in sums]
    return cells
