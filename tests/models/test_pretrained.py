"""Weights out of files: formats, names, shapes, hashes, downloads, and what is refused."""

import dataclasses
import functools
import http.server
import os
import pickle
import threading

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from piapdf_jax.models import efficientnet_weights, pretrained, weight_files
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.efficientnet import EfficientNet
from piapdf_jax.models.parameters import initialize
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.types import Part

#: Seven rows, as the published networks have, one block each.
SMALL = dataclasses.replace(MODELS["tiny"], mean=None, std=None, bn_momentum=None)
LIBRARIES = encoder_of(SMALL).weights.libraries


@pytest.fixture(scope="module")
def variables():
    """An encoder's, with drawn statistics."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    made = initialize(encoder_of(SMALL).module, jax.random.key(0), images, mode="eval")
    rng = np.random.default_rng(0)
    stats = jax.tree.map(
        lambda x: rng.uniform(0.5, 2, x.shape).astype(np.float32), made["batch_stats"]
    )
    return {"params": jax.tree.map(np.asarray, made["params"]), "batch_stats": stats}


def theirs(variables, library):
    """The same as a library would store it: written by hand, layer by layer."""
    source, found = LIBRARIES[library], {}
    names = source.modules
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, *module, name = (entry.key for entry in path)
        norm = module[-1].endswith("norm")
        leaves = source.norm_leaves if norm else source.leaves
        if library == "keras":
            array = leaf[..., None] if leaf.ndim == 3 else leaf
        elif leaf.ndim == 4:
            array = np.moveaxis(leaf, (3, 2), (0, 1))
        else:
            array = np.moveaxis(leaf, 2, 0)[:, None] if leaf.ndim == 3 else leaf
        found[names["/".join(module)] + source.separator + leaves[name]] = np.ascontiguousarray(
            array
        )
    return found


def write_keras(path, arrays, extra=None):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, leaf = name.split("/")
            leaf = "depthwise_kernel" if "dwconv" in layer else leaf
            file.create_dataset(f"{layer}/{layer}/{leaf}:0", data=array)
        for name, array in (extra or {}).items():
            file.create_dataset(f"normalization_3/normalization_3/{name}:0", data=array)


@pytest.fixture
def timm(variables, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(theirs(variables, "timm"), path)
    return path


def resolved(path, **settings):
    return pretrained.resolve(dataclasses.replace(SMALL, pretrained=str(path), **settings))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_leaf_comes_back(variables, tmp_path, library):
    arrays = theirs(variables, library)
    path = tmp_path / ("w.h5" if library == "keras" else "w.safetensors")
    if library == "keras":
        write_keras(path, arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    asked = {"convention": "pytorch"} if library == "timm" else {}
    config = resolved(path, **asked)
    assert config.convention == (LIBRARIES[library].convention or "pytorch")
    part = init_part(config, "encoder", jax.random.key(0))
    wanted = Part(variables["params"], variables["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, part, wanted)


@pytest.mark.parametrize(
    ("variance", "std"),
    [((0.229, 0.224, 0.225), (0.229, 0.224, 0.225)), ((0.25, 0.04, 1.0), (0.5, 0.2, 1.0))],
)
def test_normalization_follows_a_keras_file(variables, tmp_path, variance, std):
    """The published files store the standard deviation under the name of a variance."""
    extra = {
        "mean": np.float32([0.1, 0.2, 0.3]),
        "variance": np.float32(variance),
        "count": np.int64(0),
    }
    write_keras(tmp_path / "w.h5", theirs(variables, "keras"), extra)
    config = resolved(tmp_path / "w.h5")
    np.testing.assert_allclose(config.normalization, [(0.1, 0.2, 0.3), std], rtol=1e-6)


def test_settings_of_the_user_stay(timm):
    config = dataclasses.replace(SMALL, pretrained=str(timm), mean=(0.5,) * 3, convention="pytorch")
    found = pretrained.resolve(config)
    assert found.mean == (0.5,) * 3 and found.convention == "pytorch"
    assert found.std == ModelConfig().normalization[1]


def test_missing_unexpected_and_misshaped_are_named(variables, tmp_path):
    arrays = theirs(variables, "timm")
    arrays["blocks.9.0.conv_pw.weight"] = arrays.pop("conv_head.weight")
    arrays["conv_stem.weight"] = arrays["conv_stem.weight"][:, :1]
    arrays["bn1.running_var"] = -arrays["bn1.running_var"]
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as told:
        resolved(tmp_path / "w.safetensors")
    for part in (
        "1 missing (conv_head.weight)",
        "1 unexpected (blocks.9.0.conv_pw.weight)",
        "conv_stem.weight has shape (8, 1, 3, 3), not (8, 3, 3, 3)",
        "bn1.running_var holds",
        "--set model.pretrained=none",
        "w.safetensors",
    ):
        assert part in str(told.value), part


@pytest.mark.parametrize("kind", ["safetensors", "h5"])
def test_truncated_files_are_refused(variables, timm, tmp_path, kind):
    path = timm
    if kind == "h5":
        path = tmp_path / "w.h5"
        write_keras(path, theirs(variables, "keras"))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsError, match=f"cannot be read as {kind}"):
        resolved(path)


def test_a_header_whose_length_begins_as_a_pickle_does(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x180)
    content = len(header).to_bytes(8, "little") + header + np.float32(7).tobytes()
    assert content.startswith(b"\x80")
    (tmp_path / "w.safetensors").write_bytes(content)
    assert weight_files.read_arrays(tmp_path / "w.safetensors") == {"a": 7.0}


class Hostile:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".npz"])
def test_a_pickle_under_another_name_is_not_run(tmp_path, suffix):
    path, trap = tmp_path / f"w{suffix}", tmp_path / "trap"
    path.write_bytes(pickle.dumps(Hostile(str(trap))))
    with pytest.raises(WeightsError):
        resolved(path)
    assert not trap.exists()


def test_links_out_of_an_h5_file_are_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["stem_conv"] = h5py.ExternalLink("/etc/hostname", "x")
    with pytest.raises(WeightsError, match="links to another place"):
        resolved(tmp_path / "w.h5")


def test_a_file_that_changes_or_was_not_looked_up_is_refused(timm):
    config = resolved(timm, convention="pytorch")
    with pytest.raises(ValueError, match="has not been looked up"):
        init_part(dataclasses.replace(config, pretrained_sha256=""), "encoder", jax.random.key(0))
    with pytest.raises(WeightsError, match="changed"):
        init_part(dataclasses.replace(config, pretrained_sha256="0"), "encoder", jax.random.key(0))


def test_twelve_open_maps_look_like_the_gray_picture(timm):
    """The stem's answer to a gray picture seen through open maps is RGB's, but for the edge."""
    config = resolved(timm, convention="tensorflow_ported")
    make = functools.partial(init_part, config, "encoder", jax.random.key(0))
    gray = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 16, 16, 1)), jnp.float32)
    mean, std = (jnp.asarray(x, jnp.float32)[None, None, None] for x in config.normalization)
    stem = EfficientNet(dataclasses.replace(encoder_of(config).config, rows=0, features=8))

    def answer(part, images):
        params, stats = ({k: tree[k] for k in ("stem", "stem_norm") if k in tree} for tree in part)
        _, seen = stem.apply(
            {"params": {**params, **HEAD[0]}, "batch_stats": {**stats, **HEAD[1]}},
            images,
            mode="eval",
            capture_intermediates=lambda module, _: module.name == "stem_norm",
            mutable=["intermediates"],
        )
        return seen["intermediates"]["stem_norm"]["__call__"][0]

    rgb = answer(make(in_channels=3), (jnp.repeat(gray, 3, -1) - mean) / std)
    maps = answer(make(in_channels=12), jnp.repeat(gray, 12, -1))
    np.testing.assert_allclose(maps[:, :-1, :-1], rgb[:, :-1, :-1], rtol=1e-4, atol=1e-4)
    assert np.abs(rgb).max() > 0.1


HEAD = (
    {
        "head": {"kernel": jnp.zeros((1, 1, 8, 8))},
        "head_norm": {"scale": jnp.ones(8), "bias": jnp.zeros(8)},
    },
    {"head_norm": {"mean": jnp.zeros(8), "var": jnp.ones(8)}},
)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a file by ranges, and breaks off the first answer in its middle."""

    content = bytes(range(256)) * 1000
    ranges: list[str | None] = []

    def do_GET(self):
        asked = self.headers["Range"]
        self.ranges.append(asked)
        start = int(asked[6:-1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : None if asked else 1 << 17])

    def log_message(self, *args):
        pass


