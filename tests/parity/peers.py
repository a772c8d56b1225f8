"""EfficientNets of other libraries, with random weights and random BatchNorm statistics."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from piapdf_jax.models.efficientnet import COEFFICIENTS, EfficientNetConfig
from piapdf_jax.models.efficientnet_weights import SOURCES

CLASSES = 10
#: Of timm's networks those that ``timm`` below makes.
CONVENTIONS = {
    name: source.stored["convention"] or "tensorflow_ported" for name, source in SOURCES.items()
}
#: What a library's BatchNorm takes for the momentum where it is not the convention's.
MOMENTUM = {"timm": 0.9}


def config(library: str, name: str) -> EfficientNetConfig:
    """Ours, as the library has it, without stochastic depth."""
    return EfficientNetConfig(
        width=COEFFICIENTS[name].width,
        depth=COEFFICIENTS[name].depth,
        stochastic_depth=0.0,
        convention=CONVENTIONS[library],
        bn_momentum=MOMENTUM.get(library),
    )


def efficientnet_pytorch(name: str, classes: int) -> Any:
    from efficientnet_pytorch import EfficientNet, utils

    width, depth, _, _ = COEFFICIENTS[name]
    # image_size None pads each image by its own size.
    blocks, options = utils.efficientnet(
        width_coefficient=width,
        depth_coefficient=depth,
        image_size=None,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
        num_classes=classes,
    )
    network = EfficientNet(blocks, options)
    for block in network._blocks:
        # A row's first block holds its stride as a list, which is never equal to 1: at widths where
        # it keeps its channels, as in tiny and no published size, it would not add its input, as
        # the TensorFlow code that the library mirrors and the two others do.
        stride = block._block_args.stride
        block._block_args = block._block_args._replace(stride=np.ravel(stride).item())
    return network


def torchvision(name: str, classes: int) -> Any:
    from torchvision.models import efficientnet

    width, depth, _, _ = COEFFICIENTS[name]
    settings, last = efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=width, depth_mult=depth
    )
    return efficientnet.EfficientNet(settings, 0.0, 0.0, num_classes=classes, last_channel=last)


def timm(name: str, classes: int) -> Any:
    from timm.models import efficientnet

    width, depth, _, _ = COEFFICIENTS[name]
    return efficientnet._gen_efficientnet(
        "tf_efficientnet_b0",
        channel_multiplier=width,
        depth_multiplier=depth,
        bn_eps=efficientnet.BN_EPS_TF_DEFAULT,
        pad_type="same",
        num_classes=classes,
        drop_rate=0.0,
        drop_path_rate=0.0,
    )


MAKERS = {
    "efficientnet_pytorch": efficientnet_pytorch,
    "torchvision": torchvision,
    "timm": timm,
}


def make(library: str, name: str, *, classes: int = CLASSES) -> Any:
    """A network in float64 with drawn statistics that let the signal through."""
    return with_drawn_statistics(lambda: MAKERS[library](name, classes))


def with_drawn_statistics(make_network: Callable[[], Any], *, channels: int = 3) -> Any:
    """A network in float64 whose BatchNorm has drawn scales, biases and statistics.

    Statistics are those of a batch of noise, moved at random: with any others what an image says
    fades on the way, and equal outputs would mean little.
    """
    import torch

    torch.manual_seed(0)
    network = make_network().double()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, channels, 64, 64, dtype=torch.float64))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            # A channel that hardly varies would enlarge rounding as much as its signal.
            norm.running_var += 0.5 * norm.running_mean**2
            norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn(len(norm.bias))
            norm.running_var *= torch.empty(len(norm.bias)).uniform_(0.7, 1.5)
    return network


def features(library: str, network: Any, images: Any) -> Any:
    """Feature map [B, F, h, w] of images [B, 3, H, W]."""
    if library == "efficientnet_pytorch":
        return network.extract_features(images)
    return (
        network.features(images) if library == "torchvision" else network.forward_features(images)
    )


def classifier(library: str, network: Any) -> Any:
    """The linear layer on the pooled features."""
    if library == "efficientnet_pytorch":
        return network._fc
    return network.classifier[1] if library == "torchvision" else network.classifier


@functools.cache
def images(height: int, width: int, batch: int = 4) -> np.ndarray:
    """[B, H, W, 3] float64."""
    return np.random.default_rng(height * 1000 + width).normal(size=(batch, height, width, 3))
