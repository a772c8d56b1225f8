"""ResNet against torchvision and timm, carried over by the map of names."""

import importlib
from typing import Any

import compared
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import resnet_peers as peers

from piapdf_jax.models.costs import multiply_adds, parameter_count
from piapdf_jax.models.resnet import ResNet, ResNetConfig
from piapdf_jax.models.resnet_weights import module_names

pytestmark = pytest.mark.parity

LIBRARIES = tuple(peers.MAKERS)


@pytest.fixture(name="torch", scope="module")
def fixture_torch() -> Any:
    # Here and not at the top: tests that are not of parity are collected without torch. It missing
    # is an error of these tests, never a skip.
    return importlib.import_module("torch")


LEAVES = {"scale": "weight", "mean": "running_mean", "var": "running_var"}


def variables(name: str, arrays: dict[str, np.ndarray], dtype: Any, channels: int = 3) -> Any:
    """Parameters with the classifier beside them, and running statistics."""
    config = peers.config(name)
    names = module_names(config)
    images = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    made = jax.eval_shape(lambda x: ResNet(config).init(jax.random.key(0), x, mode="eval"), images)
    left = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}

    def leaf(path: Any, shape: Any) -> Any:
        _, *module, last = (entry.key for entry in path)
        last = LEAVES.get(last, "weight" if last == "kernel" else last)
        array = left.pop(f"{names['/'.join(module)]}.{last}")
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        assert array.shape == shape.shape
        return jnp.asarray(array, dtype)

    found = jax.tree_util.tree_map_with_path(leaf, made)
    kernel, bias = (left.pop(f"{names['classifier']}.{leaf}") for leaf in ("weight", "bias"))
    assert not left
    classifier = (jnp.asarray(kernel.T, dtype), jnp.asarray(bias, dtype))
    return {"encoder": found["params"], "classifier": classifier}, found["batch_stats"]


def pair(library: str, name: str, dtype: Any, channels: int = 3) -> compared.Pair:
    return compared.Pair(
        ResNet(peers.config(name)),
        peers.make(library, name, channels=channels),
        lambda network, images: peers.features(library, network, images),
        lambda network: network.fc,
        lambda arrays: variables(name, arrays, dtype, channels),
    )


EVAL = [
    *((library, "resnet14", size, 3) for library in LIBRARIES for size in ((75, 98), (65, 33))),
    *((library, "resnet14", (64, 64), 12) for library in LIBRARIES),
    *((library, "resnet50", (97, 96), 3) for library in LIBRARIES),
]


@pytest.mark.parametrize(("library", "name", "size", "channels"), EVAL)
def test_eval_in_float32(
    torch: Any, library: str, name: str, size: tuple[int, int], channels: int
) -> None:
    images = peers.images(*size, channels).astype(np.float32)
    errors = compared.eval_errors(pair(library, name, np.float32, channels), images)
    print(library, name, size, channels, *(f"{e:.1e}" for e in errors))
    assert max(errors) <= 1e-5


TRAIN = [
    *((library, "resnet14", (49, 66), 3) for library in LIBRARIES),
    ("torchvision", "resnet14", (49, 49), 12),
    ("torchvision", "resnet50", (65, 65), 3),
]


@pytest.mark.parametrize(("library", "name", "size", "channels"), TRAIN)
def test_two_training_steps_in_float64(
    torch: Any, library: str, name: str, size: tuple[int, int], channels: int
) -> None:
    """Outputs, running statistics and gradients of each of two SGD steps, and where they lead."""
    height, width = size
    images = [peers.images(height, width + i, channels)[:, :, :width] for i in range(2)]
    both = pair(library, name, np.float64, channels)
    for errors in compared.training_errors(both, images, np.arange(4) * 3 % peers.CLASSES):
        print(library, name, size, channels, {k: f"{v:.1e}" for k, v in errors.items()})
        assert max(errors.values()) <= 1e-9


def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(torch: Any) -> None:
    """``ResNet50_Weights.meta``, of 1000 classes at 224 px; billions with three decimals."""
    from torchvision.models import ResNet50_Weights

    module = ResNet(ResNetConfig())
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    made = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mode="eval"), image)
    told = ResNet50_Weights.IMAGENET1K_V1.meta
    assert parameter_count(made["params"]) + 2049 * 1000 == told["num_params"]
    count = multiply_adds(lambda v, x: module.apply(v, x, mode="eval"), made, image)
    assert count + 2048 * 1000 == pytest.approx(told["_ops"] * 1e9, abs=0.0005e9)


@pytest.mark.parametrize("library", LIBRARIES)
def test_batch_norm_is_the_libraries(torch: Any, library: str) -> None:
    network = peers.MAKERS[library]("resnet50", 3)
    numbers = ResNetConfig().conventions
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {numbers.epsilon}
    assert {round(1 - m.momentum, 9) for m in norms} == {numbers.momentum}
