"""Counts the PI generator beside the plain U-Net of the same widths, depths and skips.

python -m benchmarks.unet
"""

import jax

from piapdf_jax import command_line
from piapdf_jax.models.dw_unet import DWUNet, UNet
from piapdf_jax.models.flops import count_macs, count_params
from piapdf_jax.models.presets import MODELS

SIDE, MAPS = 256, 12
#: Share of the U-Net that depthwise separable layers save, as the paper has it (section 3.1).
PAPER_SAVES = 0.9


def network(kind: type[UNet]) -> tuple[UNet, jax.ShapeDtypeStruct, dict]:
    """A U-Net of the full-size model, one image, and the shapes of its variables."""
    model = MODELS["b1"]
    module = kind(MAPS, model.unet_widths, model.unet_blocks, model.unet_stem_stride)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), "float32")
    key = jax.random.key(0)
    return module, image, jax.eval_shape(lambda x: module.init(key, x, mode="eval"), image)


def unet_cost(kind: type[UNet]) -> tuple[int, int]:
    """Parameters, and multiply-adds of one 256x256 image."""
    module, image, variables = network(kind)
    adds = count_macs(lambda v, x: module.apply(v, x, mode="eval"), variables, image)
    return count_params(variables["params"]), adds


def rows() -> list[tuple[str, int, int, float]]:
    """Name, parameters of the separable and of the full layer, and the theory's ratio, by layer."""
    separable, full = (network(kind)[2]["params"] for kind in (DWUNet, UNet))
    found = []
    for name, layer in full.items():
        if "conv" not in layer:
            continue
        kernels = separable[name]["depthwise"]["kernel"], separable[name]["pointwise"]["kernel"]
        width = kernels[1].shape[-1]
        counts = count_params(kernels), count_params(layer["conv"]["kernel"])
        found.append((name, *counts, 1 / 9 + 1 / width))
    return found


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    print("| 3x3 layer | separable | full | ratio | 1/9 + 1/C_out |")
    print("| --- | --- | --- | --- | --- |")
    for name, ours, plain, theory in rows():
        print(f"| {name} | {ours:,} | {plain:,} | {ours / plain:.1%} | {theory:.1%} |")
    print("\n| network | DW-UNet | U-Net | ratio | saved | the paper |")
    print("| --- | --- | --- | --- | --- | --- |")
    whats = "parameters", "multiply-adds an image"
    for what, ours, plain in zip(whats, unet_cost(DWUNet), unet_cost(UNet), strict=True):
        ratio = ours / plain
        print(
            f"| {what} | {ours:,} | {plain:,} | {ratio:.1%} | {1 - ratio:.1%} | {PAPER_SAVES:.0%} |"
        )


if __name__ == "__main__":
    command_line.run(main)
