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
