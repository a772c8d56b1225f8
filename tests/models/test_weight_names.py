"""Names of each library written out: every tensor of a file goes where its name says."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from piapdf_jax.models import pretrained
from piapdf_jax.models.efficientnet import EfficientNet, EfficientNetConfig
from piapdf_jax.models.efficientnet_encoder import EfficientNetEncoder
from piapdf_jax.models.efficientnet_weights import SOURCES, module_names

#: Two rows of one block each: one that does not expand and one that does.
TWO_ROWS = EfficientNetConfig(width=0.25, depth=0.5, rows=2, features=12)
CLASSES = 5

#: Leaves of the network in the order of the names below.
LEAVES = """
stem/kernel stem_norm/scale stem_norm/bias stem_norm/mean stem_norm/var

block1_1/depthwise/kernel block1_1/depthwise_norm/scale block1_1/depthwise_norm/bias
block1_1/depthwise_norm/mean block1_1/depthwise_norm/var
block1_1/squeeze_excite/reduce/kernel block1_1/squeeze_excite/reduce/bias
block1_1/squeeze_excite/expand/kernel block1_1/squeeze_excite/expand/bias
block1_1/project/kernel block1_1/project_norm/scale block1_1/project_norm/bias
block1_1/project_norm/mean block1_1/project_norm/var

block2_1/expand/kernel block2_1/expand_norm/scale block2_1/expand_norm/bias
block2_1/expand_norm/mean block2_1/expand_norm/var
block2_1/depthwise/kernel block2_1/depthwise_norm/scale block2_1/depthwise_norm/bias
block2_1/depthwise_norm/mean block2_1/depthwise_norm/var
block2_1/squeeze_excite/reduce/kernel block2_1/squeeze_excite/reduce/bias
block2_1/squeeze_excite/expand/kernel block2_1/squeeze_excite/expand/bias
block2_1/project/kernel block2_1/project_norm/scale block2_1/project_norm/bias
block2_1/project_norm/mean block2_1/project_norm/var

head/kernel head_norm/scale head_norm/bias head_norm/mean head_norm/var
classifier/kernel classifier/bias
"""

#: What the libraries' own networks say: ``state_dict()``, and the layers of Keras's model.
NAMES = {
    "timm": """
conv_stem.weight bn1.weight bn1.bias bn1.running_mean bn1.running_var

blocks.0.0.conv_dw.weight blocks.0.0.bn1.weight blocks.0.0.bn1.bias
blocks.0.0.bn1.running_mean blocks.0.0.bn1.running_var
blocks.0.0.se.conv_reduce.weight blocks.0.0.se.conv_reduce.bias
blocks.0.0.se.conv_expand.weight blocks.0.0.se.conv_expand.bias
blocks.0.0.conv_pw.weight blocks.0.0.bn2.weight blocks.0.0.bn2.bias
blocks.0.0.bn2.running_mean blocks.0.0.bn2.running_var

blocks.1.0.conv_pw.weight blocks.1.0.bn1.weight blocks.1.0.bn1.bias
blocks.1.0.bn1.running_mean blocks.1.0.bn1.running_var
blocks.1.0.conv_dw.weight blocks.1.0.bn2.weight blocks.1.0.bn2.bias
blocks.1.0.bn2.running_mean blocks.1.0.bn2.running_var
blocks.1.0.se.conv_reduce.weight blocks.1.0.se.conv_reduce.bias
blocks.1.0.se.conv_expand.weight blocks.1.0.se.conv_expand.bias
blocks.1.0.conv_pwl.weight blocks.1.0.bn3.weight blocks.1.0.bn3.bias
blocks.1.0.bn3.running_mean blocks.1.0.bn3.running_var

conv_head.weight bn2.weight bn2.bias bn2.running_mean bn2.running_var
classifier.weight classifier.bias
""",
    "efficientnet_pytorch": """
_conv_stem.weight _bn0.weight _bn0.bias _bn0.running_mean _bn0.running_var

