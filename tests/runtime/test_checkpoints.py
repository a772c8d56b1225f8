import contextlib
import gc
import logging
import os
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import ToyStage

from piapdf_jax.runtime import mesh
from piapdf_jax.runtime.checkpoints import CheckpointError, Checkpoints
from piapdf_jax.runtime.digests import tree_digest

CONFIG = {"settings": {"rate": 0.1, "aus": (1, 2)}, "seed": 0, "old": True}
# Reads of other arrays that were under way when one failed end after Orbax's event loop has.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def fresh():
    return ToyStage().init(jax.random.key(0), {})[0]


def state_of(fresh, number):
    return jax.tree.map(lambda x: x + jnp.asarray(number, x.dtype), fresh)


@pytest.fixture
def folder(tmp_path, fresh):
    """Checkpoints of steps 10, 20 and 30, of which the last two are kept."""
    with Checkpoints(tmp_path / "c", every=10, config=CONFIG) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, state_of(fresh, step), {"totals": {"count_x": step}})
    return tmp_path / "c"


def restore(folder, fresh, config=CONFIG):
    with Checkpoints(folder, every=10, config=config) as checkpoints:
        return checkpoints.restore_latest(fresh)


def test_latest_comes_back_bitwise_and_two_are_kept(folder, fresh):
    step, state, meta = restore(folder, fresh)
    assert step == 30 and meta == {"totals": {"count_x": 30}}
    assert tree_digest(state) == tree_digest(state_of(fresh, 30))
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert sorted(path.name for path in folder.iterdir()) == ["20", "30"]


def test_an_empty_folder_has_none(tmp_path, fresh):
    assert restore(tmp_path / "c", fresh) is None


def test_restored_to_the_sharding_of_the_target(folder, fresh):
    pair = mesh.data_mesh(jax.devices()[:2])
    restored = restore(folder, mesh.replicate(pair, fresh))
    assert all(leaf.sharding.device_set == set(jax.devices()[:2])
               for leaf in jax.tree.leaves(restored.state))  # fmt: skip
    assert tree_digest(restored.state) == tree_digest(state_of(fresh, 30))


def test_saving_survives_donation_of_the_state(tmp_path, fresh):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    state = state_of(fresh, 5)
    wanted = tree_digest(state)
    with Checkpoints(tmp_path / "c", every=1, config=CONFIG) as checkpoints:
        checkpoints.save(1, state, {})
        for _ in range(5):
            state = step(state)
        jax.block_until_ready(state)
    assert tree_digest(restore(tmp_path / "c", fresh).state) == wanted


def test_another_configuration_is_refused_by_name(folder, fresh):
    other = {"settings": {"rate": 0.5, "aus": [1, 2], "more": {}}, "seed": 0}
    with pytest.raises(ValueError, match="c/30 belongs to another configuration") as error:
        restore(folder, fresh, config=other)
    for told in (
        "settings.rate is 0.1 there, 0.5 here",
        "settings.more is null there, {} here",
        "old is true there, null here",
    ):
        assert told in str(error.value)
    assert "seed" not in str(error.value) and "aus" not in str(error.value)
    assert (folder / "30").is_dir()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-7])


def flip(file):
    data = bytearray(file.read_bytes())
    for place in range(0, len(data), 16):
        data[place] ^= 0xFF
    file.write_bytes(bytes(data))


def settle():
    time.sleep(0.3)
    gc.collect()


DAMAGES = [
    ("state/manifest.ocdbt", truncate),
    ("state/_METADATA", truncate),
    ("meta/metadata", truncate),
    ("state/**/d/*", flip),
    ("state/**/d/*", truncate),
    ("state", shutil.rmtree),
    ("meta", shutil.rmtree),
]


@noisy
@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_corrupt_checkpoint_is_named_and_the_one_before_taken(
    folder, fresh, name, damage, caplog
):
    hit = list((folder / "30").glob(name))
    assert hit
    for file in hit:
        damage(file)
    with caplog.at_level(logging.WARNING, logger="piapdf.checkpoints"):
        restored = restore(folder, fresh)
    settle()
    assert restored.step == 20
    assert tree_digest(restored.state) == tree_digest(state_of(fresh, 20))
    warned = [r.getMessage() for r in caplog.records if r.name == "piapdf.checkpoints"]
    assert len(warned) == 1 and str(folder / "30") in warned[0]
    assert (folder / "30.unreadable").is_dir()
    with Checkpoints(folder, every=10, config=CONFIG) as checkpoints:
        assert checkpoints.restore_latest(fresh).step == 20
        checkpoints.save(30, state_of(fresh, 31), {})
    assert tree_digest(restore(folder, fresh).state) == tree_digest(state_of(fresh, 31))


