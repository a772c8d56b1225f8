"""Makes the detector that the package ships from a finished export, checks it, and lists its weak units."""

import json
import pathlib
import tempfile

import numpy as np

from experiments import export_files, licenses
from experiments.judged_report import aucs
from piapdf_jax import drawn_detector
from piapdf_jax.export import check
from piapdf_jax.export.detector_file import Light, golden_probabilities, read_light
from piapdf_jax.export.formats import Wanted
from piapdf_jax.model_json import FILE_NAME, Model, read_model, to_json
from piapdf_jax.models import shipped
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

#: Of the three files together, bytes.
MOST = 4_000_000
#: A unit whose ROC AUC is below is weak.
LEAST_AUC = 0.7
_FORMAT, _DTYPE = "onnx", "float16"


class ShipError(ValueError):
    """An export cannot be shipped; the message says why."""


def ship(export: pathlib.Path, out: pathlib.Path, judged: pathlib.Path | None = None) -> Model:
    """Writes the three files, each checked against JAX in float32 on golden frames before any is in place.

    Args:
        export: folder of the export of a training of action units.
        out: folder of the files.
        judged: JSON of ROC AUC by unit, see ``weak_units``; None leaves what the export says of them.

    Returns:
        What the written ``model.json`` says.

    Raises:
        ShipError: for files that are too large together or not equal, and where nothing installed runs them.
        ModelError, ExportError: for an export that is no light detector, or cannot be read.
    """
    light, wanted = read_light(export), Wanted(_DTYPE, "uint8")
    export_files.check_installed([_FORMAT], wanted)
    weak = weak_units(judged, light.model) if judged else light.model.weak_units
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        export_files.write(folder, light, [_FORMAT], wanted)
        differences = {check.MODEL_FILE: _difference_of_file(folder)}
        differences[drawn_detector.PARTS_FILE] = _difference_of_parts(folder, light)
        _check_differences(differences)
        files = dict(read_model(folder).files)
        files[drawn_detector.PARTS_FILE] = {"format": "parts", "dtype": _DTYPE}
        files[drawn_detector.PARTS_FILE] |= check.described(folder / drawn_detector.PARTS_FILE)
        files = {name: {**facts, "difference": differences[name]} for name, facts in files.items()}
        terms = licenses.of_shipped(light.model.licences)
        model = light.model._replace(files=files, licences=terms, weak_units=weak)
        (folder / FILE_NAME).write_text(to_json(model), encoding="utf-8")
        _put(folder, out, (*files, FILE_NAME))
    return model


def _difference_of_file(folder: pathlib.Path) -> float:
    """The largest difference of a probability in any installed runtime of the .onnx file."""
    results = check.check(folder)
    found = [result.difference for result in results if result.difference is not None]
    if not found:
        raise ShipError(
            f"nothing that is installed runs {check.MODEL_FILE}, so it cannot be checked: "
            + "; ".join(result.unsupported for result in results)
        )
    return max(found)


def _difference_of_parts(folder: pathlib.Path, light: Light) -> float:
    """Writes the parts, and returns the largest difference of a probability once they are read back."""
    path = folder / drawn_detector.PARTS_FILE
    try:
        shipped.write_parts(path, light.parts)
    except ValueError as error:
        raise ShipError(str(error)) from error
    parts = shipped.read_parts(check.described(path)["sha256"], folder)
    golden = check.read_golden(folder / check.GOLDEN_FILE)
    found = golden_probabilities(light._replace(parts=parts), golden.frames)
    return float(np.abs(found - golden.probabilities).max())


def _check_differences(differences: dict[str, float]) -> None:
    limit = check.TOLERANCES[_DTYPE]
    assert limit is not None
    # A difference that is no number is none that is small.
    wrong = [f"{name} by {d:.1e}" for name, d in differences.items() if not d <= limit]
    if wrong:
        raise ShipError(
            f"half precision differs from float32 on golden frames: {', '.join(wrong)}, more than {limit:g}"
        )


def _put(folder: pathlib.Path, out: pathlib.Path, names: tuple[str, ...]) -> None:
    """Moves the files into place, ``model.json`` last: it names the others."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    if sum(sizes.values()) > MOST:
        told = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in sizes.items())
        raise ShipError(
            f"the files have {sum(sizes.values()) / 1e6:.2f} MB together ({told}), more than"
            f" {MOST / 1e6:g}: ship a smaller encoder, such as that of model=small"
        )
    out.mkdir(parents=True, exist_ok=True)
    with explain_disk_errors(out, sum(sizes.values())):
        for name in names:
            with replacing(out / name) as part:
                part.write_bytes((folder / name).read_bytes())


def weak_units(path: pathlib.Path, model: Model) -> tuple[int, ...]:
    """Returns the units of a model whose ROC AUC is below ``LEAST_AUC``, or which has none.

    Args:
        path: what ``experiments.judge --out`` writes.
        model: whose units are asked for.

    Raises:
        ShipError: for a file that says nothing of them.
    """
    try:
        found = aucs(json.loads(path.read_text(encoding="utf-8")), model.digest)
        wrong = [key for key, auc in found.items() if auc is not None and not 0 <= auc <= 1]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ShipError(f"--judged={path} holds no ROC AUC by unit ({reason})") from error
    if wrong or not found.keys() & {f"AU{au}" for au in model.units}:
        told = f"{wrong[0]} is not a number from 0 to 1" if wrong else "it names none of its units"
        raise ShipError(f"--judged={path} holds no ROC AUC of {model.title} {model.digest}: {told}")
    scores = {au: found.get(f"AU{au}") for au in model.units}
    # Of a unit that nobody could judge nothing good is known.
    return tuple(au for au, auc in scores.items() if auc is None or auc < LEAST_AUC)
