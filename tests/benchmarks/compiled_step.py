"""The real step of discrete feedback, compiled over all devices and not run, beside the prediction of it.

PYTHONPATH=. JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 python tests/benchmarks/compiled_step.py nano 32 grad steps.json

prints a table of docs/scaling.md; the estimator may be another one. Where a file is named, it gets the numbers, and the
step is compiled as one function too.
"""

import json
import math
import pathlib
import re
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.scaling import AUS, WEIGHTS, Prediction, table
from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.models.presets import MODELS
from piapdf_jax.runtime.mesh import DATA_AXIS, data_mesh, replicated
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions

#: Labeled images a device; operations are proportional to them.
IMAGES = 2
KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
    *("collective-permute", "collective-broadcast", "ragged-all-to-all"),
)
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """An instruction that moves data between devices, with the bytes of its whole result on one of them."""

    kind: str
    bytes: int


def collectives(text: str) -> list[Collective]:
    """Every collective of a compiled program in the order of its text; what only waits for one does not count."""
    matches = map(_COLLECTIVE.match, text.splitlines())
    return [Collective(match[2], array_bytes(match[1])) for match in matches if match]


def array_bytes(shape: str) -> int:
    """Bytes of a shape as HLO writes it, such as ``(f32[8,3]{1,0}, pred[])``."""
    return sum(
        math.prod(map(int, filter(None, sides.split(",")))) * _bits(dtype) // 8
        for dtype, sides in _ARRAY.findall(shape)
    )


def _bits(dtype):
    """The first number in a name is that of bits; ``pred`` has a byte."""
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 8


def compile_step(step: Prediction, *, in_parts: bool = True, estimator: str = "grad") -> list[dict]:
    """Compiles ``FeedbackStage.train_step`` over all devices, call by call.

    The step is traced, and each jitted function that it calls is compiled for the shapes and shardings that the ones
    before left, as the first step of a training would.

    Returns:
        One entry a call: operations on all devices together before optimization (``lowered``), those of one device
        as compiled (``flops``), its collectives, and how many outputs are split over the devices.
    """
    mesh = data_mesh()
    whole, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    stage, (state, frozen) = stage_of(step, in_parts, estimator)
    batch = batch_of(step, IMAGES * mesh.size)
    args = (*on((state, frozen), whole), on(batch, split), on(jax.random.key(0), whole))
    traced = jax.make_jaxpr(stage.train_step)(*args)
    known = dict(zip(traced.jaxpr.constvars, on(traced.consts, whole), strict=True))
    known |= dict(zip(traced.jaxpr.invars, jax.tree.leaves(args), strict=True))
    made, found = {}, []
    for equation in traced.jaxpr.eqns:
        # Literals have a value; they and what runs between the calls are scalars, whole on every device.
        inputs = [on(v.aval, whole) if hasattr(v, "val") else known[v] for v in equation.invars]
        shardings = [whole] * len(equation.outvars)
        if "jaxpr" in equation.params:
            key = (id(equation.params["jaxpr"]), tuple(x.sharding for x in inputs))
            if key not in made:
                made[key] = compile_call(equation.params["name"], equation.params["jaxpr"], inputs)
            shardings, row = made[key]
            found.append(row)
        known |= {v: on(v.aval, s) for v, s in zip(equation.outvars, shardings, strict=True)}
    return found


def compile_call(name, jaxpr, inputs):
    """Shardings of its outputs, and what XLA says of it."""
    lowered = jax.jit(jaxpr_as_fun(jaxpr)).lower(*inputs)
    compiled = lowered.compile()
    found, shardings = collectives(compiled.as_text()), compiled.output_shardings
    return shardings, {
        "name": name,
        "lowered": lowered.cost_analysis().get("flops", 0.0),
        "flops": compiled.cost_analysis().get("flops", 0.0),
        "bytes": sum(x.bytes for x in found),
        "collectives": len(found),
        "kinds": sorted({x.kind for x in found}),
        "split": sum(not sharding.is_fully_replicated for sharding in shardings),
    }


