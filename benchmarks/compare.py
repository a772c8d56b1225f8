"""Compares outputs and gradients of JAX and PyTorch with equal weights, in one process.

python -m benchmarks.compare b1 unet decoder piap
"""

import importlib.util
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app

from benchmarks.cases import COMPARED, Case, arrays, sizes
from benchmarks.jax_side import WEIGHTS, batch_of, model_of
from piapdf_jax import command_line, commands
from piapdf_jax.batch import Targets
from piapdf_jax.losses import pi_loss, piap_loss
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.decoder import decoder_apply
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.models.piap import network_apply
from piapdf_jax.models.pretrained import convert_weights
from piapdf_jax.stages.targets import frozen_targets

if TYPE_CHECKING:  # PyTorch is imported where it is used: help is given without it
    import torch

    from benchmarks.torch_side import Task

#: Largest error in float32: of outputs, norm of the difference over the norm; of gradients, the same
#: over all parameters together.
BOUNDS = {"outputs": 1e-5, "gradients": 1e-4}
#: The step of ``piap`` is worse conditioned than the networks in it: the slope of L_AP has 1 - |cos|
#: in its denominator, and random vectors behind a swish are nearly parallel. In float64 both sides
#: agree to 1e-11.
LOOSER = {"piap": {"gradients": 1e-3}}
_LEAVES = {"weight": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def randomize(task: "Task", batch: "dict[str, torch.Tensor]") -> None:
    """Draws every normalization, around the statistics of a batch so that activations do not vanish."""
    import torch

    norms = [m for m in task.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        for module in task.modules():  # frozen networks too
            module.training = True
        task(batch, loss=True)
    task.train()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        spread = norm.running_var.sqrt()
        norm.running_mean += 0.3 * spread * torch.randn_like(spread)
        norm.running_var *= torch.empty_like(spread).uniform_(0.5, 2.0)


def tree(named: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """(params, batch_stats) out of names of PyTorch's that are ours but for their last part."""
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}
    for name, array in named.items():
        *path, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        leaf = "scale" if path[-1].endswith("norm") and last == "weight" else _LEAVES[last]
        place = stats if leaf in ("mean", "var") else params
        for key in path:
            place = place.setdefault(key, {})
        if array.ndim == 4:
            depthwise = path[-1] == "depthwise"
            array = array[:, 0].transpose(1, 2, 0) if depthwise else array.transpose(2, 3, 1, 0)
        place[leaf] = array
    return params, stats


def parts_of(named: dict[str, np.ndarray], model: ModelConfig, dtype: Any = np.float32) -> Any:
    """Our parts by name out of the state dict of a ``Task``."""
    parts: dict[str, Any] = {}
    for name in ("encoder", "identity", "generator", "decoder"):
        own = {k.partition(".")[2]: v for k, v in named.items() if k.startswith(name + ".")}
        if not own:
            continue
        if name in ("generator", "decoder"):
            parts[name] = tree(own)
            continue
        encoder: Any = encoder_of(model)
        library = encoder.weights.libraries["efficientnet_pytorch"]
        parts[name], classifier = convert_weights(own, library, encoder, dtype)
        if name == "encoder":
            assert classifier is not None
            parts["head"] = ({"dense": dict(zip(("kernel", "bias"), classifier, strict=True))}, {})
    return jax.tree.map(jnp.asarray, parts)


def ours(case: Case, model: ModelConfig, parts: Any, found: dict[str, np.ndarray]) -> Any:
    """(logits in eval mode, gradients without dropout and stochastic depth), parts by name."""
    batch, features = batch_of(found), jnp.asarray(found["features"])
    maps = jnp.asarray(found["maps"])
    frozen = {k: parts.pop(k) for k in ("identity", "generator") if case.network == "piap"}
    stats = {name: part[1] for name, part in parts.items()}

    def say(params: Any, frozen: Any, features: Any, mode: str) -> tuple[jax.Array, Any]:
        own = {name: (params[name], stats[name]) for name in params}
        if case.network == "unet":
            logits, _ = generator_apply(model, own["generator"], batch.image, mode=mode)
            return logits, lambda: pi_loss(logits, maps)
        if case.network == "decoder":
            part = own["decoder"]
            logits, _ = decoder_apply(model, part, features, image_size=case.side, mode=mode)
            return logits, lambda: pi_loss(logits, maps)
        said, _ = network_apply(model, own, batch.image, mode=mode)
        targets = Targets(None, None, batch.labels)
        if frozen:
            targets = frozen_targets(model, frozen, batch.image, batch.labels)
        weights = WEIGHTS[case.network]
        return said.au_logits, lambda: piap_loss(said, targets, weights)[0]

    def loss(params: Any, features: Any, frozen: Any) -> jax.Array:
        return say(params, frozen, features, "feedback")[1]()

    params = {name: part[0] for name, part in parts.items()}
    logits = jax.jit(lambda p: say(p, {}, features, "eval")[0])(params)
    gradients, reached = jax.jit(jax.grad(loss, (0, 1)))(params, features, frozen)
    return logits, {"params": gradients, "features": reached}


def theirs(task: "Task", model: ModelConfig, batch: "dict[str, torch.Tensor]", dtype: Any) -> Any:
    """The same of PyTorch's, in our layout."""
    import torch

    batch["features"].requires_grad_()
    task.eval()
    with torch.no_grad():
        logits = task(batch, loss=False)
    task.train()
    task(batch, loss=True).backward()
    named = {name: t.numpy() for name, t in task.state_dict().items()}
    slopes = {k: p.grad.numpy() for k, p in task.named_parameters() if p.grad is not None}
    parts = parts_of({**named, **slopes}, model, dtype)
    learned = {k for k, v in parts.items() if k != "identity"}
    learned -= {"generator"} if task.case.network == "piap" else set()
    reached = batch["features"].grad
    if reached is None:
        reached = torch.zeros_like(batch["features"])
    if logits.ndim == 4:
        logits = logits.permute(0, 2, 3, 1)
    gradients = {name: parts[name][0] for name in learned}
    return logits.numpy(), {"params": gradients, "features": reached.permute(0, 2, 3, 1).numpy()}


def error(a: Any, b: Any) -> float:
    """Norm of the difference over the norm, over all leaves together."""
    leaves = jax.tree.map(lambda x, y: (np.asarray(x, np.float64), np.asarray(y, np.float64)), a, b)
    pairs = jax.tree.leaves(leaves, is_leaf=lambda pair: isinstance(pair, tuple))
    assert all(x.shape == y.shape for x, y in pairs)
    difference = sum(float(np.sum((x - y) ** 2)) for x, y in pairs)
    norm = sum(float(np.sum(y**2)) for _, y in pairs)
    return float(np.sqrt(difference / norm))


def compare(case: Case, dtype: Any = np.float32) -> dict[str, float]:
    """Errors of a case: of the outputs in eval mode, and of the gradients of its loss."""
    import torch

    from benchmarks.torch_side import Task, tensors

    torch.manual_seed(0)
    told = sizes(case)
    model, space = model_of(told), SimpleNamespace(**told)
    double = dtype == np.float64
    batch = {k: v.double() if double else v for k, v in tensors(case, space).items()}
    task = Task(case, space, random=False)
    task = task.double() if double else task
    randomize(task, batch)
    named = {name: tensor.numpy().copy() for name, tensor in task.state_dict().items()}
    found = {name: array.astype(dtype) for name, array in arrays(case, told).items()}
    mine = ours(case, model, parts_of(named, model, dtype), found)
    peers = theirs(task, model, batch, dtype)
    return {name: error(a, b) for name, a, b in zip(BOUNDS, mine, peers, strict=True)}


def main(arguments: list[str]) -> None:
    """Prints the errors of each network as JSON; SystemExit at one that is beyond its bound."""
    networks = arguments[1:]
    if not networks or not COMPARED.keys() >= set(networks):
        raise app.UsageError(f"give networks out of {', '.join(COMPARED)}")
    if importlib.util.find_spec("torch") is None:
        raise app.UsageError(f"PyTorch is not installed: {commands.install('parity')}")
    for network in networks:
        errors = compare(COMPARED[network])
        print(json.dumps({"network": network, **errors}), flush=True)
        for name, bound in {**BOUNDS, **LOOSER.get(network, {})}.items():
            # "not <=" also refuses NaN
            if not errors[name] <= bound:
                raise SystemExit(f"error: {network}: {name} differ by {errors[name]:.1e} > {bound}")


if __name__ == "__main__":
    command_line.run(main, arguments=len(COMPARED))
