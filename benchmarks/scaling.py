"""Predicts one step of discrete feedback on many devices: operations, bytes, input, efficiency. Runs nothing.

python -m benchmarks.scaling                                                    the tables of docs/scaling.md
python -m benchmarks.scaling --images=128 --utilization=0.2 --network_gbs=50    another machine

``tests/benchmarks/compiled_step.py`` compares the prediction with what XLA compiles.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import app, flags

from piapdf_jax import command_line
from piapdf_jax.losses import LossWeights, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.flops import count_macs, count_params
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.targets import frozen_targets
from piapdf_jax.types import Part

DEVICES = (8, 64, 512)
AUS = 12  # and as many maps
WEIGHTS = LossWeights(au=0.5, pi=0.45, ap=0.05)
#: Passes forward and backward, in the order of the step.
PASSES = (
    *("teacher on x_u", "student on x_u"),
    *("student after its step on x_l: the feedback", "teacher on x_l"),
)
MEASURED = ("jpeg_kb", "core_rate")  # on another machine; the rest of a Machine is assumed


@dataclasses.dataclass(frozen=True)
class Machine:
    """Hosts of some devices each; every number is assumed unless it says otherwise.

    Attributes:
        devices_per_host: joined by fast links.
        tflops: peak of a device, 10^12 operations a second, two a multiply-add.
        utilization: share of it that the networks reach.
        link_gbs: 10^9 bytes a second that a device sends to another of its host.
        network_gbs: the same to a device of another host.
        launch_us: microseconds of a reduction before anything is sent.
        hop_us: of a message inside a host.
        network_hop_us: of a message between hosts.
        jpeg_kb: 10^3 bytes of a compressed image; measured on drawn faces.
        core_rate: images a second that a core reads for feedback; measured, see ``benchmarks/README.md``.
    """

    devices_per_host: int = 8
    tflops: float = 312.0
    utilization: float = 0.1
    link_gbs: float = 300.0
    network_gbs: float = 25.0
    launch_us: float = 10.0
    hop_us: float = 2.0
    network_hop_us: float = 5.0
    jpeg_kb: float = 25.0
    core_rate: float = 911.0


class Step(NamedTuple):
    """Seconds of one step of ``images`` labeled and as many unlabeled images a device: arithmetic, bytes, latency."""

    devices: int
    images: int
    compute: float
    send: float
    wait: float

    @property
    def seconds(self) -> float:
        """Returns the sum: nothing overlaps."""
        return self.compute + self.send + self.wait


def predict(
    machine: Machine, adds: float, reduced: int, row: int, devices: int, images: int
) -> Step:
    """Predicts a step from multiply-adds an image, bytes reduced, and reductions that wait for one another."""
    compute = 2 * adds * images / (machine.tflops * 1e12 * machine.utilization)
    if devices == 1:
        return Step(devices, images, compute, 0.0, 0.0)
    inside = min(devices, machine.devices_per_host)
    link = machine.link_gbs if devices == inside else machine.network_gbs
    send = 2 * (devices - 1) / devices * reduced / (link * 1e9)  # a ring
    hops = math.log2(inside) * machine.hop_us  # up a tree of the devices and down again
    hops += math.log2(devices / inside) * machine.network_hop_us
    return Step(devices, images, compute, send, row * 1e-6 * (machine.launch_us + 2 * hops))


class Phase(NamedTuple):
    """A function of the step that is compiled by itself and run ``times`` times.

    ``count(counter, batch)`` counts its operations on so many images; None where it works on parameters alone.
    """

    name: str
    times: int
    count: Callable[[Any, int], float] | None
    reduced: int
    row: int


class Prediction:
    """One step on paper, from one pass of its networks; the step itself is not looked at."""

    def __init__(self, model: ModelConfig, side: int) -> None:
        self.model, self.side = model, side
        key, size = jax.random.key(0), {"image_size": side, "num_maps": AUS}
        options = {"head": {"num_aus": AUS}, "decoder": size, "generator": size}
        names = ("encoder", "head", "decoder", "generator")
        self.parts = {name: init_part(model, name, key, **options.get(name, {})) for name in names}
        self.params, self.stats = ({n: self.parts[n][i] for n in names[:3]} for i in (0, 1))
        self.frozen = {"generator": self.parts["generator"], "identity": self.parts["encoder"]}
        self.parameters = count_params(self.params)
        self.channels = count_params(self.stats) // 2
        self.norms = len(jax.tree.leaves(self.stats)) // 2

    def loss(self, params: Any, images: Any, targets: Any) -> jax.Array:
        """L_PIAP of a training pass."""
        parts = {name: Part(params[name], self.stats[name]) for name in params}
        key = jax.random.key(0)
        said, _ = network_apply(self.model, parts, images, mode="train", key=key)
        return piap_loss(said, targets, WEIGHTS)[0]

    def targets(self, frozen: Any, images: Any, labels: Any) -> Any:
        """Targets of the frozen networks."""
        return frozen_targets(self.model, frozen, images, labels)

    def arguments(self, batch: int) -> tuple[Any, Any]:
        """Shapes of the arguments of ``targets`` and of ``loss``."""
        images = jax.ShapeDtypeStruct((batch, self.side, self.side, 3), jnp.float32)
        first = (self.frozen, images, jax.ShapeDtypeStruct((batch, AUS), jnp.float32))
        return first, (self.params, images, jax.eval_shape(self.targets, *first))

    def frozen_work(self, count: Any, batch: int) -> Any:
        """What ``count`` says of the frozen networks on so many images."""
        return count(self.targets, *self.arguments(batch)[0])

    def pass_work(self, count: Any, batch: int) -> Any:
        """What ``count`` says of a pass forward and backward on so many images."""
        return count(jax.value_and_grad(self.loss), *self.arguments(batch)[1])

    def phases(self) -> list[Phase]:
        """Lists what the step is made of.

        A pass reduces gradients, of each BatchNorm channel the mean, the mean square and the derivative of the mean
        (that of the variance is the gradient of the scale), and the sums of its losses; those with an optimizer's
        step also ask whether logits are finite. The last phase reduces the metrics.
        """
        reduced, row = 4 * (self.parameters + 3 * self.channels + 4), 2 * self.norms + 1
        return [
            Phase("_targets", 2, self.frozen_work, 0, 0),
            Phase("_gradients", 3, self.pass_work, reduced + 4, row),
            Phase("_step_student", 1, None, 0, 0),
            Phase("_judge", 1, self.pass_work, reduced, row),
            Phase("_open_gate", 1, None, 2, 1),
            Phase("_step_teacher", 1, None, 4 * (3 * AUS + 2), 1),
        ]

    def kept(self) -> int:
        """Bytes that a forward pass keeps of an image for its backward pass, before XLA fuses anything."""

        def kept(batch: int) -> int:
            params, *rest = self.arguments(batch)[1]
            back = jax.eval_shape(
                lambda p, *xs: jax.vjp(lambda q: self.loss(q, *xs), p)[1], params, *rest
            )
            return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(back))

        return kept(2) - kept(1)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def report(machine: Machine, model: ModelConfig, side: int, images: int) -> list[str]:
    """All tables: passes, bytes held, the machine, efficiency, input."""
    step = Prediction(model, side)
    phases = {phase.name: phase for phase in step.phases()}
    frozen, a_pass = step.frozen_work(count_macs, 1), step.pass_work(count_macs, 1)
    passes = [phases[n] for n in ("_gradients", "_gradients", "_judge", "_gradients")]
    rows = [["PI generator and Encoder P on x_l and x_u", f"{2 * frozen:,}", "0", "0"]]
    for title, phase in zip(PASSES, passes, strict=True):
        rows.append([title, f"{a_pass:,}", f"{phase.reduced:,}", str(phase.row)])
    rest = [phases[name] for name in ("_open_gate", "_step_teacher")]
    sums = [sum(p.reduced for p in rest), sum(p.row for p in rest)]
    rows.append(["gate and metrics", "0", *map(str, sums)])
    total = 2 * frozen + 4 * a_pass
    reduced, row = (sum(p.times * p[i] for p in phases.values()) for i in (3, 4))
    rows.append(["the step", f"{total:,}", f"{reduced:,}", str(row)])
    head = ["part", "multiply-adds", "bytes reduced", "reductions in a row"]
    pairs = [("weak", n, b) for b in (images, 4 * images) for n in DEVICES]
    pairs += [("strong", n, 4 * images * DEVICES[0] // n) for n in DEVICES]
    steps = [(name, predict(machine, total, reduced, row, n, b)) for name, n, b in pairs if b]
    values = dataclasses.asdict(machine).items()
    origin = [[k, f"{v:g}", "measured" if k in MEASURED else "assumed"] for k, v in values]
    return [
        f"P = {step.parameters:,} parameters, {step.channels:,} channels in {step.norms} BatchNorms",
        table(head, rows),
        _held_table(step, images),
        table(["flag", "value", ""], origin),
        _efficiency_table(steps),
        _input_table(machine, side, steps),
    ]


def _held_table(step: Prediction, images: int) -> str:
    p = step.parameters
    rows = {
        "parameters of teacher and student": 2 * 4 * p,
        "running statistics of both": 4 * 4 * step.channels,
        "two AdamW moments of both": 4 * 4 * p,
        "three gradients at a time": 3 * 4 * p,
        "frozen networks": 4 * count_params(step.frozen),
        f"{2 * images} images and their PI maps": 2 * images * 4 * step.side**2 * (3 + AUS),
        f"kept by one pass over {images} images, unfused": images * step.kept(),
    }
    return table(["what", "MB"], [[name, f"{size / 1e6:,.1f}"] for name, size in rows.items()])


def _efficiency_table(steps: list[tuple[str, Step]]) -> str:
    head = ["scaling", "devices", "labeled images a device", "arithmetic, ms", "bytes, ms"]
    rows = []
    for name, s in steps:
        spans = [f"{1e3 * x:.1f}" for x in (s.compute, s.send, s.wait, s.seconds)]
        rows.append([name, str(s.devices), str(s.images), *spans, f"{s.compute / s.seconds:.0%}"])
    return table([*head, "latency, ms", "step, ms", "efficiency"], rows)


def _input_table(machine: Machine, side: int, steps: list[tuple[str, Step]]) -> str:
    head = ["devices", "labeled images a device", "images/s a host", "compressed MB/s a host"]
    head += ["compressed MB/s in all", "cores a host", "MB/s into a device"]
    rows = []
    for s in (s for name, s in steps if name == "weak"):
        device = 2 * s.images / s.seconds
        host = device * min(s.devices, machine.devices_per_host)
        row = [f"{host:,.0f}", f"{1e-3 * host * machine.jpeg_kb:,.0f}"]
        row += [f"{1e-3 * device * s.devices * machine.jpeg_kb:,.0f}"]
        # Images go into a device as bytes.
        row += [f"{host / machine.core_rate:.1f}", f"{1e-6 * device * 3 * side**2:,.0f}"]
        rows.append([str(s.devices), str(s.images), *row])
    return table(head, rows)


_MODEL = flags.DEFINE_string("model", "b1", "a preset of models/presets.py")
_SIDE = flags.DEFINE_integer("side", 256, "of the images, px", lower_bound=32)
_IMAGES = flags.DEFINE_integer("images", 32, "labeled images a device", lower_bound=1)
for _field in dataclasses.fields(Machine):
    _default: Any = _field.default
    _define: Any = flags.DEFINE_integer if isinstance(_default, int) else flags.DEFINE_float
    # What is divided by is not 0.
    _least = 1 if isinstance(_default, int) else 0 if _field.name.endswith("_us") else 1e-9
    _origin = "measured on another machine" if _field.name in MEASURED else "assumed"
    _define(_field.name, _default, f"{_origin}; see Machine of benchmarks/scaling.py", _least)


def main(argv: list[str]) -> None:
    """Prints the tables."""
    del argv
    if _MODEL.value not in MODELS:
        raise app.UsageError(f"unknown model {_MODEL.value!r}; there are {', '.join(MODELS)}")
    values: Any = {
        field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Machine)
    }
    tables = report(Machine(**values), MODELS[_MODEL.value], _SIDE.value, _IMAGES.value)
    print("\n\n".join(tables))


if __name__ == "__main__":
    command_line.run(main)
