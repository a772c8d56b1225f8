"""A shipped detector of random numbers, written by hand where the package's own would lie."""

import hashlib
import io
import json

import jax
import numpy as np
from lively_parts import lively_parts

from piapdf_jax import drawn_detector
from piapdf_jax.models.presets import MODELS

UNITS = 3


def write(folder, name="nano", **changes):
    """Writes model.json and parts.npz; returns encoder and head as they were, float32."""
    config = MODELS[name]
    parts = dict(zip(("encoder", "head"), lively_parts(config, 64, UNITS), strict=True))
    arrays = {}
    for part, pair in parts.items():
        for kind, tree in zip(("params", "batch_stats"), pair, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                keys = "/".join(entry.key for entry in path)
                arrays[f"{part}/{kind}/{keys}"] = np.asarray(leaf, np.float16)
    save(folder, arrays | changes, {"encoder": config.encoder, "convention": None})
    return parts


def save(folder, arrays, model):
    """Writes the two files of some arrays."""
    data = io.BytesIO()
    np.savez(data, **arrays)
    described = {"mean": [0.5] * 3, "std": [0.25] * 3, **model}
    told = {"model": described, "data": []}
    told["files"] = {"parts.npz": {"sha256": hashlib.sha256(data.getvalue()).hexdigest()}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parts.npz").write_bytes(data.getvalue())
    (folder / "model.json").write_text(json.dumps(told))


def installed(monkeypatch, folder, name="nano", **changes):
    """Writes one and has the package find it; returns its parts."""
    monkeypatch.setattr(drawn_detector, "FOLDER", folder)
    return write(folder, name, **changes)
