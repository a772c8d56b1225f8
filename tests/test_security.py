"""Nothing that is read from disk is unpickled or run, and no name in it leads to other files."""

import ast
import json
import pathlib
import pickle
import shutil
import struct
import sys

import h5py
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from hostile import Mark

from experiments import scoring
from piapdf_jax.models import weight_files
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.runtime import exports, orbax_files
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.digests import tree_digest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def mark(tmp_path):
    """A file that must not come to be."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists()


def test_the_mark_is_made_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Mark(tmp_path / "made")))
    assert (tmp_path / "made").exists()


# -- files of weights


def virtual(file, secret):
    layout = h5py.VirtualLayout((2, 2), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "conv/kernel:0", shape=(2, 2))
    file.create_virtual_dataset("conv/kernel:0", layout)


def link_in_a_group(file, secret):
    file["conv/kernel:0"] = h5py.ExternalLink(str(secret), "/conv/kernel:0")


def root_link(file, secret):
    file["model_weights"] = h5py.ExternalLink(str(secret), "/")


def storage(file, secret):
    where = [(str(secret), 0, 8)]
    file.create_dataset("conv/kernel:0", (8,), "u1", external=where)


def soft_link(file, secret):
    file["model_weights"] = h5py.SoftLink("/elsewhere")
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/")


@pytest.mark.parametrize("make", [virtual, link_in_a_group, root_link, storage, soft_link])
def test_h5_weights_that_lead_to_another_file_are_refused(tmp_path, make):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["conv/kernel:0"] = np.ones((2, 2))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        make(file, tmp_path / "secret.h5")
    with pytest.raises(WeightsError, match=r"w\.h5 (links to another place|keeps .* in another)"):
        weight_files.read_arrays(tmp_path / "w.h5")


def test_h5_weights_within_themselves_come_to_an_end(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("a")
        group["a"] = group
    with pytest.raises(WeightsError, match=r"w\.h5 cannot be read"):
        weight_files.read_arrays(tmp_path / "w.h5")


@pytest.mark.parametrize("version", ["2.5.1+cpu", "2.9.1", "1.13.0"])
def test_torch_with_a_broken_guard_reads_no_file(tmp_path, monkeypatch, version):
    class Torch:
        __version__ = version

        def load(self, *_, **__):
            pytest.fail("it was asked to read")

    monkeypatch.setitem(sys.modules, "torch", Torch())
    (tmp_path / "w.pth").write_bytes(pickle.dumps({}))
    with pytest.raises(
        WeightsError, match=r"w\.pth is not read with torch .* install torch>=2\.10"
    ):
        weight_files.read_arrays(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("missing", "name", "content", "ends"),
    [
        ("torch", "w.pth", pickle.dumps({}), "pip install torch"),
        ("h5py", "w.h5", b"\x89HDF\r\n\x1a\n", r"install .*h5py.*"),
    ],
    ids=["torch", "h5py"],
)
def test_the_command_that_brings_a_reader_of_weights_is_told(
    tmp_path, monkeypatch, missing, name, content, ends
):
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights in this form need {missing}: .*{ends}$"):
        weight_files.read_arrays(tmp_path / name)


@pytest.mark.parametrize("ends", [[0, 1 << 40], [8, 0], [-8, 0], [0, 4]])
def test_safetensors_with_offsets_outside_the_file_are_refused(tmp_path, ends):
    path = tmp_path / "w.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": ends}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(WeightsError, match=r"w\.safetensors cannot be read"):
        weight_files.read_arrays(path)
    safetensors.numpy.save_file({"w": np.zeros(2, np.float32)}, path)
    assert weight_files.read_arrays(path)["w"].shape == (2,)


# -- exports and checkpoints


@pytest.fixture
def export(tmp_path):
    parts = {"encoder": ({"conv": jnp.ones(3)}, {})}
    return exports.write_export(tmp_path / "runs", "pi1", "abc", parts, {})


def test_names_in_an_export_that_lead_out_of_it_are_refused(tmp_path, export):
    secret = {"secret": jnp.arange(5.0)}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(tmp_path / "outside", secret)
    path, name = export / "parts" / "_METADATA", str(tmp_path / "outside" / "secret")
    leaf = {
        "key_metadata": [{"key": name, "key_type": 2}],
        "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False},
    }
    told = {**json.loads(path.read_text()), "tree_metadata": {f"('{name}',)": leaf}}
    for name in ("manifest.ocdbt", "d", "ocdbt.process_0"):
        shutil.rmtree(export / "parts" / name, ignore_errors=True)
        (export / "parts" / name).unlink(missing_ok=True)
    path.write_text(json.dumps({**told, "use_ocdbt": False}))
    # Orbax by itself reads the file outside.
    assert tree_digest(list(orbax_files.restore(export / "parts").values())) == (
        tree_digest(list(secret.values()))
    )
    for ocdbt, reason in ((False, "not of the format"), (True, "names a part")):
        path.write_text(json.dumps({**told, "use_ocdbt": ocdbt}))
        with pytest.raises(
            ValueError, match=f"export {export} cannot be read.*_METADATA.*{reason}"
        ):
            exports.read_export(export)


def test_links_in_an_export_are_refused(tmp_path, export):
    shutil.move(export / "parts" / "d", tmp_path / "d")
    (export / "parts" / "d").symlink_to(tmp_path / "d")
    with pytest.raises(ValueError, match=f"export {export} cannot be read.*is a link"):
        exports.read_export(export)


def spoil(folder, mark):
    """A pickle in the place of every file of a checkpoint."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(pickle.dumps(Mark(mark)))


