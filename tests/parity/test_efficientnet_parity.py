"""EfficientNet against efficientnet-pytorch, torchvision and timm, carried over by pretrained.py's map."""

import importlib
from typing import Any

import compared
import jax
import jax.numpy as jnp
import numpy as np
import peers
import pytest
from nightly import nightly

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.efficientnet import EfficientNet
from piapdf_jax.models.efficientnet_encoder import ENCODERS, EfficientNetEncoder
from piapdf_jax.models.encoders import EncoderSettings
from piapdf_jax.models.flops import count_params
from piapdf_jax.models.layers import CONVENTIONS
from piapdf_jax.models.pretrained import pretrained_encoder, resolve
from piapdf_jax.models.weight_converter import convert_weights
from piapdf_jax.models.weight_origin import origin

pytestmark = pytest.mark.parity

LIBRARIES = tuple(peers.MAKERS)


@pytest.fixture(name="torch", scope="module")
def fixture_torch() -> Any:
    # Here and not at the top: tests that are not of parity are collected without torch. It missing
    # is an error of these tests, never a skip.
    return importlib.import_module("torch")


def variables(library: str, name: str, arrays: dict[str, np.ndarray], dtype: Any) -> Any:
    """Parameters with the classifier beside them, and running statistics."""
    encoder = EfficientNetEncoder(peers.config(library, name))
    (params, stats), classifier = convert_weights(
        arrays, encoder.weights.libraries[library], encoder, dtype
    )
    assert classifier is not None
    return jax.tree.map(jnp.asarray, ({"encoder": params, "classifier": classifier}, stats))


def pair(library: str, name: str, network: Any, dtype: Any) -> compared.Pair:
    return compared.Pair(
        EfficientNet(peers.config(library, name)),
        network,
        lambda network, images: peers.features(library, network, images),
        lambda network: peers.classifier(library, network),
        lambda arrays: variables(library, name, arrays, dtype),
    )


EVAL = [
    *((library, "b0", (96, 64)) for library in LIBRARIES),
    *((library, "tiny", size) for library in LIBRARIES for size in ((75, 98), (65, 65), (64, 97))),
    ("efficientnet_pytorch", "b1", (128, 128)),
]


@pytest.mark.parametrize(("library", "name", "size"), EVAL)
def test_eval_in_float32(torch: Any, library: str, name: str, size: tuple[int, int]) -> None:
    both = pair(library, name, peers.make(library, name), np.float32)
    errors = compared.eval_errors(both, peers.images(*size).astype(np.float32))
    print(library, name, size, *(f"{e:.1e}" for e in errors))
    assert max(errors) <= 1e-5


TRAIN = [
    *((library, "tiny", dtype) for library in LIBRARIES for dtype in (32, 64)),
    ("efficientnet_pytorch", "b1", 64),
    *nightly(
        *(("efficientnet_pytorch", "b0", dtype) for dtype in (32, 64)),
        *(("torchvision", "b0", dtype) for dtype in (32, 64)),
    ),
]


@pytest.mark.parametrize(("library", "name", "bits"), TRAIN)
def test_two_training_steps(torch: Any, library: str, name: str, bits: int) -> None:
    """Outputs, running statistics and gradients of each of two SGD steps, and where they lead."""
    network = peers.make(library, name)
    network = network if bits == 64 else network.float()
    dtype, tolerance = (np.float64, 1e-9) if bits == 64 else (np.float32, 1e-4)
    images = [peers.images(97, 96 + i, 8).astype(dtype)[:, :, :96] for i in range(2)]
    both = pair(library, name, network, dtype)
    for errors in compared.training_errors(both, images, np.arange(8) * 3 % peers.CLASSES):
        print(library, name, bits, {k: f"{v:.1e}" for k, v in errors.items()})
        assert max(errors.values()) <= tolerance


@pytest.mark.parametrize("name", [f"b{i}" for i in range(8)])
def test_parameter_counts_are_torchvisions(torch: Any, name: str) -> None:
    """Its own builders, of 1000 classes, and the number it publishes."""
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(f"efficientnet_{name}", weights=None)
    theirs = sum(p.numel() for p in network.parameters())
    module = EfficientNet(peers.config("torchvision", name))
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    made = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mode="eval"), images)
    features = made["params"]["head"]["kernel"].shape[-1]
    ours = count_params(made["params"]) + (features + 1) * 1000
    assert ours == theirs
    assert ours == models.get_model_weights(f"efficientnet_{name}").DEFAULT.meta["num_params"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_conventions_are_the_libraries(torch: Any, library: str) -> None:
    """Epsilon and momentum of every BatchNorm of the library's own B0, and its padding."""
    network = {
        "efficientnet_pytorch": lambda: peers.make(library, "b0"),
        "torchvision": lambda: importlib.import_module("torchvision.models").efficientnet_b0(),
        "timm": lambda: importlib.import_module("timm").create_model("tf_efficientnet_b0"),
    }[library]()
    numbers = peers.config(library, "b0").conventions
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {numbers.epsilon}
    assert {round(1 - m.momentum, 9) for m in norms} == {numbers.momentum}
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    padded = any(m.padding != (0, 0) and m.stride == (2, 2) for m in convolutions)
    assert padded == (peers.CONVENTIONS[library] == "pytorch")


@pytest.mark.parametrize("name", [f"b{i}" for i in range(8)])
def test_torchvisions_own_networks_have_the_convention_that_their_files_are_taken_for(
    torch: Any, tmp_path: Any, name: str
) -> None:
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(f"efficientnet_{name}", weights=None)
    weights = ENCODERS[name](EncoderSettings()).weights
    found = CONVENTIONS[str(origin(tmp_path / "w.pth", "", "torchvision", {}, weights).convention)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {found.epsilon}
    assert {round(1 - m.momentum, 9) for m in norms} == {found.momentum}
    assert found.padding == "SYMMETRIC"


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "tf_efficientnet_b0", "tf_efficientnet_b0.ap_in1k"]
)
def test_a_file_of_timm_with_the_description_that_timm_writes(
    torch: Any, tmp_path: Any, name: str
) -> None:
    """Both of its kinds of EfficientNet, told apart and normalized by the config.json beside the file."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    save_for_hf(network, tmp_path, safe_serialization=True)
    found = resolve(
        ModelConfig(pretrained=str(tmp_path / "model.safetensors"), encoder="b0", encoder_size=96)
    )
    told = network.pretrained_cfg
    assert found.normalization == (tuple(told["mean"]), tuple(told["std"]))
    images = peers.images(97, 90).astype(np.float32)
    part = pretrained_encoder(found, 3)
    module: Any = encoder_of(found)
    module = module.module
    with jax.numpy_dtype_promotion("standard"):
        ours = module.apply(
            {"params": part[0], "batch_stats": part[1]}, jnp.asarray(images), mode="eval"
        )
    with torch.no_grad():
        theirs = network.forward_features(compared.tensor(network, images)).permute(0, 2, 3, 1)
    assert compared.error(ours, theirs.numpy()) <= 1e-5