_blocks.0._depthwise_conv.weight _blocks.0._bn1.weight _blocks.0._bn1.bias
_blocks.0._bn1.running_mean _blocks.0._bn1.running_var
_blocks.0._se_reduce.weight _blocks.0._se_reduce.bias
_blocks.0._se_expand.weight _blocks.0._se_expand.bias
_blocks.0._project_conv.weight _blocks.0._bn2.weight _blocks.0._bn2.bias
_blocks.0._bn2.running_mean _blocks.0._bn2.running_var

_blocks.1._expand_conv.weight _blocks.1._bn0.weight _blocks.1._bn0.bias
_blocks.1._bn0.running_mean _blocks.1._bn0.running_var
_blocks.1._depthwise_conv.weight _blocks.1._bn1.weight _blocks.1._bn1.bias
_blocks.1._bn1.running_mean _blocks.1._bn1.running_var
_blocks.1._se_reduce.weight _blocks.1._se_reduce.bias
_blocks.1._se_expand.weight _blocks.1._se_expand.bias
_blocks.1._project_conv.weight _blocks.1._bn2.weight _blocks.1._bn2.bias
_blocks.1._bn2.running_mean _blocks.1._bn2.running_var

_conv_head.weight _bn1.weight _bn1.bias _bn1.running_mean _bn1.running_var
_fc.weight _fc.bias
""",
    "torchvision": """
features.0.0.weight features.0.1.weight features.0.1.bias
features.0.1.running_mean features.0.1.running_var

features.1.0.block.0.0.weight features.1.0.block.0.1.weight features.1.0.block.0.1.bias
features.1.0.block.0.1.running_mean features.1.0.block.0.1.running_var
features.1.0.block.1.fc1.weight features.1.0.block.1.fc1.bias
features.1.0.block.1.fc2.weight features.1.0.block.1.fc2.bias
features.1.0.block.2.0.weight features.1.0.block.2.1.weight features.1.0.block.2.1.bias
features.1.0.block.2.1.running_mean features.1.0.block.2.1.running_var

features.2.0.block.0.0.weight features.2.0.block.0.1.weight features.2.0.block.0.1.bias
features.2.0.block.0.1.running_mean features.2.0.block.0.1.running_var
features.2.0.block.1.0.weight features.2.0.block.1.1.weight features.2.0.block.1.1.bias
features.2.0.block.1.1.running_mean features.2.0.block.1.1.running_var
features.2.0.block.2.fc1.weight features.2.0.block.2.fc1.bias
features.2.0.block.2.fc2.weight features.2.0.block.2.fc2.bias
features.2.0.block.3.0.weight features.2.0.block.3.1.weight features.2.0.block.3.1.bias
features.2.0.block.3.1.running_mean features.2.0.block.3.1.running_var

features.3.0.weight features.3.1.weight features.3.1.bias
features.3.1.running_mean features.3.1.running_var
classifier.1.weight classifier.1.bias
""",
    "keras": """
stem_conv/kernel stem_bn/gamma stem_bn/beta stem_bn/moving_mean stem_bn/moving_variance

block1a_dwconv/depthwise_kernel block1a_bn/gamma block1a_bn/beta
block1a_bn/moving_mean block1a_bn/moving_variance
block1a_se_reduce/kernel block1a_se_reduce/bias
block1a_se_expand/kernel block1a_se_expand/bias
block1a_project_conv/kernel block1a_project_bn/gamma block1a_project_bn/beta
block1a_project_bn/moving_mean block1a_project_bn/moving_variance

block2a_expand_conv/kernel block2a_expand_bn/gamma block2a_expand_bn/beta
block2a_expand_bn/moving_mean block2a_expand_bn/moving_variance
block2a_dwconv/depthwise_kernel block2a_bn/gamma block2a_bn/beta
block2a_bn/moving_mean block2a_bn/moving_variance
block2a_se_reduce/kernel block2a_se_reduce/bias
block2a_se_expand/kernel block2a_se_expand/bias
block2a_project_conv/kernel block2a_project_bn/gamma block2a_project_bn/beta
block2a_project_bn/moving_mean block2a_project_bn/moving_variance

