"""ResNet against torchvision and timm, carried over by the map of names."""

import importlib
from typing import Any

import compared
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import resnet_peers as peers
from nightly import nightly

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.pretrained import pretrained_encoder, resolve
from piapdf_jax.models.resnet import ResNet, ResNetConfig
from piapdf_jax.models.resnet_encoder import ResNetEncoder
from piapdf_jax.models.weight_converter import convert_weights
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.models.weight_names import library_of

pytestmark = pytest.mark.parity

LIBRARIES = tuple(peers.MAKERS)


@pytest.fixture(name="torch", scope="module")
def fixture_torch() -> Any:
    # Here and not at the top: tests that are not of parity are collected without torch. It missing
    # is an error of these tests, never a skip.
    return importlib.import_module("torch")


def variables(name: str, arrays: dict[str, np.ndarray], dtype: Any, channels: int = 3) -> Any:
    """Parameters with the classifier beside them, and running statistics."""
    encoder = ResNetEncoder(peers.config(name))
    stem, shown = arrays["conv1.weight"], dict(arrays)
    # Files are of RGB; another stem is put in its place.
    shown["conv1.weight"] = stem[:, :3]
    library = encoder.weights.libraries[library_of(shown, encoder.weights.libraries)]
    (params, stats), classifier = convert_weights(shown, library, encoder, dtype)
    params = {**params, "stem": {"kernel": stem.transpose(2, 3, 1, 0).astype(dtype)}}
    assert classifier is not None and params["stem"]["kernel"].shape[2] == channels
    return jax.tree.map(jnp.asarray, ({"encoder": params, "classifier": classifier}, stats))


def pair(library: str, name: str, dtype: Any, channels: int = 3) -> compared.Pair:
    return compared.Pair(
        ResNet(peers.config(name)),
        peers.make(library, name, channels=channels),
        lambda network, images: peers.features(library, network, images),
        lambda network: network.fc,
        lambda arrays: variables(name, arrays, dtype, channels),
    )


EVAL = [
    *((library, "one a stage", size, 3) for library in LIBRARIES for size in ((75, 98), (65, 33))),
    *((library, "one a stage", (64, 64), 12) for library in LIBRARIES),
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
    *((library, "one a stage", (49, 66), 3) for library in LIBRARIES),
    ("torchvision", "one a stage", (49, 49), 12),
    *nightly(("torchvision", "resnet50", (65, 65), 3)),
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


@pytest.mark.parametrize("library", LIBRARIES)
def test_batch_norm_is_the_libraries(torch: Any, library: str) -> None:
    network = peers.MAKERS[library]("resnet50", 3)
    numbers = ResNetConfig().conventions
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {numbers.epsilon}
    assert {round(1 - m.momentum, 9) for m in norms} == {numbers.momentum}


#: What of timm is no ResNet-50, and what the message says of its arrays.
OTHERS = {
    "resnet50d": "it holds no stem of theirs",
    "resnetv2_50": "it holds no stem of theirs",
    "ecaresnet50t": "it holds no stem of theirs",
    "seresnet50": r"\d+ unexpected \(layer1.0.se.fc1",
    "ecaresnetlight": r"\d+ missing .* unexpected \(",
    "resnext50_32x4d": r"layer1.0.bn1.running_mean has shape \(128,\), not \(64,\)",
    "wide_resnet50_2": r"layer1.0.bn1.running_mean has shape \(128,\), not \(64,\)",
    "resnet50_gn": r"106 missing \(layer1.0.bn2.running_mean",
    "resnet34": r"\d+ missing \(layer1.0.bn3.running_mean",
    "resnet101": r"306 unexpected \(layer3.6.conv1.weight",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_of_the_family_are_refused(torch: Any, name: str) -> None:
    import timm

    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    arrays = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    encoder: Any = encoder_of(ModelConfig(encoder="resnet50"))
    libraries = encoder.weights.libraries
    with pytest.raises(WeightsError, match=OTHERS[name]):
        convert_weights(arrays, libraries[library_of(arrays, libraries)], encoder)


def test_a_file_of_timm_with_the_description_that_timm_writes(torch: Any, tmp_path: Any) -> None:
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    network = timm.create_model("resnet50", pretrained=False).eval()
    save_for_hf(network, tmp_path, safe_serialization=True)
    path = str(tmp_path / "model.safetensors")
    found = resolve(ModelConfig(encoder="resnet50", pretrained=path))
    told = network.pretrained_cfg
    assert found.convention == "pytorch"
    assert found.normalization == (tuple(told["mean"]), tuple(told["std"]))
    images = peers.images(65, 64).astype(np.float32)
    params, stats = pretrained_encoder(found, 3)
    with jax.numpy_dtype_promotion("standard"):
        ours, _, _ = encoder_of(found).apply(
            (params, stats), jnp.asarray(images), mode="eval", key=None
        )
    with torch.no_grad():
        theirs = network.forward_features(compared.tensor(network, images)).permute(0, 2, 3, 1)
    assert compared.error(ours, theirs.numpy()) <= 1e-5
