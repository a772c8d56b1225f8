"""What a file of weights does not say by its names: convention and normalization, told or asked for, never guessed."""

import dataclasses
import json
import logging

import pytest
import safetensors.numpy
from test_pretrained import SMALL, resolved, theirs, variables  # noqa: F401

from piapdf_jax.models import weight_files
from piapdf_jax.models.config import encoder_of
from piapdf_jax.models.efficientnet_encoder import ENCODERS
from piapdf_jax.models.efficientnet_weights import PUBLISHED
from piapdf_jax.models.encoders import EncoderSettings
from piapdf_jax.models.layers import CONVENTIONS
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.models.weight_origin import origin


def weights(name):
    return ENCODERS[name](EncoderSettings()).weights


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def file(variables, tmp_path):  # noqa: F811
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(theirs(variables, "timm"), path)
    return path


def describe(file, **told):
    file.with_name("config.json").write_text(json.dumps(told))


def test_names_that_two_networks_share_are_asked_about_in_one_line(file):
    with pytest.raises(WeightsError) as told:
        resolved(file)
    for part in (
        *("model.convention=pytorch", "model.convention=tensorflow_ported", "config.json"),
        *("model.pretrained=none", str(file), "efficientnet_b*"),
    ):
        assert part in str(told.value), part
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("convention", ["pytorch", "tensorflow_ported", "tensorflow"])
def test_the_answer_is_taken_and_the_normalization_said(file, caplog, convention):
    with caplog.at_level(logging.WARNING):
        found = resolved(file, convention=convention)
    assert found.convention == convention and found.normalization == IMAGENET
    (line,) = (record.getMessage() for record in caplog.records)
    assert str(file) in line and "model.mean and model.std" in line