def test_downloads_go_on_where_they_stopped_and_are_pinned(tmp_path, monkeypatch):
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", str(tmp_path))
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/w.bin"
    digest = weight_files.hashlib.sha256(Server.content).hexdigest()
    known = {"test": weight_files.Published(url, f"sha256:{digest[:8]}", "pytorch", ("free", url))}
    try:
        with pytest.raises(WeightsError, match="cannot download"):
            weight_files.locate("test", known)
        path = weight_files.locate("test", known)
        assert path.read_bytes() == Server.content
        assert Server.ranges == [None, "bytes=131072-"]
        assert weight_files.locate("test", known) == path and len(Server.ranges) == 2
    finally:
        server.shutdown()
        server.server_close()
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"not the file .* delete it"):
        weight_files.locate("test", known)


def test_without_network_the_error_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", str(tmp_path))
    published = efficientnet_weights.PUBLISHED
    url = "http://127.0.0.1:9/efficientnetb1_notop.h5"
    monkeypatch.setitem(published, "imagenet", published["imagenet"]._replace(url=url))
    with pytest.raises(WeightsError) as told:
        pretrained.resolve(dataclasses.replace(MODELS["b1"], pretrained="imagenet"))
    assert f"put that file at {tmp_path / 'efficientnetb1_notop.h5'}" in str(told.value)
    assert "--set model.pretrained=none" in str(told.value) and "\n" not in str(told.value)


