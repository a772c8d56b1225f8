"""The toy training killed at every distinct change of its files: each chain of starts ends as the straight run.

By day every second change, at night, with more of ``SOAK_KILLS``, every one.
"""

import json
import os
import pathlib
import shutil
import sys

import pytest
from toy_stage import lines
from traced import Traced

pytestmark = pytest.mark.soak

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 17
HALVES = 2  # so that two workers share the kills
EVERY = 2 if int(os.environ.get("SOAK_KILLS", "2")) < 8 else 1


def start(folder):
    program = ROOT / "tests" / "runtime" / "toy_stage.py"
    command = [sys.executable, str(program), str(folder / "run"), str(STEPS)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    return Traced([*command, "--cache", str(folder / "cache")], folder, env)


def results(folder, out):
    """Whatever must be equal: the state, the sums, the metrics, the export."""
    (export,) = (folder / "run" / "exports" / "toy").glob("[!.]*/export.json")
    info = json.loads(export.read_text())
    last = [line for line in out.splitlines() if line.startswith("digest")]
    report = {
        name: info["report"][name]
        for name in ("steps", "loss_start", "loss_end", "skipped", "trained", "totals")
    }
    return last, info["content"], report, lines(folder / "run")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run that nothing disturbs, and each kind of change in the order in which it came first."""
    if shutil.which("strace") is None:
        pytest.fail("the soak needs strace (Debian: apt install strace)")
    folder = tmp_path_factory.mktemp("straight")
    traced = start(folder)
    kinds = list(dict.fromkeys(traced.events()))
    code, out = traced.finish()
    assert code == 0, out
    return kinds, results(folder, out)


def chain(folder, left):
    """Starts again and again, killed at the first change of each kind in ``left``, until one start ends."""
    killed = []
    while True:
        traced = start(folder)
        for event in traced.events():
            if event in left:
                traced.kill()
                left.remove(event)
                killed.append(event)
                break
        else:
            code, out = traced.finish()
            assert code == 0, out
            return killed, out
        code, out = traced.finish()
        assert code == -9 or code == 137, (code, out)


@pytest.mark.parametrize("half", range(HALVES))
def test_killed_at_every_change_of_a_file(straight, tmp_path, half):
    kinds, wanted = straight
    assert len(kinds) > 80, kinds
    left = set(kinds[::EVERY][half::HALVES])
    counts = []
    while True:
        folder = tmp_path / f"chain{len(counts)}"
        killed, out = chain(folder, left)
        assert results(folder, out) == wanted, killed
        leftovers = [path for path in folder.glob("run/**/*tmp*")]
        assert not leftovers, (leftovers, killed)
        print(f"chain {len(counts)}: killed at {len(killed)} changes, ended as the straight run")
        counts.append(len(killed))
        if not killed:
            break
    missed = sorted(left)
    print(
        f"{sum(counts)} kills at distinct changes in {len(counts)} chains; not met again: {missed}"
    )
    # Some changes come only now and then, such as those of a cache that two chains share no more.
    assert len(missed) <= 3, missed
