"""Cold first steps of the stages at full size: seconds and peak memory, each in a process of its own.

python -m benchmarks.first_step STAGE [0]      0: without the memory settings of the package
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

from absl import app

from benchmarks.cases import AUS
from benchmarks.worker import peak
from piapdf_jax import command_line, process_memory

SIDE, BATCH = 256, 8
#: ``df``: discrete feedback as one compiled function; ``df_parts``: in shared parts.
STAGES = ("baseline", "pi1", "pi2", "piap", "df_parts", "df")


def stage_and_batch(name: str, model: Any, side: int = SIDE, batch: int = BATCH) -> tuple[Any, Any]:
    """A stage as ``bp4d_fold1`` has it, and a batch of random frames."""
    import jax

    from piapdf_jax.batch import Batch, FeedbackBatch
    from piapdf_jax.losses import LossWeights
    from piapdf_jax.stages.base import OptimizerConfig
    from piapdf_jax.stages.discrete_feedback import FeedbackStage
    from piapdf_jax.stages.pi1_generator import PI1Stage
    from piapdf_jax.stages.pi2_refine import PI2Stage
    from piapdf_jax.stages.piap import PIAPStage

    steps, weights = OptimizerConfig(steps=1000, learning_rate=1e-4), LossWeights(0.5, 0.45, 0.05)
    more: dict[str, Any] = {"image_size": side, "num_maps": AUS}
    keys = jax.random.split(jax.random.key(1), 3)
    frames = Batch(
        jax.random.uniform(keys[0], (batch, side, side, 3)),
        jax.random.bernoulli(keys[1], 0.5, (batch, AUS)).astype(float),
        jax.random.bits(keys[2], (batch, side, side), "uint16") & 2**AUS - 1,
        jax.numpy.ones(batch),
        jax.numpy.zeros(batch, int),
    )
    if name == "pi1":
        return PI1Stage(model, steps, **more), frames
    more["num_aus"] = AUS
    if name == "pi2":
        return PI2Stage(model, steps, **more), frames
    if name == "baseline":
        return PIAPStage(model, steps, LossWeights(), **more), frames
    if name == "piap":
        return PIAPStage(model, steps, weights, **more), frames
    more |= {"compile": "parts" if name == "df_parts" else "whole", "init_from": "piap"}
    return FeedbackStage(model, steps, steps, weights, **more), FeedbackBatch(frames, frames)


def given(model: Any, side: int = SIDE) -> dict[str, Any]:
    """What the trainings before hand on, with random weights."""
    import jax

    from piapdf_jax.models.piap import init_part

    key = jax.random.key(0)
    encoder, head = init_part(model, "encoder", key), init_part(model, "head", key, num_aus=AUS)
    generator, decoder = (
        init_part(model, part, key, image_size=side, num_maps=AUS)
        for part in ("generator", "decoder")
    )
    return {
        "pi1": {"generator": generator},
        "pi2": {"generator": generator},
        "identity": {"encoder": encoder},
        "piap": {"encoder": encoder, "head": head, "decoder": decoder},
    }


def time_steps(name: str, model: Any, side: int = SIDE, batch: int = BATCH) -> dict[str, Any]:
    """Seconds of the first step, of the second and third, and what the process held at most."""
    import jax

    stage, data = stage_and_batch(name, model, side, batch)
    state, frozen = stage.init(jax.random.key(0), given(model, side))
    jax.block_until_ready((state, frozen, data))
    seconds, losses, start = [], [], peak()
    for step in range(3):
        began = time.perf_counter()
        key = jax.random.fold_in(jax.random.key(2), step)
        state, metrics = jax.block_until_ready(stage.train_step(state, frozen, data, key))
        seconds.append(time.perf_counter() - began)
        losses.append(float(metrics["loss"]))
    return {"stage": name, "seconds": seconds, "losses": losses, "start": start, "peak": peak()}


def run(stages: list[str], *, settings: bool) -> list[dict[str, Any]]:
    """Times the stages one after the other and prints a table; nothing is read from or kept in a cache."""
    env = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    results = []
    print(
        "| stage | first step, s | later steps, s | peak memory, MiB |\n| --- | --- | --- | --- |"
    )
    for name in stages:
        command = [sys.executable, "-m", "benchmarks.first_step", name, str(int(settings))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
        found = json.loads(done.stdout.splitlines()[-1])
        first, *later = found["seconds"]
        mebi = found["peak"] // 2**20
        print(f"| {name} | {first:.1f} | {sum(later) / len(later):.2f} | {mebi} |", flush=True)
        results.append(found)
    return results


def main(arguments: list[str]) -> None:
    """Times one stage in this process and prints what was found as JSON."""
    name = arguments[1] if len(arguments) > 1 else ""
    settings = arguments[2] if len(arguments) > 2 else "1"
    if name not in STAGES or settings not in ("0", "1"):
        raise app.UsageError(f"give a stage out of {', '.join(STAGES)}, and 0 or 1")
    if settings == "1" and process_memory.cpu_alone():
        process_memory.keep_freed_memory()
    from piapdf_jax.models.presets import MODELS

    print(json.dumps(time_steps(name, MODELS["b1"])))


if __name__ == "__main__":
    command_line.run(main, arguments=2)
