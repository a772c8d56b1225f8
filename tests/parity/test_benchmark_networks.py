"""The networks that the benchmark times in PyTorch are ours: outputs and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.cases import Case

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    "case",
    [
        # from 2x2 features to a side that is no power of 2, so that maps are resized both ways
        Case("decoder", 40, 2, model="nano"),
        Case("unet", 36, 2, model="nano"),
        Case("unet", 64, 2, model="tiny"),
        # the image is not of the encoder's size; a U-Net, two encoders, a head and a decoder
        Case("piap", 100, 2, model="tiny"),
    ],
    ids=lambda case: f"{case.name}_{case.model}",
)
def test_outputs_and_gradients_agree(case: Case) -> None:
    from benchmarks.compare import compare

    assert jnp.zeros(()).dtype == jnp.float64
    # Flax asks what float64 and float32 make together, which strict promotion does not say.
    with jax.numpy_dtype_promotion("standard"):
        errors = compare(case, np.float64)
    assert errors["outputs"] < 1e-13
    assert errors["gradients"] < 1e-11


def test_a_wrong_weight_is_found() -> None:
    from benchmarks.compare import error

    right = {"a": np.ones(3), "b": np.zeros((2, 2))}
    wrong = {"a": np.ones(3), "b": np.array([[0, 0], [0, 3.0]])}
    assert error(right, right) == 0
    assert error(wrong, right) == pytest.approx(np.sqrt(3))


def test_the_feedback_step_of_pytorch_trains_both() -> None:
    from benchmarks.cases import sizes
    from benchmarks.torch_feedback import TorchFeedback

    case = Case("feedback", 32, 2, model="nano", way="contiguous")
    side = TorchFeedback(case, sizes(case), "contiguous")
    before = [
        [p.detach().clone() for p in net.parameters()] for net in (side.teacher, side.student)
    ]
    assert side.train() > 0
    for old, net in zip(before, (side.teacher, side.student), strict=True):
        assert any((a != b).any() for a, b in zip(old, net.parameters(), strict=True))
