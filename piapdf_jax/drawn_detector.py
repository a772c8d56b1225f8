"""Location of the detector that this package ships, trained on drawn faces; found without JAX.

``experiments.ship`` writes its folder: ``model.json``, ``model.onnx`` and ``parts.npz``.
"""

import pathlib

from piapdf_jax import commands

#: What ``model.pretrained`` calls it.
NAME = "drawn"
FOLDER = pathlib.Path(__file__).resolve().parent / "data_files" / NAME
MODEL_FILE, ONNX_FILE, PARTS_FILE = "model.json", "model.onnx", "parts.npz"


def detector_file() -> pathlib.Path:
    """Returns the .onnx file of the shipped detector.

    Raises:
        FileNotFoundError: where none is shipped; in one line, which tells how to train one.
    """
    path = FOLDER / ONNX_FILE
    if not path.is_file():
        command = commands.python("experiments.piapdf", "--config=drawn")
        raise FileNotFoundError(
            f"this installation ships no detector ({path} is missing): train one by {command}, and name its"
            " export as --model"
        )
    return path
