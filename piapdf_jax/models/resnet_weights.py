"""What torchvision and timm call the modules of a ResNet; their names are the same."""

from piapdf_jax.models.resnet import ResNetConfig, bottlenecks

#: Our module -> theirs.
OUTSIDE = {"stem": "conv1", "stem_norm": "bn1", "classifier": "fc"}
#: The same inside a block.
BLOCK = {
    "reduce": "conv1", "reduce_norm": "bn1",
    "conv": "conv2", "conv_norm": "bn2",
    "expand": "conv3", "expand_norm": "bn3",
}  # fmt: skip
SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}


def module_names(config: ResNetConfig) -> dict[str, str]:
    """Our module -> the libraries': the whole map, such as ``block2_1/reduce`` -> ``layer2.0.conv1``."""
    names = dict(OUTSIDE)
    for block in bottlenecks(config):
        stage, number = (int(digits) for digits in block.name.removeprefix("block").split("_"))
        for ours, theirs in (BLOCK | (SHORTCUT if block.projected else {})).items():
            names[f"{block.name}/{ours}"] = f"layer{stage}.{number - 1}.{theirs}"
    return names
