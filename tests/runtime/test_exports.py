import json
import os
import shutil
import textwrap

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from piapdf_jax.runtime import exports
from piapdf_jax.runtime.digests import digest_of, source_digest, tree_digest
from piapdf_jax.types import Part


def parts(scale=1.0):
    return {
        "encoder": Part(
            {"conv": {"kernel": scale * jnp.arange(6.0).reshape(2, 3)}, "gate": {}},
            {"mean": jnp.ones(3, jnp.bfloat16), "count": jnp.int32(4)},
        ),
        "head": Part({"bias": jnp.float32(-0.0)}, {}),
    }


def test_export_comes_back_bitwise_without_a_target(tmp_path):
    path = exports.write_export(tmp_path, "pi1", "abc", parts(), {"report": {"steps": 3}})
    assert path == tmp_path / "exports" / "pi1" / "abc"
    assert exports.find_export(tmp_path, "pi1", "abc") == path
    read, info = exports.read_export(path)
    assert jax.tree.structure(read) == jax.tree.structure(parts())
    assert tree_digest(read) == tree_digest(parts())
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(read))
    assert info["report"] == {"steps": 3} and info["parts"] == ["encoder", "head"]
    assert info["training"] == "pi1" and info["digest"] == "abc"
    assert [p.name for p in path.parent.iterdir()] == ["abc"]


def test_replicated_arrays_are_exported_whole(tmp_path):
    everywhere = jax.sharding.NamedSharding(
        jax.sharding.Mesh(jax.devices(), "data"), jax.sharding.PartitionSpec()
    )
    path = exports.write_export(tmp_path, "t", "a", jax.device_put(parts(), everywhere), {})
    read, _ = exports.read_export(path)
    assert tree_digest(read) == tree_digest(parts())


def test_files_beside_it_are_those_of_the_first_writer(tmp_path):
    path = exports.write_export(tmp_path, "t", "a", parts(), {}, files={"model.json": "{1: Zoë}"})
    assert (
        exports.write_export(tmp_path, "t", "a", parts(), {}, files={"model.json": "other"}) == path
    )
    assert (path / "model.json").read_text(encoding="utf-8") == "{1: Zoë}"
    assert {p.name for p in path.iterdir()} == {"parts", "export.json", "model.json"}
    exports.read_export(path)


def test_what_lies_beside_an_export_is_read_by_its_own_name_alone(tmp_path):
    beside = {"teacher_head": Part({"bias": jnp.float32([3.0])}, {})}
    path = exports.write_export(tmp_path, "df", "a", parts(), {}, beside=beside)
    read, info = exports.read_export(path)
    assert set(read) == set(info["parts"]) == {"encoder", "head"}
    assert tree_digest(exports.read_beside(path)) == tree_digest(beside)
    # A light copy without it is an export still.
    shutil.rmtree(path / "beside")
    exports.read_export(path)
    with pytest.raises(exports.ExportError, match=f"{path} cannot be read"):
        exports.read_beside(path)
    assert exports.read_beside(exports.write_export(tmp_path, "t", "a", parts(), {})) == {}


def test_missing_exports(tmp_path):
    assert exports.find_export(tmp_path, "pi1", "abc") is None
    with pytest.raises(FileNotFoundError, match="export.json is missing"):
        exports.read_export(tmp_path)


def test_a_second_writer_takes_the_first_export(tmp_path):
    first = exports.write_export(tmp_path, "t", "a", parts(), {"who": 1})
    second = exports.write_export(tmp_path, "t", "a", parts(2.0), {"who": 2})
    assert first == second
    read, info = exports.read_export(second)
    assert info["who"] == 1
    assert tree_digest(read) == tree_digest(parts())
    assert [p.name for p in first.parent.iterdir()] == ["a"]


def test_of_two_writers_at_once_the_first_rename_wins(tmp_path, monkeypatch):
    rename = exports._rename_first

    def overtaken(temporary, folder):  # the other run finishes between our last byte and our rename
        monkeypatch.setattr(exports, "_rename_first", rename)
        assert exports.find_export(tmp_path, "t", "a") is None
        exports.write_export(tmp_path, "t", "a", parts(2.0), {"who": 2})
        rename(temporary, folder)

    monkeypatch.setattr(exports, "_rename_first", overtaken)
    path = exports.write_export(tmp_path, "t", "a", parts(1.0), {"who": 1})
    read, info = exports.read_export(path)
    assert info["who"] == 2
    assert tree_digest(read) == tree_digest(parts(2.0))
    assert os.listdir(tmp_path / "exports" / "t") == ["a"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    for name in (".a.0000beef.tmp", ".b.0000beef.tmp"):
        (tmp_path / "exports" / "t" / name / "parts").mkdir(parents=True)
    exports.write_export(tmp_path, "t", "a", parts(), {})
    assert sorted(os.listdir(tmp_path / "exports" / "t")) == [".b.0000beef.tmp", "a"]


def test_a_writer_that_is_cleared_away_takes_what_was_first(tmp_path, monkeypatch):
    sync = exports.sync_tree

    def overtaken(temporary):
        monkeypatch.setattr(exports, "sync_tree", sync)
        exports.write_export(tmp_path, "t", "a", parts(2.0), {"who": 2})
        sync(temporary)

    monkeypatch.setattr(exports, "sync_tree", overtaken)
    path = exports.write_export(tmp_path, "t", "a", parts(1.0), {"who": 1})
    assert exports.read_export(path)[1]["who"] == 2
    assert os.listdir(tmp_path / "exports" / "t") == ["a"]


def test_a_writer_that_dies_leaves_no_export(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exports, "_rename_first", die)
    with pytest.raises(KeyboardInterrupt):
        exports.write_export(tmp_path, "t", "a", parts(), {})
    assert exports.find_export(tmp_path, "t", "a") is None
    assert os.listdir(tmp_path / "exports" / "t") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"content": 3}'])
