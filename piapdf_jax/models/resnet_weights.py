"""Names of ResNet's modules in torchvision and timm, and the published weights of ResNet-50."""

from piapdf_jax.models.resnet import ResNetConfig, bottlenecks
from piapdf_jax.models.weight_files import Published
from piapdf_jax.models.weight_names import TORCH, Library, Weights, adapt_stem

_TORCHVISION = ("BSD-3-Clause (torchvision)", "https://github.com/pytorch/vision")
#: ImageNet weights of ResNet-50, with 8 digits of their hashes in their names. The first are those of
#: torchvision's plain recipe, nearest to the paper's; ``v2`` and timm's are of longer, stronger ones.
PUBLISHED = {
    "imagenet": Published(
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "sha256:0676ba61",
        "pytorch",
        _TORCHVISION,
    ),
    "imagenet-torchvision-v2": Published(
        "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        "sha256:11ad3fa6",
        "pytorch",
        _TORCHVISION,
    ),
    "imagenet-timm": Published(
        "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights/"
        "resnet50_a1_0-14fe96d1.pth",
        "sha256:14fe96d1",
        "pytorch",
        ("Apache-2.0 (timm)", "https://github.com/huggingface/pytorch-image-models"),
    ),
}
#: Our module -> theirs.
TOP_LEVEL = {"stem": "conv1", "stem_norm": "bn1", "classifier": "fc"}
#: The same inside a block.
BLOCK = {
    "reduce": "conv1", "reduce_norm": "bn1",
    "conv": "conv2", "conv_norm": "bn2",
    "expand": "conv3", "expand_norm": "bn3",
}  # fmt: skip
SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}


def module_names(config: ResNetConfig) -> dict[str, str]:
    """Returns the libraries' name of each of our modules, such as ``block2_1/reduce`` -> ``layer2.0.conv1``."""
    names = dict(TOP_LEVEL)
    for block in bottlenecks(config):
        stage, number = (int(digits) for digits in block.name.removeprefix("block").split("_"))
        for ours, theirs in (BLOCK | (SHORTCUT if block.projected else {})).items():
            names[f"{block.name}/{ours}"] = f"layer{stage}.{number - 1}.{theirs}"
    return names


def weights(config: ResNetConfig) -> Weights:
    """Returns the files of weights that a ResNet can start from.

    torchvision and timm name the arrays of their ResNets alike. Networks of the family that have other layers
    (``resnet50d``, ``seresnet50``, ``resnext50_32x4d``) have other names or shapes. Not so timm's ``resnetaa50`` and
    ``resnetblur50``, whose blurs have no arrays, and v1: they are told by the ``config.json`` beside them, if at all.
    """
    libraries = {"torchvision": Library(module_names(config), convention="pytorch", **TORCH)}
    # As the field counts: the convolutions of the longest path, and the classifier.
    name = f"resnet{3 * sum(config.blocks) + 2}"

    def convention_of(architecture: str) -> str | None:
        return "pytorch" if config.width == 64 and architecture == name else None

    title = f"ResNet-{name.removeprefix('resnet')}"
    published = PUBLISHED if config.width == 64 and config.blocks == (3, 4, 6, 3) else {}
    return Weights(title, published, libraries, convention_of, adapt_stem)