def test_pickles_in_an_export_are_not_unpickled(export, mark):
    spoil(export / "parts", mark)
    with pytest.raises(ValueError, match=f"export {export} cannot be read"):
        exports.read_export(export)
    spoil(export, mark)
    with pytest.raises(ValueError, match=f"export {export} cannot be read"):
        exports.read_export(export)


def test_pickles_in_a_checkpoint_are_not_unpickled(tmp_path, mark):
    state = {"w": jnp.ones(3)}
    with Checkpoints(tmp_path / "c", every=1, config={"a": 1}) as checkpoints:
        checkpoints.save(1, state, {})
    for item in ("state", "meta"):
        spoil(tmp_path / "c" / "1" / item, mark)
    with Checkpoints(tmp_path / "c", every=1, config={"a": 1}) as checkpoints:
        assert checkpoints.restore_latest(state) is None
    assert (tmp_path / "c" / "1.unreadable").is_dir()


def test_handlers_that_a_checkpoint_names_are_not_imported(tmp_path, mark, monkeypatch, export):
    (tmp_path / "hostile_handler.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = export / "parts" / "_CHECKPOINT_METADATA"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "item_handlers": "hostile_handler.Handler"}))
    read, _ = exports.read_export(export)
    np.testing.assert_array_equal(read["encoder"][0]["conv"], np.ones(3))


# -- tables, and the sources themselves


def test_true_labels_are_not_unpickled(tmp_path, mark):
    table = {"frame": np.array([1]), "subject": np.array(["F001"]), "task": np.array(["T1"])}
    objects = np.array([Mark(mark)], object)
    np.savez(tmp_path / "truth.npz", **{**table, "label_aus": np.array([1]), "clean": objects})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        scoring.true_labels(tmp_path / "truth.npz", table, (1,))
    (tmp_path / "truth.npz").write_bytes(pickle.dumps(Mark(mark)))
    with pytest.raises(ValueError, match="pickle"):
        scoring.true_labels(tmp_path / "truth.npz", table, (1,))


MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
MODULES |= {"tarfile", "zipfile", "runpy", "code"}
CALLS = {"eval", "exec", "compile", "__import__", "extractall", "unpack_archive", "system", "popen"}


def unsafe(source: str) -> list[str]:
    """What a source uses that could run or unpack what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [name for name in names if name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            settings = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in CALLS and owner in ("", "os", "builtins", "shutil"):
                found.append(name)
            if (owner in ("np", "numpy") and name == "load") or name == "NpzFile":
                found += [] if settings.get("allow_pickle") == "False" else [name]
            if owner == "torch" and name == "load":
                found += [] if settings.get("weights_only") == "True" else [name]
            if name == "builder_from_directory" and "validate_tfds_dir" not in ast.unparse(node):
                found.append(name)
    return found


def test_no_source_unpickles_or_unpacks_what_it_reads():
    packages = ("piapdf_jax", "data_builders", "experiments", "benchmarks")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text()) for path in sources}
    # It writes an archive of one file that is stored as it is, and refuses any other.
    assert found.pop("piapdf_jax/export/litert_file.py") == ["zipfile"]
    assert not {path: what for path, what in found.items() if what}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from yaml import load", "eval('1')", "np.load(p)", "import tarfile as t",
     "np.load(p, allow_pickle=True)", "torch.load(p)", "shutil.unpack_archive(p)",
     "tfds.builder_from_directory(p)", "__import__('x')", "os.system('x')"],
)  # fmt: skip
def test_a_source_that_does_is_found(source):
    assert unsafe(source)
