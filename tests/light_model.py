"""An export of nano networks with random numbers, as a training writes it, made in a moment."""

import pathlib

from lively_parts import lively_parts

from piapdf_jax.model_json import Data, License, Model, to_json
from piapdf_jax.models.config import part_settings
from piapdf_jax.models.presets import MODELS
from piapdf_jax.runtime.exports import write_export

UNITS = (1, 6, 12)
CUTS = {1: 0.5, 6: None, 12: 0.25}
DIGEST = "0123456789abcdef"
SIZE = 64


def write(runs: pathlib.Path, *, digest: str = DIGEST, seed: int = 0) -> pathlib.Path:
    """Writes an export of training ``piap``; returns its folder."""
    config = MODELS["nano"]
    exported = dict(
        zip(("encoder", "head"), lively_parts(config, SIZE, len(UNITS), seed), strict=True)
    )
    networks = part_settings(config, ("encoder", "head"))
    mean, std = config.normalization
    model = Model(
        training="piap",
        title="PIAP",
        digest=digest,
        units=UNITS,
        image_size=SIZE,
        mean=mean,
        std=std,
        parts=("encoder", "head"),
        model=networks,
        crop={"size": 256, "box_scale": 3.1, "box_lift": 0.08},
        base_rates={1: 0.25, 6: 0.5, 12: 0.5},
        cuts=CUTS,
        no_cut={6: "no training frame shows it"},
        frames={"labeled": 8, "scored": 8},
        data=(Data("piap", "synthetic_faces/bp4d", "1.0.0", "part1+part2", 28, True),),
        stand_ins={},
        licences=(License("data set synthetic_faces", "drawn, free of terms", ""),),
        files={},
    )
    info = {"fingerprint": {}}
    return write_export(runs, "piap", digest, exported, info, files={"model.json": to_json(model)})