@pytest.mark.parametrize(
    ("architecture", "convention"),
    [
        # timm's models/efficientnet.py: bn_eps and pad_type are set by its tf_ constructors alone.
        ("efficientnet_b1", "pytorch"),
        ("efficientnet_b0.ra4_e3600_r224_in1k", "pytorch"),
        ("tf_efficientnet_b1", "tensorflow_ported"),
        ("tf_efficientnet_b1_ap", "tensorflow_ported"),
        ("tf_efficientnet_b7.ns_jft_in1k", "tensorflow_ported"),
    ],
)
def test_a_description_beside_it_says_which(file, caplog, architecture, convention):
    half = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "tag": "x"}
    describe(file, architecture=architecture, num_classes=1000, pretrained_cfg=half)
    with caplog.at_level(logging.WARNING):
        found = resolved(file)
    assert found.convention == convention and not caplog.records
    assert found.normalization == ((0.5,) * 3, (0.5,) * 3)
    # Older ones have everything on top; what the user sets comes first.
    describe(file, architecture=architecture, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    found = resolved(file, std=(0.7, 0.8, 0.9), convention="tensorflow")
    assert found.convention == "tensorflow"
    assert found.normalization == ((0.1, 0.2, 0.3), (0.7, 0.8, 0.9))


@pytest.mark.parametrize(
    "architecture", [None, 3, "resnet50", "efficientnet_b1_pruned", "efficientnet_lite1", "xtf_efficientnet_b1"]
)  # fmt: skip
def test_an_architecture_that_is_not_known_says_nothing(file, caplog, architecture):
    describe(file, architecture=architecture, mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(WeightsError, match=r"model\.convention=pytorch"):
        resolved(file)
    with caplog.at_level(logging.WARNING):
        assert resolved(file, convention="pytorch").normalization == IMAGENET
    assert f"{file.with_name('config.json')} is not used" in caplog.text


@pytest.mark.parametrize(
    ("architecture", "known"), [("tf_efficientnet_b1", "tensorflow_ported"), ("tf_efficientnet_b3", None)]
)  # fmt: skip
def test_a_description_of_another_size_is_not_of_this_file(file, caplog, architecture, known):
    describe(file, architecture=architecture)
    with caplog.at_level(logging.WARNING):
        assert origin(file, "", "timm", {}, weights("b1")).convention == known
    assert ("is not EfficientNet-B1" in caplog.text) == (known is None)


def test_a_convention_that_contradicts_the_file_is_said(file, caplog):
    describe(file, architecture="tf_efficientnet_b1", mean=[0.5] * 3, std=[0.5] * 3)
    with caplog.at_level(logging.WARNING):
        assert resolved(file, convention="pytorch").convention == "pytorch"
    assert "whose network has convention tensorflow_ported" in caplog.text


@pytest.mark.parametrize(
    ("size", "epsilon"), [("b0", 1e-5), ("b4", 1e-5), ("b5", 1e-3), ("b7", 1e-3)]
)
def test_torchvisions_large_networks_have_another_epsilon(tmp_path, size, epsilon):
    """torchvision 0.29, models/efficientnet.py: b5, b6 and b7 are built with eps=0.001, momentum=0.01."""
    found = origin(tmp_path / "w.pth", "", "torchvision", {}, weights(size)).convention
    assert CONVENTIONS[found].epsilon == epsilon and CONVENTIONS[found].padding == "SYMMETRIC"
    assert CONVENTIONS[found].momentum == pytest.approx(0.99 if epsilon == 1e-3 else 0.9)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[1]", '"efficientnet_b1"', '{"mean": 3}', '{"std": [0.1, 0.2]}',
        '{"std": [0.1, 0.2, 0]}', '{"mean": [1, 2, NaN]}', '{"mean": [0.1, "x", 0.2]}',
        '{"pretrained_cfg": {"std": [0.1, -0.2, 0.3]}}', '{"mean": [123.7, 116.3, 103.5]}',
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_named(file, text):
    path = file.with_name("config.json")
    path.write_text(text)
    with pytest.raises(WeightsError) as told:
        resolved(file, convention="pytorch")
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_a_published_file_is_known_by_its_hash_wherever_it_lies(file):
    digest = weight_files.file_hash(file)
    known = PUBLISHED["imagenet-timm"]._replace(pin=f"sha256:{digest[:8]}")
    for published, convention in (({"known": known}, "tensorflow_ported"), ({}, None)):
        theirs = weights("b1")._replace(published=published)
        assert origin(file, digest, "timm", {}, theirs).convention == convention


def test_published_names_keep_their_convention():
    """tf_ networks pad as TensorFlow does; torchvision's do as PyTorch does."""
    found = {name: known.convention for name, known in PUBLISHED.items()}
    assert found == {
        "imagenet": "tensorflow",
        "imagenet-timm": "tensorflow_ported",
        "imagenet-torchvision": "pytorch",
    }


@pytest.mark.parametrize(
    ("library", "convention"),
    [("efficientnet_pytorch", "tensorflow_ported"), ("torchvision", "pytorch")],
)
def test_names_of_one_convention_are_enough(variables, tmp_path, library, convention):  # noqa: F811
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(theirs(variables, library), path)
    assert resolved(path).convention == convention
    # A description of another network changes nothing of that, its normalization counts.
    other = {"tensorflow_ported": "efficientnet_b1", "pytorch": "tf_efficientnet_b1"}[convention]
    describe(path, architecture=other, mean=[0.5] * 3, std=[0.5] * 3)
    found = resolved(path)
    assert found.convention == convention and found.mean == (0.5,) * 3


def test_a_convention_is_part_of_what_an_encoder_is(file):
    settings = [
        dataclasses.asdict(resolved(file, convention=name)) for name in ("pytorch", "tensorflow")
    ]
    assert settings[0] != settings[1]
    found = encoder_of(resolved(file, convention="pytorch"))
    assert found.config.conventions.epsilon == 1e-5
    assert origin(file, "", "timm", {}, weights("b0")).convention is None
