"""Every training of the method, with small networks, killed at random moments: it ends as the straight run.

``SOAK_KILLS`` is the number of kills a training (2; at night 8), ``SOAK_SEED`` draws other moments (0). By day one
training of each kind is killed: a generator, faces, units beside frozen parts, feedback, another data set.
"""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from nightly import nightly
from once import made_once, shared_folder

from piapdf_jax.runtime.train_stats import WALL_CLOCK

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("SOAK_KILLS", "2"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
STEPS = 60
NEEDS = {
    "pi1": (),
    "pi2": ("pi1",),
    "identity": (),
    "baseline": (),
    "pi3": ("pi1", "pi2"),
    "ap": ("identity",),
    "lp": (),
    "piap": ("pi1", "pi2", "identity"),
    "longer": ("pi1", "pi2", "identity", "piap"),
    "df": ("baseline",),
    "piapdf": ("pi1", "pi2", "identity", "piap"),
    "disfa": ("pi1", "pi2", "identity", "piap"),
}
BY_DAY = ("pi1", "identity", "piap", "piapdf", "disfa")
NEEDED = tuple(dict.fromkeys(name for names in NEEDS.values() for name in names))
SETTINGS = ["df=paper", "model=nano", "data.image_size=64", "eval.batch_size=48", "run.log_every=1"]
SETTINGS += ["eval.pointing_frames=20"]
SETTINGS += ["run.audit=true"]
SETTINGS += ["run.checkpoint_every=4", "data.dataset=synthetic_faces/small_bp4d"]
SETTINGS += [
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.dataset=synthetic_faces/small_webface",
]
SETTINGS += [
    "identity.pairs=synthetic_faces/small_lfw",
    "disfa.dataset=synthetic_faces/small_disfa",
]
SETTINGS += ["methods=baseline,pi2,pi3,ap,lp,df,piap,longer,piapdf,disfa"]
for section in ("pi1", "pi2", "identity", "baseline", "pi3", "ap", "lp", "piap", "df", "disfa"):
    SETTINGS += [f"{section}.batch_size=8"]


def start(data, runs, training, stages):
    """The launcher; the training itself is long, those that it needs are short."""
    steps = [f"{name}.steps=4" for name in NEEDS if name not in ("longer", "piapdf", training)]
    long = "df" if training in ("longer", "piapdf") else training
    steps += [f"{long}.steps={STEPS}"] if long else []
    command = [sys.executable, "-m", "experiments.piapdf", "--config=demo", f"--runs_dir={runs}"]
    command += [f"--data_dir={data}", f"--stages={','.join(stages)}"]
    command += [f"--set={setting}" for setting in (*SETTINGS, *steps)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )


def finish(process):
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out


def results(runs, training):
    """Whatever must be equal: the export, the whole state behind it, the sums, the metrics, the scores."""
    (path,) = runs.glob(f"exports/{training}/*/export.json")
    info = json.loads(path.read_text())
    report = {
        name: info["report"][name]
        for name in ("steps", "loss_start", "loss_end", "skipped", "trained", "totals", "state")
    }
    (metrics,) = (runs / "demo" / "fold1_seed0" / training).glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows]
    scores = json.loads((runs / "demo" / "fold1_seed0" / "results.json").read_text())
    return info["content"], report, rows, scores["trainings"][training]["scores"]


@pytest.fixture(scope="session")
def needed(small_data, tmp_path_factory):
    """Exports of short trainings that others need, which one worker trains for all."""
    folder = shared_folder(tmp_path_factory, "needed")
    made_once(folder, lambda runs: finish(start(small_data, runs, "", NEEDED)))
    return folder / "exports"


@pytest.mark.parametrize(
    "training", [*BY_DAY, *nightly(*(name for name in NEEDS if name not in BY_DAY))]
)
def test_killed_at_random_moments(small_data, request, tmp_path, training):
    """Kills fall anywhere in a start's life: while it loads, compiles, steps, saves, exports or scores.

    A start that ends before its moment ends its chain, which is compared; the next chain begins anew.
    """
    before, straight = tmp_path / "before", tmp_path / "straight"
    before.mkdir()
    for name in NEEDS[training]:
        exports = request.getfixturevalue("needed")
        shutil.copytree(exports / name, before / "exports" / name)
    shutil.copytree(before, straight)
    began = time.monotonic()
    finish(start(small_data, straight, training, (training,)))
    life = time.monotonic() - began
    wanted = results(straight, training)
    draw, kills = random.Random(f"{SEED} {training}"), []
    for number in range(4 * KILLS):
        runs = tmp_path / f"chain{number}"
        shutil.copytree(before, runs)
        begin = functools.partial(start, small_data, runs, training, (training,))
        moments = [draw.uniform(0.3, 1.0) * life for _ in range(KILLS - len(kills))]
        chain, last = killed_until_it_ends(begin, moments)
        life = life if chain else last  # the straight run may have compiled
        assert results(runs, training) == wanted, chain
        told = ", ".join(f"{moment:.1f}" for moment in chain)
        print(f"{training}: a chain killed after {told or 'no'} s, then {last:.1f} s to the end")
        kills += chain
        if len(kills) == KILLS:
            break
    print(f"{training}: {len(kills)} kills, every chain ended as the straight run")
    assert len(kills) == KILLS


def killed_until_it_ends(begin, moments):
    """Starts that are killed at these moments; how long each lived, and how long the one that ended."""
    kills = []
    while True:
        process, began = begin(), time.monotonic()
        try:
            process.wait(moments[len(kills)] if len(kills) < len(moments) else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills.append(time.monotonic() - began)
            continue
        finish(process)
        return kills, time.monotonic() - began