def on(tree, sharding):
    """Shapes with a sharding."""

    def shape(x):
        return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def batch_of(step, images):
    """Shapes of one global batch."""
    image = jax.ShapeDtypeStruct((images, step.side, step.side, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((images, AUS), jnp.float32)
    mask = jax.ShapeDtypeStruct((images,), jnp.float32)
    record_index = jax.ShapeDtypeStruct((images,), jnp.int32)
    batch = Batch(image, labels, None, mask, record_index)
    return FeedbackBatch(batch, batch)


def stage_of(step, in_parts, estimator):
    """The stage, and its start state with the frozen parts."""
    rates, parts = OptimizerConfig(steps=1000, learning_rate=1e-4), step.parts
    stage = FeedbackStage(
        *(step.model, rates, rates, WEIGHTS),
        num_aus=AUS,
        init_from="start",
        options=FeedbackOptions(estimator=estimator),
        compile="parts" if in_parts else "whole",
        image_size=step.side,
        num_maps=AUS,
    )
    inputs = {
        "pi2": {"generator": parts["generator"]},
        "identity": {"encoder": parts["encoder"]},
        "start": {name: parts[name] for name in ("encoder", "head", "decoder")},
    }
    return stage, stage.init(jax.random.key(0), inputs)


def xla_operations(function, *args):
    """What XLA counts of a function on one device, before optimization."""
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def predicted(step: Prediction, devices: int) -> dict:
    """What the step should be by phase; operations are XLA's of one pass alone, on the images of all devices."""
    phases = step.phases()
    functions = {p.count for p in phases if p.count}
    counted = {count: count(xla_operations, devices * IMAGES) for count in functions}
    rows = [
        {
            **{"name": p.name, "times": p.times, "bytes": p.reduced, "collectives": p.row},
            "lowered": counted.get(p.count, 0.0),
            "flops": counted.get(p.count, 0.0) / devices,
        }
        for p in phases
    ]
    facts = {"parameters": step.parameters, "channels": step.channels, "norms": step.norms}
    return {"devices": devices, **facts, "predicted": rows}


def comparison(told: dict) -> str:
    """Prediction and XLA side by side; operations in millions."""
    by_name = {row["name"]: row for row in told["predicted"]}
    rows = [
        compared(f"`{c['name']}`", [by_name[c["name"]]], [c])
        for c in told["phases"]
        if c["name"] in by_name
    ]
    every = [p for p in told["predicted"] for _ in range(p["times"])]
    rows.append(compared("all parts", every, told["phases"]))
    if told["whole"]:
        rows.append(compared("as one function", every, told["whole"]))
    head = ["compiled function", "before optimization, all devices: predicted", "XLA"]
    head += ["compiled, a device: predicted", "XLA", "bytes reduced: predicted", "XLA"]
    head += ["reductions: predicted", "XLA"]
    title = f"{told['devices']} devices, {IMAGES} labeled images each; operations in 10^6"
    return f"{title}\n\n{table(head, rows)}"


def compared(name, wanted, found):
    cells = [name]
    for key in ("lowered", "flops", "bytes", "collectives"):
        sums = [sum(row[key] for row in rows) for rows in (wanted, found)]
        rational = key in ("lowered", "flops")
        told = [f"{x / 1e6:,.2f}" if rational else f"{x:,}" for x in sums]
        # Work on parameters alone is not predicted.
        cells += [" " if rational and not sums[0] else told[0], told[1]]
    return cells


def main(model, side, estimator="grad", path=""):
    step = Prediction(MODELS[model], int(side))
    told = {**predicted(step, jax.device_count()), "whole": []}
    told["phases"] = compile_step(step, estimator=estimator)
    if path:
        told["whole"] = compile_step(step, in_parts=False, estimator=estimator)
        pathlib.Path(path).write_text(json.dumps(told))
    print(comparison(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