def test_none_fills_in_what_is_left_open():
    config = pretrained.resolve(MODELS["b1"])
    assert config.convention == "tensorflow" and config.pretrained_sha256 == ""
    assert config.mean == (0.485, 0.456, 0.406)
    assert encoder_of(MODELS["b1"]).config.convention == "tensorflow"


@pytest.mark.parametrize(
    ("home", "variable", "where"),
    [
        ("{here}/home", "", "home/.cache/piapdf_jax/weights"),
        ("{here}/home", "~/w", "home/w"),
        ("", "{here}/w", "w"),
    ],
)
def test_downloads_lie_where_variables_say(tmp_path, monkeypatch, home, variable, where):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home.format(here=tmp_path))
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", variable.format(here=tmp_path))
    assert weight_files.cache_folder() == tmp_path / where


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("gs://b/w", "PIAPDF_WEIGHTS_DIR=gs://b/w is not a path on this machine"),
        ("~/w", "no home directory is known .* name a folder in PIAPDF_WEIGHTS_DIR"),
        ("", "no home directory is known .* name a folder in PIAPDF_WEIGHTS_DIR"),
    ],
)
def test_a_folder_of_downloads_that_cannot_be_is_told(monkeypatch, variable, said):
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", variable)
    with pytest.raises(WeightsError, match=said):
        weight_files.locate("imagenet", efficientnet_weights.PUBLISHED)


def test_a_file_of_weights_is_looked_for_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.safetensors").write_bytes(b"")
    assert weight_files.locate("~/w.safetensors", {}) == (tmp_path / "w.safetensors").resolve()
    for name, said in {"gs://b/w": "not a path on this", "~/no": "neither a file nor one"}.items():
        with pytest.raises(WeightsError, match=said):
            weight_files.locate(name, {})
    monkeypatch.setenv("HOME", "")
    with pytest.raises(WeightsError, match="no home directory is known"):
        weight_files.locate("~/w.safetensors", {})


def test_a_shared_folder_that_is_read_only_serves_what_lies_in_it(small_disk, monkeypatch):
    where, remount = small_disk
    (where / "w.h5").write_bytes(b"weights")
    # echo -n weights | md5sum
    known = weight_files.Published(
        "http://127.0.0.1:9/w.h5", "md5:63f4f1e9b725370f459720575cd5f953", "tensorflow", ("", "")
    )
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", str(where))
    remount("ro")
    assert weight_files.locate("imagenet", {"imagenet": known}) == where / "w.h5"
    monkeypatch.setenv("PIAPDF_WEIGHTS_DIR", str(where / "new"))
    with pytest.raises(WeightsError, match="Read-only file system.*put that file at"):
        weight_files.locate("imagenet", {"imagenet": known})
