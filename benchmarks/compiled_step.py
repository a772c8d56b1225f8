"""The real step of discrete feedback, compiled over a mesh and not run: what XLA says of each of its phases."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.collectives import Collective, collectives
from benchmarks.step_cost import Sizes
from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.models.piap import init_part
from piapdf_jax.runtime.mesh import DATA_AXIS, data_mesh, replicated
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions


class Compiled(NamedTuple):
    """One phase, as many times as the step runs it.

    Attributes:
        name: of the compiled function.
        lowered: operations on all devices together, before any optimization.
        flops: operations on one device, as compiled.
        collectives: of the compiled program.
        split: whether each output is split over the devices.
    """

    name: str
    lowered: float
    flops: float
    collectives: list[Collective]
    split: list[bool]


def compile_step(
    sizes: Sizes, images: int, *, in_parts: bool = True, estimator: str = "grad"
) -> list[Compiled]:
    """Compiles ``FeedbackStage.train_step`` over all devices, phase by phase in the order of its calls.

    The step is traced, and each jitted function that it calls is compiled for the shapes and shardings that the ones
    before left, as the first step of a training would.

    Args:
        sizes: of everything.
        images: labeled images a device, and as many unlabeled.
        in_parts: False for the step as one function.
        estimator: of the feedback.

    Returns:
        One entry a call.
    """
    mesh = data_mesh()
    stage, state, frozen = _stage(sizes, in_parts, estimator)
    whole, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    args = (
        _on(state, whole),
        _on(frozen, whole),
        _on(_batch(sizes, images * mesh.size), split),
        _on(jax.random.key(0), whole),
    )
    traced = jax.make_jaxpr(stage.train_step)(*args)
    known = dict(zip(traced.jaxpr.constvars, _on(traced.consts, whole), strict=True))
    known |= dict(zip(traced.jaxpr.invars, jax.tree.leaves(args), strict=True))
    return _compile_calls(traced.jaxpr.eqns, known, whole)


def _compile_calls(equations: Any, known: dict[Any, Any], whole: Any) -> list[Compiled]:
    """Compiles each jitted call; what runs between them are scalars, whole on every device."""
    made: dict[Any, Any] = {}
    found = []
    for equation in equations:
        inputs = [
            _on(v.aval, whole) if hasattr(v, "val") else known[v]  # literals have a value
            for v in equation.invars
        ]
        shardings = [whole] * len(equation.outvars)
        if "jaxpr" in equation.params:
            key = (id(equation.params["jaxpr"]), tuple(x.sharding for x in inputs))
            if key not in made:
                made[key] = _compile(equation.params["name"], equation.params["jaxpr"], inputs)
            shardings, phase = made[key]
            found.append(phase)
        for v, sharding in zip(equation.outvars, shardings, strict=True):
            known[v] = _on(v.aval, sharding)
    return found


def _compile(name: str, jaxpr: Any, inputs: list[Any]) -> tuple[list[Any], Compiled]:
    lowered = jax.jit(jaxpr_as_fun(jaxpr)).lower(*inputs)
    compiled = lowered.compile()
    text: Any = compiled.as_text()
    shardings: Any = compiled.output_shardings
    phase = Compiled(
        name,
        _flops(lowered.cost_analysis()),
        _flops(compiled.cost_analysis()),
        collectives(text),
        [not sharding.is_fully_replicated for sharding in shardings],
    )
    return shardings, phase


def _flops(analysis: Any) -> float:
    return analysis.get("flops", 0.0)


def _on(tree: Any, sharding: Any) -> Any:
    def shape(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def _batch(sizes: Sizes, images: int) -> FeedbackBatch:
    """Shapes of one global batch."""
    side, float32 = sizes.image_size, jnp.float32
    image, labels, mask = (
        _shape((images, *shape), float32) for shape in ((side, side, 3), (sizes.num_aus,), ())
    )
    row = _shape((images,), jnp.int32)
    batch = Batch(image, labels, None, mask, row)
    return FeedbackBatch(batch, batch)


def _stage(sizes: Sizes, in_parts: bool, estimator: str) -> tuple[FeedbackStage, Any, Any]:
    """The stage with its start state and frozen parts."""
    steps = OptimizerConfig(steps=1000, learning_rate=1e-4)
    model, key = sizes.model, jax.random.key(0)
    more: Any = {"image_size": sizes.image_size, "num_maps": sizes.num_maps}
    stage = FeedbackStage(
        *(model, steps, steps, sizes.weights),
        num_aus=sizes.num_aus,
        begin="start",
        options=FeedbackOptions(estimator=estimator),
        compile="parts" if in_parts else "whole",
        **more,
    )
    encoder, decoder = init_part(model, "encoder", key), init_part(model, "decoder", key, **more)
    start = {"encoder": encoder, "decoder": decoder}
    start["head"] = init_part(model, "head", key, num_aus=sizes.num_aus)
    inputs = {
        "pi2": {"generator": init_part(model, "generator", key, **more)},
        "identity": {"encoder": encoder},
        "start": start,
    }
    state, frozen = stage.init(key, inputs)
    return stage, state, frozen
