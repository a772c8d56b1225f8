"""ResNets of torchvision and timm, with random weights and random BatchNorm statistics."""

from typing import Any

import numpy as np
import peers

from piapdf_jax.models.resnet import ResNetConfig

CLASSES = 10
#: Blocks by stage: one a stage for what is tried often, and ResNet-50.
BLOCKS = {"one a stage": (1, 1, 1, 1), "resnet50": (3, 4, 6, 3)}


def config(name: str) -> ResNetConfig:
    """Ours."""
    return ResNetConfig(blocks=BLOCKS[name])


def torchvision(name: str, channels: int) -> Any:
    import torch
    from torchvision.models import resnet, resnet50

    if name == "resnet50":
        network = resnet50(weights=None, num_classes=CLASSES)
    else:
        network = resnet.ResNet(resnet.Bottleneck, list(BLOCKS[name]), num_classes=CLASSES)
    if channels != 3:
        network.conv1 = torch.nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return network


def timm(name: str, channels: int) -> Any:
    from timm import create_model
    from timm.models import resnet

    if name == "resnet50":
        return create_model("resnet50", pretrained=False, num_classes=CLASSES, in_chans=channels)
    return resnet.ResNet(
        resnet.Bottleneck, layers=BLOCKS[name], num_classes=CLASSES, in_chans=channels
    )


MAKERS = {"torchvision": torchvision, "timm": timm}


def make(library: str, name: str, *, channels: int = 3) -> Any:
    """A network in float64 with drawn statistics that let the signal through; see ``peers.make``."""
    return peers.with_drawn_statistics(lambda: MAKERS[library](name, channels), channels=channels)


def features(library: str, network: Any, images: Any) -> Any:
    """Feature map [B, F, h, w] of images [B, C, H, W]."""
    if library == "timm":
        return network.forward_features(images)
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


def images(height: int, width: int, channels: int = 3, batch: int = 4) -> np.ndarray:
    """[B, H, W, C] float64, noise of an offset and a contrast by image and channel, which a mean over pixels shows."""
    rng = np.random.default_rng(height * 1000 + width)
    offset, contrast = (
        rng.normal(size=(batch, 1, 1, channels)),
        rng.uniform(0.3, 2, (batch, 1, 1, 1)),
    )
    return offset + contrast * rng.normal(size=(batch, height, width, channels))
