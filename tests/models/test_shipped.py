"""The detector that the package ships: read back as half precision holds it, and refused where it does not fit."""

import dataclasses
import hashlib
import json

import chex
import jax
import numpy as np
import pytest
import shipped_detector

from piapdf_jax import drawn_detector
from piapdf_jax.models import pretrained, shipped
from piapdf_jax.models.config import part_settings
from piapdf_jax.models.encoder import init_encoder
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.types import Part

NANO = dataclasses.replace(MODELS["nano"], pretrained="drawn")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "drawn"


def halves(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), tree)


def test_an_encoder_starts_from_its_parameters_and_statistics(monkeypatch, folder):
    parts = shipped_detector.installed(monkeypatch, folder)
    config = pretrained.resolve(NANO)
    digest = hashlib.sha256((folder / "parts.npz").read_bytes()).hexdigest()
    assert (config.pretrained, config.pretrained_sha256) == ("drawn", digest)
    started = init_encoder(config, jax.random.key(0))
    chex.assert_trees_all_equal(started, halves(parts["encoder"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(started)} == {np.dtype("float32")}
    chex.assert_trees_all_equal(
        init_part(config, "encoder", jax.random.key(5)), halves(parts["encoder"])
    )
    # Half precision is coarser than what was trained, by at most 2^-11 of a number that it holds.
    chex.assert_trees_all_close(started, parts["encoder"], rtol=2**-11, atol=2**-25)


def test_its_hash_decides_what_the_encoder_is(monkeypatch, folder):
    shipped_detector.installed(monkeypatch, folder)
    one = part_settings(pretrained.resolve(NANO), ["encoder"])
    own = part_settings(pretrained.resolve(MODELS["nano"]), ["encoder"])
    assert {key for key in one if one[key] != own[key]} == {"pretrained_sha256"}
    changed = {"head/params/kernel": np.zeros((32, 3), np.float16)}
    shipped_detector.installed(monkeypatch, folder, **changed)
    other = part_settings(pretrained.resolve(NANO), ["encoder"])
    assert one["pretrained_sha256"] != other["pretrained_sha256"]


def test_twelve_maps_get_a_stem_of_the_gray_picture(monkeypatch, folder):
    parts = shipped_detector.installed(monkeypatch, folder)
    params, _ = init_encoder(pretrained.resolve(NANO), jax.random.key(0), in_channels=12)
    kernel = halves(parts["encoder"])[0]["stem"]["kernel"]
    gray = kernel.sum(axis=2, keepdims=True) / 0.25 / 12
    np.testing.assert_allclose(params["stem"]["kernel"], np.repeat(gray, 12, 2), rtol=1e-5)


def refusal(config):
    with pytest.raises(WeightsError) as error:
        pretrained.resolve(config)
    told = str(error.value)
    assert "\n" not in told and told.startswith("model.pretrained=drawn: ")
    assert told.endswith("; to start from random values: --set model.pretrained=none")
    return told


def test_another_encoder_is_told_both_names(monkeypatch, folder):
    shipped_detector.installed(monkeypatch, folder)
    told = refusal(dataclasses.replace(MODELS["tiny"], pretrained="drawn"))
    assert "has encoder 'nano', model.encoder is 'tiny': use --set model=nano" in told
    told = refusal(dataclasses.replace(NANO, convention="pytorch"))
    assert "is of convention tensorflow, model.convention is pytorch" in told


def test_where_none_is_shipped_the_command_that_writes_one_is_named(monkeypatch, folder):
    monkeypatch.setattr(drawn_detector, "FOLDER", folder)
    told = refusal(NANO)
    assert f"ships no detector ({folder / 'model.json'} is missing)" in told
    assert f"-m experiments.ship EXPORT --out={folder}" in told


def damaged(folder):
    path = folder / "parts.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def gone(folder):
    (folder / "parts.npz").unlink()


def no_hash(folder):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damaged, "its SHA-256 is"), (gone, "No such file"), (no_hash, "does not describe parts.npz")],
)
def test_files_that_do_not_belong_together(monkeypatch, folder, harm, said):
    shipped_detector.installed(monkeypatch, folder)
    harm(folder)
    assert said in refusal(NANO)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder/params/stem/kernel": np.ones((3, 3, 3, 8), np.float32)}, "holds float32"),
        ({"encoder/params/stem/kernel": np.full((3, 3, 3, 8), np.nan, np.float16)}, "not numbers"),
        ({"encoder/params/stem/kernel": np.array([{}], object)}, "allow_pickle=False"),
        ({"encoder/params/stem/kernel": np.ones((3, 3, 3, 7), np.float16)}, "do not fit 'nano'"),
        ({"encoder/params/stem/bias": np.ones(8, np.float16)}, "do not fit 'nano'"),
    ],
)
def test_arrays_that_are_none_of_the_encoder(monkeypatch, folder, changes, said):
    shipped_detector.installed(monkeypatch, folder, **changes)
    assert said in refusal(NANO)


def test_what_is_written_is_read_back(folder):
    folder.mkdir()
    parts = {
        "encoder": Part(
            {"a": {"b": np.float32([1 / 3, -2.0])}}, {"c": {"var": np.float32([1e-3])}}
        ),
        "head": Part({"kernel": np.ones((2, 1), np.float32)}, {}),
    }
    shipped.write_parts(folder / "parts.npz", parts)
    with np.load(folder / "parts.npz") as stored:
        assert {name: str(stored[name].dtype) for name in stored.files} == dict.fromkeys(
            ("encoder/params/a/b", "encoder/batch_stats/c/var", "head/params/kernel"), "float16"
        )
    digest = hashlib.sha256((folder / "parts.npz").read_bytes()).hexdigest()
    found = shipped.read_parts(digest, folder)
    # 1/3 and 1/1000 in half precision, by hand: 1365/4096 and 1049/2^20.
    np.testing.assert_array_equal(found["encoder"][0]["a"]["b"], np.float32([1365 / 4096, -2]))
    np.testing.assert_array_equal(found["encoder"][1]["c"]["var"], np.float32([1049 / 2**20]))
    chex.assert_trees_all_equal(found["head"], parts["head"])


def test_numbers_that_half_precision_does_not_hold(folder):
    folder.mkdir()
    parts = {"encoder": ({"a": np.float32([7e4])}, {})}
    with pytest.raises(ValueError, match=r"encoder/params/a holds numbers that half precision"):
        shipped.write_parts(folder / "parts.npz", parts)
