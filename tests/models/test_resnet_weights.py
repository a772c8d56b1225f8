"""Files of weights of a ResNet: every array goes where its name says, and what a configuration says of them."""

import dataclasses
import json
import logging
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from encoder_variants import resnet_variant

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.encoder import encoder_apply, feature_shape, init_encoder
from piapdf_jax.models.landmark_head import init_landmark_head
from piapdf_jax.models.pretrained import pretrained_classifier, resolve
from piapdf_jax.models.resnet import ResNetConfig
from piapdf_jax.models.resnet_weights import module_names
from piapdf_jax.models.weight_files import WeightsError

WIDTH, CLASSES = 4, 5
SMALL = ModelConfig(encoder=resnet_variant(2, 1, width=WIDTH), encoder_size=40)
#: Of torchvision's ``state_dict`` of such a network, with the shapes of its layers.
CONVOLUTIONS = {
    "conv1": (4, 3, 7, 7),
    "layer1.0.conv1": (4, 4, 1, 1),
    "layer1.0.conv2": (4, 4, 3, 3),
    "layer1.0.conv3": (16, 4, 1, 1),
    "layer1.0.downsample.0": (16, 4, 1, 1),
    "layer1.1.conv1": (4, 16, 1, 1),
    "layer1.1.conv2": (4, 4, 3, 3),
    "layer1.1.conv3": (16, 4, 1, 1),
    "layer2.0.conv1": (8, 16, 1, 1),
    "layer2.0.conv2": (8, 8, 3, 3),
    "layer2.0.conv3": (32, 8, 1, 1),
    "layer2.0.downsample.0": (32, 16, 1, 1),
}
#: Ours: the same layers in the same order.
MODULES = (
    *("stem", "block1_1/reduce", "block1_1/conv", "block1_1/expand", "block1_1/shortcut"),
    *("block1_2/reduce", "block1_2/conv", "block1_2/expand"),
    *("block2_1/reduce", "block2_1/conv", "block2_1/expand", "block2_1/shortcut"),
)


def norm_of(name):
    """bn1 for conv1, and downsample.1 for downsample.0."""
    return re.sub(r"conv(\d)$", r"bn\1", name.replace("downsample.0", "downsample.1"))


def arrays():
    """A file's, all different."""
    rng = np.random.default_rng(0)
    found = {"fc.weight": rng.normal(size=(CLASSES, 32)), "fc.bias": rng.normal(size=CLASSES)}
    for name, shape in CONVOLUTIONS.items():
        found[f"{name}.weight"] = rng.normal(0, 0.3, shape)
        norm = norm_of(name)
        for leaf in ("weight", "bias", "running_mean"):
            found[f"{norm}.{leaf}"] = rng.normal(0, 0.3, shape[0])
        found[f"{norm}.running_var"] = rng.uniform(0.5, 2, shape[0])
    found = {name: array.astype(np.float32) for name, array in found.items()}
    return {**found, "bn1.num_batches_tracked": np.array(7)}


