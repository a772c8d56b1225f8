"""A stage of two layers and its data, small enough to kill, resume and split over devices at will.

Run as a program it trains and writes an export, on one host or as one of several that know each
other's port: ``python toy_stage.py FOLDER STEPS [--runs RUNS] [--slow SECONDS] [--silent SECONDS]
[--devices N] [--port P --host I]``.
"""

import argparse
import dataclasses
import functools
import json
import logging
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax import compile_cache
from piapdf_jax.batch import Batch
from piapdf_jax.runtime import exports, hosts, lock, loop, mesh, steps, train_stats
from piapdf_jax.runtime.digests import digest_of
from piapdf_jax.stages.base import (
    OptimizerConfig,
    Scores,
    create_state,
    export_parts,
    update_if_finite,
)

SIDE, AUS, HIDDEN, BATCH = 4, 3, 8, 8
CONFIG = {"training": "toy", "settings": {"learning_rate": 0.02, "aus": [1, 2, 4]}}


@dataclasses.dataclass(frozen=True)
class ToyStage:
    """Image, standardized, tanh layer, AU logits; with noise and a frozen part."""

    optimizer: OptimizerConfig = OptimizerConfig(steps=40, learning_rate=0.02, warmup=0.1)
    noise: float = 0.1
    bad_step: int = -1
    bad_from: int = 2**30

    def init(self, key, inputs):
        keys = jax.random.split(key, 3)
        size = SIDE * SIDE * 3
        fresh = ({"kernel": 0.2 * jax.random.normal(keys[0], (size, HIDDEN))}, _statistics())
        head = {"kernel": jax.random.normal(keys[1], (HIDDEN, AUS)), "bias": jnp.zeros(AUS)}
        parts = {"encoder": inputs.get("before", {}).get("encoder", fresh), "head": (head, {})}
        frozen = {"identity": ({"kernel": jax.random.normal(keys[2], (size, HIDDEN))}, {})}
        return create_state(parts, self.optimizer.build()), frozen

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(self, state, frozen, batch, key):
        def loss_fn(params):
            x, stats = _standardize(batch.image, state.batch_stats["encoder"])
            x = x + self.noise * jax.random.normal(key, x.shape)
            vector = jnp.tanh(x @ params["encoder"]["kernel"])
            logits = vector @ params["head"]["kernel"] + params["head"]["bias"][None]
            other = jnp.tanh(x @ frozen["identity"][0]["kernel"])
            loss = jnp.mean(jax.nn.softplus(logits) - batch.labels * logits)
            return loss + 0.01 * jnp.mean(vector * other), (stats, logits)

        (loss, (stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        bad = (state.step == self.bad_step) | (state.step >= self.bad_from)
        loss = jnp.where(bad, jnp.nan, loss)
        stats = {"encoder": stats, "head": {}}
        new, metrics = update_if_finite(self.optimizer.build(), state, loss, grads, stats)
        counts = {"count_frames": jnp.int32(logits.shape[0]), "per_au": logits.mean(0)}
        return new, {**metrics, **counts, "count_yes": (logits > 0).sum(0)}

    def export(self, state):
        return export_parts(state, ("encoder", "head"))

    @functools.partial(jax.jit, static_argnums=0)
    def predict(self, exported, images):
        params, stats = exported["encoder"]
        x = (images.reshape(len(images), -1) - stats["mean"][None]) / jnp.sqrt(
            stats["var"][None] + 1e-3
        )
        vector = jnp.tanh(x @ params["kernel"])
        head = exported["head"][0]
        probs = jax.nn.sigmoid(vector @ head["kernel"] + head["bias"][None])
        return Scores(probs, vector, images[..., :2])


def _statistics():
    size = SIDE * SIDE * 3
    return {"mean": jnp.zeros(size), "var": jnp.ones(size)}


def _standardize(image, stats):
    x = image.reshape(len(image), -1)
    mean, var = x.mean(0), x.var(0)
    running = {"mean": 0.9 * stats["mean"] + 0.1 * mean, "var": 0.9 * stats["var"] + 0.1 * var}
    return (x - mean[None]) / jnp.sqrt(var[None] + 1e-3), running


def toy_batch(step, size=BATCH, host=0, hosts=1):
    """The batch of a step, a function of the step alone; this host's share of it."""
    rng = np.random.default_rng([7, step])
    image = rng.random((size, SIDE, SIDE, 3), dtype=np.float32)
    labels = (image.mean(axis=(1, 2)) > 0.5).astype(np.float32)
    share = slice(host * size // hosts, (host + 1) * size // hosts)
    row = np.arange(step * size, (step + 1) * size, dtype=np.int32)[share]
    return Batch(image[share], labels[share], None, np.ones(len(row), np.float32), row)


class ToyStream:
    """Batches from a step on; counts how many were read and whether it was closed."""

    def __init__(self, step, *, end=None, slow=0.0, host=0, hosts=1):
        self.step, self.end, self.slow = step, end, slow
        self.host, self.hosts, self.closed = host, hosts, False

    def __iter__(self):
        return self

    def __next__(self):
        if self.end is not None and self.step >= self.end:
            raise StopIteration
        time.sleep(self.slow)
        self.step += 1
        return toy_batch(self.step - 1, host=self.host, hosts=self.hosts)

    def close(self):
        self.closed = True


def toy_fit(folder, steps, *, stage=None, stream=ToyStream, **options):
    """Trains the toy with the settings that all tests of the loop share."""
    defaults = {
        "name": "toy",
        "key": jax.random.key(3),
        "inputs": {},
        "batch_size": BATCH,
        "config": CONFIG,
    }
    how = {"log_every": 3, "checkpoint_every": 5, "tensorboard": False, "audit": True}
    names = [field.name for field in dataclasses.fields(loop.LoopConfig)]
    how |= {name: options.pop(name) for name in names if name in options}
    return loop.fit(
        stage or ToyStage(),
        stream,
        steps=steps,
        folder=folder,
        loop_config=loop.LoopConfig(**how),
        **{**defaults, **options},
    )


def lines(folder):
    """Lines of metrics without what the wall clock says."""
    text = (pathlib.Path(folder) / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in row.items() if k not in train_stats.WALL_CLOCK} for row in rows]


def main():
    """Trains to the end, or to a signal: then exit code 75 and one line; a lost host is 76, a lost lock 77."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("piapdf").setLevel(logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--runs", type=pathlib.Path, help="where exports go; FOLDER by default")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--silent", type=float, default=60.0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--cache", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", type=int, default=0)
    args = parser.parse_args()
    if args.cache:
        compile_cache.enable(args.cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if args.port:
        hosts.initialize(coordinator=f"127.0.0.1:{args.port}", hosts=2, host=args.host)
    print("start", flush=True)
    try:
        train(args)
    except steps.Interrupted as stopped:
        print(f"interrupted {stopped.step} {stopped}", flush=True)
        sys.exit(75)
    except hosts.HostLost as gone:
        print(f"lost {gone}", flush=True)
        hosts.exit_now(76)
    except lock.LockLost as gone:
        print(f"replaced {gone}", flush=True)
        sys.exit(77)


def train(args):
    """Trains, exports and says what came out, or that it was there."""
    digest, runs = digest_of(CONFIG), args.runs or args.folder
    alone = lock.Lock(
        exports.lock_path(runs, "toy", digest),
        training="toy",
        run=str(args.folder),
        beat=args.silent / 6,
        silent=args.silent,
        poll=min(1.0, args.silent / 6),
    )
    with alone:
        if alone.acquire(lambda: exports.find_export(runs, "toy", digest) is not None):
            state = make(args, runs, digest, alone.check)
            if hosts.primary():
                leaves = jax.tree_util.tree_leaves_with_path(state.params)
                params = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
                np.savez(args.folder / "params.npz", **params)
        else:
            print("found", flush=True)
    _, info = exports.read_export(exports.export_folder(runs, "toy", digest))
    print("digest", info["report"]["state"], json.dumps(info["report"]["totals"]))


def make(args, runs, digest, check):
    """Trains on the devices and with this host's share of the data, and exports; returns the state."""
    devices = mesh.data_mesh() if args.port else mesh.data_mesh(jax.devices()[: args.devices])
    share = {"host": jax.process_index(), "hosts": jax.process_count()}
    stream = functools.partial(ToyStream, slow=args.slow, **share)
    fitted = toy_fit(args.folder, args.steps, stream=stream, mesh=devices, check=check)
    parts = ToyStage().export(fitted.state)
    exports.write_export(runs, "toy", digest, parts, {"report": fitted.report}, check=check)
    return fitted.state


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
