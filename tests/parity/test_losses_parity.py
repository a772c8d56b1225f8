"""Losses, F1 and their gradients against PyTorch, both in float64."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax import metrics
from piapdf_jax.batch import Prediction, Targets
from piapdf_jax.losses import LossWeights, ap_loss, au_loss, pi_loss, piap_loss

pytestmark = pytest.mark.parity

Arrays = tuple[np.ndarray, ...]
BATCH, SIDE, MAPS, UNITS, LENGTH = 4, 6, 12, 12, 9
TOLERANCE = 1e-12


@pytest.fixture(name="torch", scope="module")
def fixture_torch() -> Any:
    # Here and not at the top: tests that are not of parity are collected without torch. It missing
    # is an error of these tests, never a skip.
    return importlib.import_module("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(seed: int = 1) -> np.ndarray:
    return rng(seed).integers(-1, 2, (BATCH, UNITS)).astype(np.float64)


def compare(torch: Any, ours: Callable[..., Any], theirs: Callable[..., Any], inputs: Arrays):
    """Values and gradients by every input, of ours and of torch's, to 1e-12 relative."""
    arguments = tuple(range(len(inputs)))
    value, slopes = jax.value_and_grad(ours, arguments)(*map(jnp.asarray, inputs))
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
    expected = theirs(*leaves)
    expected.backward()
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(float(value), expected.item(), rtol=TOLERANCE)
    for slope, leaf in zip(slopes, leaves, strict=True):
        assert slope.dtype == jnp.float64
        gradient = leaf.grad.numpy()
        # relative to the largest entry: single entries may cancel to nearly 0
        largest = np.abs(gradient).max()
        assert largest > 0
        np.testing.assert_allclose(slope, gradient, rtol=0, atol=TOLERANCE * largest)


def torch_au_loss(torch: Any, logits: Any, truth: np.ndarray) -> Any:
    truth = torch.tensor(truth)
    known = truth >= 0
    return torch.nn.functional.binary_cross_entropy_with_logits(logits[known], truth[known])


def torch_pi_loss(torch: Any, logits: Any, maps: Any, weight: float, dice: float) -> Any:
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, maps, pos_weight=torch.tensor(weight, dtype=torch.float64)
    )
    probs = torch.sigmoid(logits)
    overlap = 2 * (probs * maps).sum((1, 2)) + 1
    return loss + dice * (1 - overlap / (probs.sum((1, 2)) + maps.sum((1, 2)) + 1)).mean()


def torch_ap_loss(torch: Any, p: Any, q: Any) -> Any:
    cosine = torch.nn.functional.cosine_similarity(p, q, dim=-1)
    return -torch.log(1 - cosine.abs()).mean()


def test_au_loss(torch: Any) -> None:
    truth = labels()
    assert {-1, 0, 1} == set(truth.flat)
    logits = 3 * rng().standard_normal((BATCH, UNITS))
    compare(
        torch,
        lambda x: au_loss(x, jnp.asarray(truth)),
        lambda x: torch_au_loss(torch, x, truth),
        (logits,),
    )


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("weight", "dice"), [(1.0, 0.0), (4.0, 0.0), (0.5, 0.8)])
def test_pi_loss(torch: Any, weight: float, dice: float, soft: bool) -> None:
    logits = 3 * rng().standard_normal((BATCH, SIDE, SIDE, MAPS))
    maps = rng(2).random(logits.shape)
    maps = maps if soft else (maps > 0.7).astype(np.float64)
    compare(
        torch,
        lambda x, m: pi_loss(x, m, positive_weight=weight, dice=dice),
        lambda x, m: torch_pi_loss(torch, x, m, weight, dice),
        (logits, maps),
    )


def test_ap_loss(torch: Any) -> None:
    p, q = rng(3).standard_normal((2, BATCH, LENGTH))
    compare(torch, ap_loss, lambda a, b: torch_ap_loss(torch, a, b), (p, q))


def test_piap_loss(torch: Any) -> None:
    weights, truth = LossWeights(0.5, 0.3, 0.2), labels()
    maps = (rng(2).random((BATCH, SIDE, SIDE, MAPS)) > 0.7).astype(np.float64)
    identity = rng(4).standard_normal((BATCH, LENGTH))
    inputs = tuple(
        rng(5).standard_normal(shape) for shape in (maps.shape, (BATCH, LENGTH), (BATCH, UNITS))
    )

    def ours(m: jax.Array, p: jax.Array, y: jax.Array) -> jax.Array:
        targets = Targets(jnp.asarray(maps), jnp.asarray(identity), jnp.asarray(truth))
        return piap_loss(Prediction(m, p, y), targets, weights)[0]

    def theirs(m: Any, p: Any, y: Any) -> Any:
        pi = torch_pi_loss(torch, m, torch.tensor(maps), 1.0, 0.0)
        ap = torch_ap_loss(torch, p, torch.tensor(identity))
        return 0.5 * torch_au_loss(torch, y, truth) + 0.3 * pi + 0.2 * ap

    compare(torch, ours, theirs, inputs)


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_f1(torch: Any, threshold: float) -> None:
    logits = rng(6).standard_normal((300, UNITS))
    truth = rng(7).integers(-1, 2, logits.shape)
    truth[truth[:, 0] == 1, 0] = 0  # an AU that is never present
    probs = torch.sigmoid(torch.tensor(logits))
    expected = []
    for scores, true in zip(probs.T, torch.tensor(truth).T, strict=True):
        said, true = scores[true >= 0] >= threshold, true[true >= 0]
        both = torch.count_nonzero(said & (true == 1))
        # harmonic mean of precision and recall, 0 where nothing was found
        precision = both / torch.count_nonzero(said).double()
        recall = both / torch.count_nonzero(true).double().clamp(min=1)
        mean = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
        expected.append(float(mean))
    f1 = metrics.f1(probs.numpy(), truth, threshold=threshold)
    assert expected[0] == 0 and min(expected[1:]) > 0.2
    np.testing.assert_allclose(f1, expected, rtol=TOLERANCE)
