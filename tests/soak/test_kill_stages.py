"""Every training of the method, with small networks, killed at random moments: it ends as the straight run.

``SOAK_KILLS`` is the number of kills a training (5), ``SOAK_SEED`` draws other moments (0).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from piapdf_jax.runtime.account import WALL_CLOCK

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("SOAK_KILLS", "5"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
STEPS = 60
NEEDS = {
    "pi1": (),
    "pi2": ("pi1",),
    "identity": (),
    "baseline": (),
    "pi3": ("pi1", "pi2"),
    "ap": ("identity",),
    "piap": ("pi1", "pi2", "identity"),
    "df": ("baseline",),
    "piapdf": ("pi1", "pi2", "identity", "piap"),
    "disfa": ("pi1", "pi2", "identity", "piap"),
}
SETTINGS = ["model=nano", "data.image_size=64", "eval.batch_size=48", "run.log_every=1"]
SETTINGS += ["run.checkpoint_every=4", "data.dataset=synthetic_faces/small_bp4d"]
SETTINGS += [
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.dataset=synthetic_faces/small_webface",
]
SETTINGS += [
    "identity.pairs=synthetic_faces/small_lfw",
    "disfa.dataset=synthetic_faces/small_disfa",
]
SETTINGS += ["methods=baseline,pi2,pi3,ap,df,piap,piapdf,disfa"]
for section in ("pi1", "pi2", "identity", "baseline", "pi3", "ap", "piap", "df", "disfa"):
    SETTINGS += [f"{section}.batch_size=8"]


def start(data, runs, training, stages):
    """The launcher; the training itself is long, those that it needs are short."""
    steps = [f"{name}.steps=4" for name in NEEDS if name not in ("piapdf", training)]
    steps += [f"{'df' if training == 'piapdf' else training}.steps={STEPS}"]
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
    (metrics,) = (runs / "demo" / training).glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows]
    scores = json.loads((runs / "demo" / "results.json").read_text())
    return info["content"], report, rows, scores["trainings"][training]["scores"]


@pytest.mark.parametrize("training", NEEDS)
def test_killed_at_random_moments(small_data, tmp_path, training):
    """Kills fall anywhere in a start's life: while it loads, compiles, steps, saves, exports or scores."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    if NEEDS[training]:
        finish(start(small_data, straight, training, NEEDS[training]))
        shutil.copytree(straight, killed)
    began = time.monotonic()
    finish(start(small_data, straight, training, (training,)))
    life = time.monotonic() - began
    draw = random.Random(f"{SEED} {training}")
    moments, ended = [], 0
    for _ in range(KILLS):
        process = start(small_data, killed, training, (training,))
        moments.append(draw.uniform(0.2, 1.0) * life)
        try:
            process.wait(moments[-1])
            ended += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    out = finish(start(small_data, killed, training, (training,)))
    told = ", ".join(f"{moment:.1f}" for moment in moments)
    print(f"{training}: a life of {life:.1f} s, killed after {told} s ({ended} had ended before)")
    assert ended < KILLS
    assert results(killed, training) == results(straight, training), out