def test_a_damaged_description_of_an_export_is_named(tmp_path, text):
    path = exports.write_export(tmp_path, "t", "a", parts(), {})
    (path / "export.json").write_text(text)
    with pytest.raises(exports.ExportError, match=f"{path} .* delete it and run again") as error:
        exports.read_export(path)
    assert "\n" not in str(error.value)
    if "content" not in text:
        with pytest.raises(exports.ExportError, match=r"cannot be read \(export\.json: "):
            exports.read_info(path)


def test_a_damaged_export_is_named(tmp_path):
    path = exports.write_export(tmp_path, "t", "a", parts(), {})
    info = json.loads((path / "export.json").read_text())
    (path / "export.json").write_text(json.dumps({**info, "content": "0" * 64}))
    with pytest.raises(ValueError, match=f"{path} is not what was written"):
        exports.read_export(path)
    for file in (path / "parts").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        exports.read_export(path)


def test_digest_depends_on_the_value_alone():
    assert digest_of({"a": 1, "b": [1.5, None]}) == digest_of({"b": (1.5, None), "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert len(digest_of(1)) == 16 and int(digest_of(1), 16) >= 0
    with pytest.raises(ValueError):
        digest_of(float("nan"))
    with pytest.raises(TypeError):
        digest_of({"a": object()})


def source(tmp_path, text, name="loss.py"):
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    return source_digest([path])


def test_source_digest_sees_code_and_nothing_else(tmp_path):
    plain = source(tmp_path, "def f(x, *, y=1):\n    return f'{x}' + 'a'\n")
    dressed = """
        '''Module.'''
        # comment
        def f(x, *,
              y = 1):
            '''Docstring.'''
            return (f"{x}"
                    + "a")  # another
    """
    assert source(tmp_path, dressed) == plain
    for other in (
        "def f(x, *, y=2):\n    return f'{x}' + 'a'\n",
        "def f(x, *, y=1):\n    return f'{x}' + 'b'\n",
        "def f(x, y=1):\n    return f'{x}' + 'a'\n",
        "async def f(x, *, y=1):\n    return f'{x}' + 'a'\n",
        "def f(x, *, y=1.0):\n    return f'{x}' + 'a'\n",
    ):
        assert source(tmp_path, other) != plain


def test_source_digest_counts_names_not_order(tmp_path):
    for folder in ("models", "stages"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "piap.py").write_text(f"x = '{folder}'\n")
    a, b = tmp_path / "models" / "piap.py", tmp_path / "stages" / "piap.py"
    assert source_digest([a, b]) == source_digest([b, a])
    assert source_digest([a, b]) != source_digest([a])
    text = a.read_text()
    a.write_text(b.read_text())
    b.write_text(text)
    assert source_digest([a]) != source_digest([b])
    with pytest.raises(FileNotFoundError):
        source_digest([tmp_path / "none.py"])


def test_source_digest_is_the_same_on_every_python(tmp_path):
    text = "def f(x):\n    def g(): return 1\n    return [i for i in x]\nclass A: pass\n"
    assert source(tmp_path, text) == "ca6219c44b8474d9"


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.float32([1, 2])},
        {"a": np.float32([[1], [3]])},
        {"a": np.float64([1, 3])},
        {"b": np.float32([1, 3])},
        {"a": np.float32([1, 3]), "b": np.float32(0)},
        {"a": np.float32([1, np.nextafter(np.float32(3), np.float32(4))])},
        {"a": ml_dtypes.bfloat16(1)},
    ],
)
def test_tree_digest_sees_every_bit(other):
    tree = {"a": np.float32([1, 3])}
    assert tree_digest(tree) == tree_digest({"a": jnp.float32([1, 3])})
    assert tree_digest(tree) != tree_digest(other)
    assert tree_digest({"z": np.float32(0.0)}) != tree_digest({"z": np.float32(-0.0)})
