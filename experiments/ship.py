"""Writes the detector that the package ships out of a finished export, and refuses one that does not fit there.

python -m experiments.ship runs/exports/baseline/0123456789abcdef --out=piapdf_jax/data_files/drawn
python -m experiments.ship EXPORT --out=FOLDER --judged=judged.json

The folder holds model.json, model.onnx and parts.npz, the last two in half precision: the one to run, the other to
start a training from (--set model.pretrained=drawn). Other files in it, such as MODEL_CARD.md, stay.
"""

from absl import app, flags
from absl import logging as absl_logging

from data_builders.registry import import_plugins
from piapdf_jax import command_line, commands, paths

_OUT = flags.DEFINE_string("out", "", "folder of the files, created if it does not exist")
_JUDGED = flags.DEFINE_string(
    "judged", "", "JSON with the ROC AUC of each unit: those below 0.7 are named as weak"
)
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers the encoder of the export, repeatable"
)


def main(arguments: list[str]) -> int:
    """Writes what the flags name; returns the exit code."""
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax tells of every step
    if len(arguments) != 2 or not _OUT.value:
        example = commands.python("experiments.ship", "EXPORT", "--out=FOLDER")
        raise app.UsageError(f"give the folder of an export and --out: {example}")
    from experiments.shipping import ship  # after the usage, which needs no JAX

    try:
        import_plugins(_PLUGIN.value)
        out = paths.target_folder(_OUT.value, "--out")
        judged = paths.local_file(_JUDGED.value, "--judged") if _JUDGED.value else None
        model = ship(paths.local_path(arguments[1], "export"), out, judged)
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from error
    for name, facts in model.files.items():
        told = f"{facts['bytes']:,} bytes, differs by {facts['difference']:.1e} from float32"
        print(f"{out / name}: {told}")
    if model.weak_units is not None:
        print(f"weak units: {', '.join(f'AU{au}' for au in model.weak_units) or 'none'}")
    return 0


if __name__ == "__main__":
    command_line.run(main, arguments=1)