top_conv/kernel top_bn/gamma top_bn/beta top_bn/moving_mean top_bn/moving_variance
predictions/kernel predictions/bias
""",
}

#: Convolutions of B0's blocks, whose rows have 1, 2, 2, 3, 3, 4 and 1 of them; and its last one.
OF_B0 = {
    "block2_2/expand": (
        "blocks.1.1.conv_pw",
        "_blocks.2._expand_conv",
        "features.2.1.block.0.0",
        "block2b_expand_conv",
    ),
    "block4_3/depthwise": (
        "blocks.3.2.conv_dw",
        "_blocks.7._depthwise_conv",
        "features.4.2.block.1.0",
        "block4c_dwconv",
    ),
    "block6_4/squeeze_excite/reduce": (
        "blocks.5.3.se.conv_reduce",
        "_blocks.14._se_reduce",
        "features.6.3.block.2.fc1",
        "block6d_se_reduce",
    ),
    "block7_1/project_norm": (
        "blocks.6.0.bn3",
        "_blocks.15._bn2",
        "features.7.0.block.3.1",
        "block7a_project_bn",
    ),
    "head": ("conv_head", "_conv_head", "features.8.0", "top_conv"),
}
LIBRARIES = ("timm", "efficientnet_pytorch", "torchvision", "keras")


@pytest.fixture(scope="module")
def network():
    """{leaf: array as ours lies}: no two numbers of the network are alike, and all are positive."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda x: EfficientNet(TWO_ROWS).init(jax.random.key(0), x, mode="eval"), images
    )
    found = {
        "/".join(entry.key for entry in path[1:]): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    found |= {"classifier/kernel": (12, CLASSES), "classifier/bias": (CLASSES,)}
    first, arrays = 1, {}
    for name, shape in found.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(first, first + size, dtype=np.float32).reshape(shape)
        first += size
    return arrays


def stored(library, leaf, array):
    """As the library lays out a kernel: PyTorch output channels first, Keras last."""
    if not leaf.endswith("kernel"):
        return array
    if library == "keras":
        return array[..., None] if array.ndim == 3 else array
    if array.ndim == 3:  # depthwise, [k, l, C]
        return np.ascontiguousarray(array.transpose(2, 0, 1)[:, None])
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T)


def write(folder, library, network):
    """A file as the library writes one; PyTorch counts batches beside each normalization."""
    names = dict(zip(NAMES[library].split(), LEAVES.split(), strict=True))
    arrays = {name: stored(library, leaf, network[leaf]) for name, leaf in names.items()}
    if library == "keras":
        with h5py.File(folder / "w.h5", "w") as file:
            for name, array in arrays.items():
                layer = name.split("/")[0]
                file.create_dataset(f"{layer}/{name}:0", data=array)
        return folder / "w.h5"
    for name in list(arrays):
        if name.endswith("running_mean"):
            arrays[name.replace("running_mean", "num_batches_tracked")] = np.array(3)
    safetensors.numpy.save_file(arrays, folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_tensor_of_a_file_goes_where_its_name_says(network, tmp_path, library):
    assert set(network) == set(LEAVES.split())
    file, encoder = write(tmp_path, library, network), EfficientNetEncoder(TWO_ROWS)
    converted, found_library, *_ = pretrained.load(file, encoder)
    assert found_library == library
    found = {
        "/".join(entry.key for entry in path): leaf
        for tree in converted.part
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    found |= dict(zip(("classifier/kernel", "classifier/bias"), converted.classifier, strict=True))
    assert set(found) == set(network)
    for leaf, array in network.items():
        np.testing.assert_array_equal(found[leaf], array, err_msg=leaf)


def test_later_blocks_are_counted_as_each_library_counts():
    b0 = EfficientNetConfig()
    assert tuple(SOURCES) == LIBRARIES
    for module, expected in OF_B0.items():
        names = [module_names(SOURCES[library], b0)[module] for library in LIBRARIES]
        assert tuple(names) == expected
