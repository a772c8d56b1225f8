"""One step of discrete feedback on paper: operations, bytes held and bytes sent, from sizes alone.

Nothing here looks at the step itself, only at one pass of its networks: that the step is made of these passes and no
others is what ``tests/benchmarks/test_scaling.py`` asks of XLA.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.arithmetic import Operations, operations
from piapdf_jax.batch import Targets
from piapdf_jax.losses import LossWeights, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.flops import count_params
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.targets import frozen_targets

#: Bytes of what is reduced and kept: float32 whatever the compute dtype.
FLOAT = 4
#: Forward and backward passes of a step, by the phase that runs them.
PASSES = (
    ("teacher on x_u", "_gradients"),
    ("student on x_u", "_gradients"),
    ("student after its step on x_l: the feedback", "_judge"),
    ("teacher on x_l", "_gradients"),
)
#: Statistics of a BatchNorm channel that a pass reduces besides the gradients of scale and offset: forward the mean
#: and the mean square; backward the mean's derivative. The variance's is the scale's gradient over again.
STATISTICS = 3
#: Sums of a loss: the known cells of L_AU and their number; L_PI; L_AP.
_SUMS = {"au": 2, "pi": 1, "ap": 1}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a step is made of.

    Attributes:
        model: sizes of the networks.
        image_size: S.
        num_aus: C.
        num_maps: K.
        weights: of the losses; parts of weight 0 are not there.
    """

    model: ModelConfig
    image_size: int
    num_aus: int
    num_maps: int
    weights: LossWeights = LossWeights(au=0.5, pi=0.45, ap=0.05)


class Work(NamedTuple):
    """Operations of ``b`` images on a device: ``fixed + b an_image``."""

    fixed: Operations
    an_image: Operations

    def of(self, images: float) -> Operations:
        """On so many images."""
        return self.fixed.plus(self.an_image.scaled(images))


class Phase(NamedTuple):
    """A piece of the step that is compiled by itself, and run ``times`` times.

    Attributes:
        name: of the compiled function.
        times: a step.
        work: on one device; its images are labeled or unlabeled ones.
        reduced: bytes that all devices sum.
        collectives: how many reductions wait for one another, so the least possible number.
    """

    name: str
    times: int
    work: Work
    reduced: int
    collectives: int


class Network(NamedTuple):
    """The trained network and the frozen ones, by shapes.

    Attributes:
        params: of encoder, head and decoder.
        stats: their running statistics.
        frozen: parts that only make targets.
    """

    params: Any
    stats: Any
    frozen: Any

    @property
    def parameters(self) -> int:
        """P."""
        return count_params(self.params)

    @property
    def channels(self) -> int:
        """Channels of all BatchNorms."""
        return count_params(self.stats) // 2

    @property
    def norms(self) -> int:
        """Number of BatchNorms."""
        return len(jax.tree.leaves(self.stats)) // 2


def network(sizes: Sizes) -> Network:
    """Shapes of all parts."""
    key, model, weights = jax.random.key(0), sizes.model, sizes.weights
    more: Any = {"image_size": sizes.image_size, "num_maps": sizes.num_maps}
    trained, frozen = {"encoder": init_part(model, "encoder", key)}, {}
    trained["head"] = init_part(model, "head", key, num_aus=sizes.num_aus)
    if weights.pi:
        trained["decoder"] = init_part(model, "decoder", key, **more)
        frozen["generator"] = init_part(model, "generator", key, **more)
    if weights.ap:
        frozen["identity"] = trained["encoder"]
    params, stats = ({name: part[i] for name, part in trained.items()} for i in (0, 1))
    return Network(*(jax.tree.map(_shape, tree) for tree in (params, stats, frozen)))


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _images(sizes: Sizes, batch: int) -> tuple[Any, Any]:
    side = sizes.image_size
    return (
        jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32),
        jax.ShapeDtypeStruct((batch, sizes.num_aus), jnp.float32),
    )


def _loss(sizes: Sizes) -> Any:
    """L_PIAP of a training pass by its parameters."""

    def loss(params: Any, stats: Any, images: Any, targets: Targets) -> jax.Array:
        parts = {name: (params[name], stats[name]) for name in params}
        said, _ = network_apply(sizes.model, parts, images, mode="train", key=jax.random.key(0))
        return piap_loss(said, targets, sizes.weights)[0]

    return loss


