"""Networks of random numbers as .onnx files, which take as long as trained ones."""

import pathlib

import jax

from piapdf_jax import faces
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.onnx_file import write_onnx
from piapdf_jax.model_json import FILE_NAME, Data, Licence, Model, to_json
from piapdf_jax.models.config import ModelConfig, part_settings
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.records import IMAGE_SIZE

#: Side of the images of each.
SIZES = {"tiny": 96, "b1": 256}
_DIGEST = "0" * 16
_PARTS = ("encoder", "head")


def write_random_models(folder: pathlib.Path) -> dict[str, str]:
    """Writes a folder of each name of ``SIZES``; returns those by name."""
    found = {}
    for name, size in SIZES.items():
        config, count = MODELS[name], len(BP4D_AUS)
        encoder = init_part(config, "encoder", jax.random.key(0))
        head = init_part(config, "head", jax.random.key(1), num_aus=count)
        listed = light_detector(config, encoder, head, image_size=size)
        place = folder / name
        place.mkdir()
        told = {"digest": _DIGEST, "input": "uint8"}
        write_onnx(place / "model.onnx", listed, image_size=size, units=count, told=told)
        (place / FILE_NAME).write_text(to_json(_described(config, size)), encoding="utf-8")
        found[name] = str(place)
    return found


def _described(config: ModelConfig, size: int) -> Model:
    """What ``model.json`` says of numbers that nobody has trained."""
    mean, std = config.normalization
    halves = dict.fromkeys(BP4D_AUS, 0.5)
    return Model(
        training="baseline",
        title="random numbers",
        digest=_DIGEST,
        units=BP4D_AUS,
        image_size=size,
        mean=mean,
        std=std,
        parts=_PARTS,
        model=part_settings(config, _PARTS),
        crop={"size": IMAGE_SIZE, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT},
        base_rates=dict(halves),
        cuts=dict(halves),
        no_cut={},
        frames={"labeled": 0, "scored": 0},
        data=(Data("baseline", "none", "0.0.0", "none", 0, False),),
        stand_ins={},
        licences=(Licence("random numbers", "none", ""),),
    )