def cut_largest(path):
    """Takes the second half of the file that holds the values, and leaves all that says where they are."""
    file = max(path.rglob("d/*"), key=lambda file: file.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def hollow(path):
    """The arrays of another state: as many bytes, other names and shapes."""
    shutil.rmtree(path)
    shutil.copytree(path.parents[1] / "10" / "state", path)


@noisy
@pytest.mark.parametrize(
    ("name", "damage", "by"),
    [
        *((name, damage, "wait") for name, damage in DAMAGES),
        *(("state", damage, "wait") for damage in (cut_largest, hollow)),
        ("state", shutil.rmtree, "close"),
        ("state", shutil.rmtree, "next save"),
    ],
)
def test_a_checkpoint_is_looked_at_on_disk_before_it_counts(tmp_path, fresh, name, damage, by):
    """As a disk would leave it that keeps other than it is given."""
    checkpoints = Checkpoints(tmp_path / "c", every=1, config=CONFIG, keep=3)
    state = {"fresh": fresh, "large": np.random.default_rng(0).random((100, 100))}
    checkpoints.save(10, jax.tree.map(lambda x: x[..., None], state), {})
    checkpoints.save(20, state, {})
    checkpoints.wait()
    checkpoints.save(30, state, {})
    finish = checkpoints._manager.wait_until_finished

    def finished():
        finish()
        for file in (tmp_path / "c" / "30").glob(name):
            damage(file)

    checkpoints._manager.wait_until_finished = finished
    asked = {
        "wait": checkpoints.wait,
        "close": checkpoints.close,
        "next save": lambda: checkpoints.save(40, state, {}),
    }
    with pytest.raises(CheckpointError, match="30 is not on disk as it was written") as error:
        asked[by]()
    assert "the checkpoint of step 20 is whole" in str(error.value)
    assert "\n" not in str(error.value)
    settle()
    assert not (tmp_path / "c" / "40").exists()


def test_what_lies_on_disk_as_it_was_written_is_said_nothing_of(tmp_path, fresh):
    """Of every type and form that a state may have."""
    state = {
        "a": [fresh, (np.zeros((), bool), np.ones((2, 1, 3), np.uint8))],
        "b": {"c": jnp.ones(3, jnp.bfloat16), "d": None, "e": {}, "f": ()},
        "zeros": np.zeros((64, 1024), np.float32),
        "whole": np.int64(3),
    }
    with Checkpoints(tmp_path / "c", every=1, config=CONFIG) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, {})
    assert checkpoints.steps() == [2, 3]


def test_a_checkpoint_that_leads_elsewhere_is_put_aside(folder, fresh, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    (folder / "30" / "state").rename(elsewhere)
    (folder / "30" / "state").symlink_to(elsewhere)
    assert restore(folder, fresh).step == 20
    assert "30/state is a link" in caplog.text


def test_silently_changed_bytes_are_found(folder, fresh, monkeypatch, caplog):
    """Where the storage's own checks let a changed array pass, its digest does not."""
    from piapdf_jax.runtime import checkpoints as module

    real = module.tree_digest
    monkeypatch.setattr(
        module,
        "tree_digest",
        lambda tree: real(jax.tree.map(lambda x: np.asarray(x) + np.ones((), x.dtype), tree)),
    )
    assert restore(folder, fresh) is None
    assert caplog.text.count("not what was written") == 2


def test_a_save_that_was_cut_off_does_not_count(folder, fresh):
    shutil.copytree(folder / "30", folder / "40.orbax-checkpoint-tmp")
    with Checkpoints(folder, every=10, config=CONFIG) as checkpoints:
        assert checkpoints.restore_latest(fresh).step == 30
        checkpoints.save(40, state_of(fresh, 40), {})
    assert not list(folder.glob("*tmp*"))
    assert restore(folder, fresh).step == 40


def test_due_and_saving_twice(tmp_path, fresh):
    with Checkpoints(tmp_path / "c", every=4, config=CONFIG) as checkpoints:
        assert [step for step in range(1, 13) if checkpoints.due(step)] == [4, 8, 12]
        checkpoints.save(4, state_of(fresh, 4), {})
        checkpoints.save(4, state_of(fresh, 5), {})
    restored = restore(tmp_path / "c", fresh)
    assert tree_digest(restored.state) == tree_digest(state_of(fresh, 4))
    with Checkpoints(tmp_path / "d", every=0, config=CONFIG) as never:
        assert not any(never.due(step) for step in range(1, 13))


def test_an_earlier_step_than_the_newest_is_refused(folder, fresh):
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(folder, every=1, config=CONFIG))
        with pytest.raises(OSError, match="c/25 was refused"):
            checkpoints.save(25, fresh, {})