@pytest.fixture(name="file")
def fixture_file(tmp_path):
    safetensors.numpy.save_file(arrays(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def resolved(file, **settings):
    return resolve(dataclasses.replace(SMALL, pretrained=str(file), **settings))


def test_every_array_goes_where_its_name_says(file):
    config = resolved(file)
    params, stats = init_encoder(config, jax.random.key(0))
    wanted_params, wanted_stats, stored = {}, {}, arrays()
    for ours, theirs in zip(MODULES, CONVOLUTIONS, strict=True):
        norm = norm_of(theirs)
        wanted_params[f"{ours}/kernel"] = stored[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        wanted_params[f"{ours}_norm/scale"] = stored[f"{norm}.weight"]
        wanted_params[f"{ours}_norm/bias"] = stored[f"{norm}.bias"]
        wanted_stats[f"{ours}_norm/mean"] = stored[f"{norm}.running_mean"]
        wanted_stats[f"{ours}_norm/var"] = stored[f"{norm}.running_var"]
    for found, wanted in ((params, wanted_params), (stats, wanted_stats)):
        leaves = jax.tree_util.tree_leaves_with_path(found)
        flat = {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
        assert set(flat) == set(wanted)
        for name, leaf in flat.items():
            np.testing.assert_array_equal(leaf, wanted[name], err_msg=name)
    classifier = pretrained_classifier(config)
    assert classifier is not None
    np.testing.assert_array_equal(classifier[0], stored["fc.weight"].T)
    np.testing.assert_array_equal(classifier[1], stored["fc.bias"])


def test_the_numbers_before_landmarks_start_as_the_files_classes(file):
    config, stored = resolved(file), arrays()
    classes, features = stored["fc.weight"].shape
    for wanted in (classes, classes + 1):
        params, _ = init_landmark_head(config, jax.random.key(1), features=features, classes=wanted)
        first = params["classes"]
        assert first["kernel"].shape == (features, wanted)
        assert params["regression"]["kernel"].shape == (wanted, 136)
        if wanted == classes:
            np.testing.assert_array_equal(first["kernel"], stored["fc.weight"].T)
            np.testing.assert_array_equal(first["bias"], stored["fc.bias"])
        else:  # a layer of another length is drawn, with no bias at its start
            assert not np.any(first["bias"]) and np.std(first["kernel"]) > 0


def test_names_of_resnet50_at_the_end_of_its_stages():
    names = module_names(ResNetConfig())
    # 1 stem, 16 blocks of 3 convolutions, 4 shortcuts, each with its norm, and the classifier
    assert len(names) == len(set(names.values())) == 2 * (1 + 16 * 3 + 4) + 1
    assert names["block3_6/expand_norm"] == "layer3.5.bn3"
    assert names["block4_1/shortcut"] == "layer4.0.downsample.0"
    assert "block4_2/shortcut" not in names


def test_the_encoder_runs_in_an_experiments_sizes(file):
    config = resolved(file)
    assert config.convention == "pytorch"
    part = init_encoder(config, jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 40, 40, 3)), jnp.float32)
    features, vector, _ = encoder_apply(config, part, images, mode="eval")
    # 40, 20, 10, 5
    assert features.shape == (2, 5, 5, 32) == (2, *feature_shape(config))
    np.testing.assert_allclose(vector, np.mean(features, (1, 2)), rtol=1e-5)


def test_twelve_open_maps_look_like_the_gray_picture(file):
    """Behind the stem and its BatchNorm, away from the edge."""
    config = resolved(file)
    (rgb, rgb_stats), (maps, maps_stats) = (
        init_encoder(config, jax.random.key(0), in_channels=channels) for channels in (3, 12)
    )
    gray = np.random.default_rng(0).uniform(size=(7, 7))
    mean, std = (np.asarray(values) for values in config.normalization)
    seen = np.einsum("uvc,uvcd->d", (gray[..., None] - mean) / std, rgb["stem"]["kernel"])
    open_maps = np.einsum("uv,uvcd->d", gray, maps["stem"]["kernel"])
    assert maps["stem"]["kernel"].shape == (7, 7, 12, WIDTH)
    np.testing.assert_allclose(
        open_maps - maps_stats["stem_norm"]["mean"],
        seen - rgb_stats["stem_norm"]["mean"],
        rtol=1e-4,
        atol=1e-4,
    )
    del rgb["stem"], maps["stem"]
    chex.assert_trees_all_equal(rgb, maps)


def test_another_network_is_refused_in_one_line(tmp_path):
    stored = arrays()
    stored["layer1.0.conv2.weight"] = np.ones((4, 2, 3, 3), np.float32)  # as of groups
    stored["layer1.0.se.fc1.weight"] = np.ones(3, np.float32)
    del stored["layer2.0.conv3.weight"]
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(stored, path)
    with pytest.raises(WeightsError) as told:
        resolved(path)
    for part in (
        str(path),
        "1 missing (layer2.0.conv3.weight)",
        "1 unexpected (layer1.0.se.fc1.weight)",
        "layer1.0.conv2.weight has shape (4, 2, 3, 3), not (4, 4, 3, 3)",
        "model.pretrained=none",
    ):
        assert part in str(told.value), part
    stored = {name.replace("conv1.", "conv1.0."): array for name, array in stored.items()}
    safetensors.numpy.save_file(stored, path)
    with pytest.raises(WeightsError, match="its names match none of torchvision: it holds no stem"):
        resolved(path)


@pytest.mark.parametrize(
    ("architecture", "known"),
    [("resnet50", True), ("resnet50.a1_in1k", True), ("resnetaa50", False), ("resnet101", False)],
)
def test_a_description_of_another_network_is_not_used(tmp_path, caplog, architecture, known):
    from piapdf_jax.models.weight_origin import origin

    told = {"architecture": architecture, "mean": [0.5] * 3, "std": [0.25] * 3}
    (tmp_path / "config.json").write_text(json.dumps(told))
    weights = encoder_of(ModelConfig(encoder="resnet50")).weights
    with caplog.at_level(logging.WARNING):
        found = origin(tmp_path / "w.safetensors", "", "torchvision", {}, weights)
    assert found.convention == "pytorch"
    assert found.mean == ((0.5,) * 3 if known else None)
    assert caplog.text.count("is not ResNet-50") == (not known)


def test_files_are_published_of_resnet50_alone():
    published = encoder_of(ModelConfig(encoder="resnet50")).weights.published
    assert list(published) == ["imagenet", "imagenet-torchvision-v2", "imagenet-timm"]
    for name, digits in zip(published, ("0676ba61", "11ad3fa6", "14fe96d1"), strict=True):
        assert published[name].pin == f"sha256:{digits}"
        assert published[name].url.endswith(f"-{digits}.pth")
    assert not encoder_of(SMALL).weights.published


def test_padding_and_batch_norm_of_another_library_are_refused():
    with pytest.raises(ValueError, match="model.convention=tensorflow: a ResNet has PyTorch's"):
        encoder_of(ModelConfig(encoder="resnet50", convention="tensorflow"))
    config = ModelConfig(
        encoder="resnet50", convention="pytorch", bn_momentum=0.5, stochastic_depth=0.1
    )
    assert encoder_of(config).config == ResNetConfig(bn_momentum=0.5, stochastic_depth=0.1)