def _targets(sizes: Sizes) -> Any:
    def targets(frozen: Any, images: Any, labels: Any) -> Targets:
        return frozen_targets(sizes.model, frozen, images, labels)

    return targets


def _work(count: Any) -> Work:
    """From the operations of one and of two images."""
    one, two = count(1), count(2)
    an_image = two.plus(one.scaled(-1))
    return Work(one.plus(an_image.scaled(-1)), an_image)


def pass_work(sizes: Sizes, parts: Network) -> Work:
    """Forward and backward pass of the trained network under L_PIAP."""

    def count(batch: int) -> Operations:
        images, labels = _images(sizes, batch)
        targets = jax.eval_shape(_targets(sizes), parts.frozen, images, labels)
        gradient = jax.value_and_grad(_loss(sizes))
        return operations(gradient, parts.params, parts.stats, images, targets)

    return _work(count)


def targets_work(sizes: Sizes, parts: Network) -> Work:
    """Forward pass of the frozen networks."""
    return _work(
        lambda batch: operations(_targets(sizes), parts.frozen, *_images(sizes, batch)),
    )


def kept_bytes(sizes: Sizes, parts: Network) -> int:
    """What a forward pass keeps of an image for its backward pass, before XLA fuses anything."""

    def kept(batch: int) -> int:
        images, labels = _images(sizes, batch)
        targets = jax.eval_shape(_targets(sizes), parts.frozen, images, labels)
        back = jax.eval_shape(
            lambda params, *rest: jax.vjp(lambda p: _loss(sizes)(p, *rest), params)[1],
            *(parts.params, parts.stats, images, targets),
        )
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(back))

    return kept(2) - kept(1)


def optimizer_values(parts: Network) -> float:
    """Operations of one AdamW step a parameter."""
    optimizer = OptimizerConfig(steps=1000, learning_rate=1e-4).build()
    state = jax.eval_shape(optimizer.init, parts.params)
    return operations(optimizer.update, parts.params, state, parts.params).values / parts.parameters


def phases(sizes: Sizes, parts: Network) -> list[Phase]:
    """What the step is made of, by compiled function."""
    one_pass, targets = pass_work(sizes, parts), targets_work(sizes, parts)
    nothing = Operations(0, 0, 0, 0)
    p = parts.parameters
    sums = sum(n for name, n in _SUMS.items() if getattr(sizes.weights, name))
    reduced = FLOAT * (p + STATISTICS * parts.channels + sums)
    trained = reduced + FLOAT  # whether logits are finite
    # Both learners: finite or not (2), add the update (1), keep the old of three trees (3).
    advance = optimizer_values(parts) + 6
    # The teacher also joins its two gradients (3); the report takes three norms (6).
    finish = advance + 9

    def replicated(a_parameter: float) -> Work:
        return Work(nothing._replace(values=a_parameter * p), nothing)

    # The labels of each action unit (3 vectors); what share is accepted, and agrees.
    told = FLOAT * (3 * sizes.num_aus + 2)
    return [
        Phase("_targets", 2, targets, 0, 0),
        Phase("_gradients", 3, one_pass, trained, 2 * parts.norms + 1),
        Phase("_step_student", 1, replicated(advance), 0, 0),
        # Walking back costs 2 a parameter, and the derivative by the way walked 3.
        Phase(
            "_judge",
            1,
            Work(one_pass.fixed.plus(replicated(5).fixed), one_pass.an_image),
            reduced,
            2 * parts.norms + 1,
        ),
        Phase("_open_gate", 1, replicated(0), 2, 1),
        Phase("_step_teacher", 1, replicated(finish), told, 1),
    ]


class Total(NamedTuple):
    """One step: operations of ``b`` labeled and ``b`` unlabeled images, bytes reduced, and reductions in a row."""

    work: Work
    reduced: int
    collectives: int


def total(found: list[Phase]) -> Total:
    """All phases together."""
    fixed = an_image = Operations(0, 0, 0, 0)
    for phase in found:
        fixed = fixed.plus(phase.work.fixed.scaled(phase.times))
        an_image = an_image.plus(phase.work.an_image.scaled(phase.times))
    return Total(
        Work(fixed, an_image),
        sum(phase.times * phase.reduced for phase in found),
        sum(phase.times * phase.collectives for phase in found),
    )
