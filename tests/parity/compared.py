"""Two training steps of one of our networks and of the same network in PyTorch, and how far apart they are."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

RATE = 0.001


class Pair(NamedTuple):
    """A network in both.

    Attributes:
        module: ours, whose ``__call__`` gives features [B, h, w, F].
        network: PyTorch's.
        features: the network and images [B, C, H, W] -> features [B, F, h, w].
        classifier: the network -> its linear layer on the pooled features.
        variables: arrays by PyTorch's names -> our parameters ``{"encoder": ..., "classifier": (kernel, bias)}`` and
            running statistics.
    """

    module: nn.Module
    network: Any
    features: Callable[[Any, Any], Any]
    classifier: Callable[[Any], Any]
    variables: Callable[[dict[str, np.ndarray]], Any]

    def forward(self, params: Any, stats: Any, images: jax.Array, *, mode: str) -> Any:
        """Features, pooled vector, logits and the statistics after the pass."""
        both = {"params": params["encoder"], "batch_stats": stats}
        # Flax asks what float64 and float32 make together, which strict promotion does not say.
        with jax.numpy_dtype_promotion("standard"):
            made: Any = self.module.apply(both, images, mode=mode, mutable=["batch_stats"])
        pooled = jnp.mean(made[0], (1, 2))
        kernel, bias = params["classifier"]
        return made[0], pooled, pooled @ kernel + bias[None], made[1]["batch_stats"]

    def torch_forward(self, images: np.ndarray) -> Any:
        """Features as ours lie, pooled vector and logits; one pass, for running statistics move in each."""
        features = self.features(self.network, tensor(self.network, images))
        pooled = features.mean((2, 3))
        return features.permute(0, 2, 3, 1), pooled, self.classifier(self.network)(pooled)


def error(ours: Any, theirs: Any) -> float:
    """Norm of the difference over the norm, over all leaves together."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    flat = [jax.tree.map(lambda x: np.asarray(x, np.float64), tree) for tree in (ours, theirs)]
    difference = jax.tree.map(np.subtract, *flat)
    norms = [
        np.linalg.norm([np.linalg.norm(x) for x in jax.tree.leaves(t)])
        for t in (difference, flat[1])
    ]
    return float(norms[0] / norms[1])


def arrays(network: Any) -> dict[str, np.ndarray]:
    """Its state dict, in NumPy and not shared with it."""
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def tensor(network: Any, images: np.ndarray) -> Any:
    """Images [B, H, W, C] as the network takes them."""
    import torch

    return torch.tensor(images.transpose(0, 3, 1, 2), dtype=next(network.parameters()).dtype)


def eval_errors(pair: Pair, images: np.ndarray) -> list[float]:
    """Errors of features, pooled vector and logits in float32."""
    import torch

    params, stats = pair.variables(arrays(pair.network.float().eval()))
    ours = jax.jit(lambda p, s, x: pair.forward(p, s, x, mode="eval")[:3])(params, stats, images)
    assert all(x.dtype == jnp.float32 for x in ours)
    with torch.no_grad():
        theirs = pair.torch_forward(images)
        # What is compared is what the library's own forward pass gives.
        torch.testing.assert_close(theirs[-1], pair.network(tensor(pair.network, images)))
    for seen in theirs:
        # Images are told apart, so that equal outputs mean equal passes.
        assert seen.std(0).norm() > 0.05 * seen.norm()
    return [error(a, b.numpy()) for a, b in zip(ours, theirs, strict=True)]


def sgd_step(pair: Pair, labels: np.ndarray) -> Callable[[Any, Any, jax.Array], Any]:
    """A step of our network: (parameters, statistics, images) -> (loss, outputs, gradients, new parameters)."""

    @jax.jit
    def step(params: Any, stats: Any, images: jax.Array) -> Any:
        def loss_fn(params: Any) -> Any:
            features, _, logits, new = pair.forward(params, stats, images, mode="train")
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean() + 0.1 * jnp.mean(features**2), (features, logits, new)

        (loss, outputs), slopes = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return loss, outputs, slopes, jax.tree.map(lambda p, g: p - RATE * g, params, slopes)

    return step


def training_errors(
    pair: Pair, images: Sequence[np.ndarray], labels: np.ndarray
) -> list[dict[str, float]]:
    """Errors of outputs, running statistics and gradients of each of two SGD steps, and of where they lead."""
    import torch

    network, errors = pair.network.train(), []
    params, stats = pair.variables(arrays(network))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    step = sgd_step(pair, labels)
    for x in images:
        loss, (features, logits, stats), slopes, params = step(params, stats, x)
        maps, _, scores = pair.torch_forward(x)
        expected = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
        expected = expected + 0.1 * maps.square().mean()
        optimizer.zero_grad()
        expected.backward()
        gradients = {n: p.grad.numpy() for n, p in network.named_parameters()}
        # The map carries gradients as it carries weights.
        theirs = pair.variables({**arrays(network), **gradients})
        optimizer.step()
        after = pair.variables(arrays(network))
        errors.append(
            {
                "features": error(features, maps.detach().numpy()),
                "logits": error(logits, scores.detach().numpy()),
                "loss": error(loss, expected.item()),
                "statistics": error(stats, after[1]),
                "gradients": error(slopes, theirs[0]),
                "parameters": error(params, after[0]),
            }
        )
    return errors
