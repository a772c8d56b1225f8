"""Loads an export from its parts and its ``model.json`` alone, to compute probabilities of action units."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax import faces, paths, ranges
from piapdf_jax.batch import images_to_float
from piapdf_jax.losses import LossWeights
from piapdf_jax.model_json import Model, ModelError, read_model
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.encoders import encoder_fields, encoder_names
from piapdf_jax.models.parts import Part
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.pi2_refine import PI2Stage
from piapdf_jax.stages.piap import PIAPStage
from piapdf_jax.types import JsonObject

Probabilities = Callable[[np.ndarray], np.ndarray]


def load_export(path: str | os.PathLike[str]) -> tuple[Model, Probabilities]:
    """Loads an export with a head of action units.

    Args:
        path: folder of the export.

    Returns:
        What its ``model.json`` says, and a function of crops [B, 256, 256, 3] uint8 RGB (see
        ``faces.crop``) that gives probabilities [B, C] float32, column c being ``units[c]``. Each
        number of crops B is compiled once.

    Raises:
        FileNotFoundError: where there is no export, or it has no ``model.json``.
        ExportError: where its parts cannot be read.
        ModelError: for a ``model.json`` of another version, of another export, or of networks that
            are a plugin's own, and for an encoder with other fields than it was trained with.
    """
    # Orbax, which the rest of the core does without.
    from piapdf_jax.runtime.exports import read_export

    folder = paths.local_path(path, "export")
    model = read_model(folder)
    exported, info = read_export(folder)
    _check_same(folder, model, exported, info)
    stage = _stage(folder, model)
    _check_encoder(folder, stage.model, info)
    parts = {name: exported[name] for name in model.parts}
    images = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
    try:
        jax.eval_shape(stage.predict, parts, images)
    except Exception as error:  # Flax and JAX have many, for sizes that do not fit
        told = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{folder}: its parts do not fit the model in model.json ({told})"
        ) from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        images = images_to_float(jnp.asarray(faces.shrink_crops(crops, model.image_size)))
        return np.asarray(stage.predict(parts, images).au_probs)

    return model, probabilities


def _check_same(
    folder: pathlib.Path, model: Model, exported: dict[str, Part], info: JsonObject
) -> None:
    """Refuses parts that are of another export than ``model.json``."""
    columns = {leaf.shape[-1] for leaf in jax.tree.leaves(exported.get("head", ({}, {}))[0])}
    told = (model.digest, {len(model.units)}, set(model.parts) & set(exported))
    if told != (info.get("digest"), columns, set(model.parts)):
        raise ModelError(
            f"{folder} holds the model.json of another export: it is of {model.digest} with"
            f" {', '.join(model.parts)} for {len(model.units)} units, the export of"
            f" {info.get('digest')} with {', '.join(exported)} for {', '.join(map(str, sorted(columns)))}"
        )


def _check_encoder(folder: pathlib.Path, config: ModelConfig, info: JsonObject) -> None:
    """Refuses an encoder whose fields are not those it was trained with: a plugin may have changed since."""
    settings = info.get("fingerprint", {}).get("settings", {})
    trained = settings.get("stage", {}).get("encoder")
    # As JSON holds it.
    now = json.loads(json.dumps(encoder_fields(encoder_of(config))))
    if trained not in (None, now):
        keys = [key for key in {**trained, **now} if trained.get(key) != now.get(key)]
        raise ModelError(
            f"{folder}: encoder {config.encoder!r} differs from the one it was trained with:"
            f" {', '.join(f'{key} was {trained.get(key)}, is {now.get(key)}' for key in keys)}"
        )


def networks(folder: pathlib.Path, model: Model) -> ModelConfig:
    """Returns the sizes of an export's networks.

    Raises:
        ModelError: for networks that are a plugin's own, and for what is no configuration.
    """
    if model.model is None:
        raise ModelError(
            f"{folder}: training {model.training!r} has networks of a plugin, which only its"
            " own stage can run"
        )
    settings: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in model.model.items()}
    if settings.get("encoder") not in (None, *encoder_names()):
        raise ModelError(
            f"{folder}: encoder {settings['encoder']!r} is not one of {', '.join(encoder_names())}: the"
            " module of the plugin that registers it must be imported first (--plugin=MODULE)"
        )
    try:
        config = ModelConfig(**settings)
        ranges.check(config)
        encoder_of(config)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: model in model.json is not a configuration ({error})"
        ) from error
    return config


def _stage(folder: pathlib.Path, model: Model) -> PI2Stage | PIAPStage:
    """Whose ``predict`` makes the scores; what a training would need of it beside the sizes is left at anything."""
    config = networks(folder, model)
    sizes: Any = {"image_size": model.image_size, "num_aus": len(model.units), "num_maps": 0}
    optimizer = OptimizerConfig(steps=1, learning_rate=1e-3)
    if "generator" in model.parts:
        return PI2Stage(config, optimizer, **sizes)
    return PIAPStage(config, optimizer, LossWeights(), **sizes)
