"""An export is read with the encoder that it was trained with."""

import dataclasses
import json

import flax.linen as nn
import light_model
import pytest

from piapdf_jax.load import load_export
from piapdf_jax.model_json import ModelError
from piapdf_jax.models import encoders
from piapdf_jax.models.encoders import FlaxEncoder
from piapdf_jax.models.presets import MODELS


class Scaled(nn.Module):
    gain: float

    @nn.compact
    def __call__(self, x, *, mode):
        return self.gain * nn.Conv(4, (8, 8), 8)(x)


@dataclasses.dataclass(frozen=True)
class ScaledEncoder(FlaxEncoder):
    gain: float = 1.0
    widths: tuple[int, ...] = (4, 8)

    @property
    def module(self):
        return Scaled(self.gain)


@pytest.fixture(name="export")
def fixture_export(tmp_path, monkeypatch):
    """Of an encoder with a gain of 1, as its plugin was then."""
    monkeypatch.setitem(encoders._REGISTERED, "scaled", lambda settings: ScaledEncoder())
    nano = dataclasses.replace(MODELS["nano"], encoder="scaled")
    monkeypatch.setitem(light_model.MODELS, "nano", nano)
    folder = light_model.write(tmp_path)
    info = json.loads((folder / "export.json").read_text())
    trained = {"class": "ScaledEncoder", "gain": 1.0, "widths": [4, 8]}
    info["fingerprint"] = {"settings": {"stage": {"encoder": trained}}}
    (folder / "export.json").write_text(json.dumps(info))
    return folder


def test_the_encoder_of_the_training_is_taken(export):
    assert load_export(export)[0].training == "piap"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (ScaledEncoder(gain=2.0), "gain was 1.0, is 2.0$"),
        (ScaledEncoder(widths=(4,)), r"widths was \[4, 8\], is \[4\]$"),
    ],
)
def test_an_encoder_that_has_changed_since_is_refused(export, monkeypatch, changed, words):
    monkeypatch.setitem(encoders._REGISTERED, "scaled", lambda settings: changed)
    with pytest.raises(ModelError, match=f"encoder 'scaled' differs .*{words}"):
        load_export(export)
