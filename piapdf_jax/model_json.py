"""Reads and writes ``model.json``, which describes an export with a head of action units so that it can be used alone.

The standard library alone, for every runtime. The format is described in docs/exports.md; a reader takes the one
version that it knows and refuses any other.
"""

import json
import os
from typing import NamedTuple

from piapdf_jax import json_kinds as kinds
from piapdf_jax import paths
from piapdf_jax.types import JsonObject

#: Version of the format. It grows by 1 with every change of a key or of its meaning.
SCHEMA = 3
FILE_NAME = "model.json"


class ModelError(ValueError):
    """A ``model.json`` has another version or is invalid; the message names the file and the key."""


class Data(NamedTuple):
    """One data set that an export learned from, by itself or through an export that it rests on.

    Attributes:
        training: name of the training that read it.
        name: of the data set, with its builder's config: ``synthetic_faces/bp4d``.
        version: of the data set.
        split: TFDS split expression.
        people: how many people of it were read.
        labeled: whether its labels of action units were read.
    """

    training: str
    name: str
    version: str
    split: str
    people: int
    labeled: bool


class License(NamedTuple):
    """Terms of something that an export is made of: ``of`` what, ``terms`` in words, ``source`` to look it up."""

    of: str
    terms: str
    source: str


class Model(NamedTuple):
    """What ``model.json`` says; dictionaries of units have FACS numbers as keys, in the order of ``units``.

    Attributes:
        training: name of the training.
        title: what a person reads.
        digest: of the export.
        units: FACS numbers, in the order of the head's columns.
        image_size: side of the RGB images that the networks take, pixels.
        mean: of red, green and blue in [0, 1], subtracted by the networks themselves; None where
            ``model`` is.
        std: what the networks divide by after that; None where ``model`` is.
        parts: parts of the export that make the scores.
        model: fields of ``ModelConfig`` that decide those parts; None where a plugin's own networks
            make the scores.
        crop: ``size``, ``box_scale`` and ``box_lift`` of the crop recipe, see docs/exports.md.
        base_rates: share of present among the known labels of the training frames; None where no
            label is known.
        cuts: a unit counts as present from this score on; None where ``no_cut`` says why.
        no_cut: unit -> reason.
        frames: ``labeled``, number of training frames, and ``scored``, how many of them the cuts
            come from.
        data: all that it learned from.
        stand_ins: key of the configuration -> which data set stands in for which.
        licences: of the software, the data and the weights.
        files: name of a file for another runtime that lies beside -> what it is; none in an export of a training.
        weak_units: of a shipped detector, units that are not told well on data it was not made for; None where nobody
            has judged it, and then the key is not there.
    """

    training: str
    title: str
    digest: str
    units: tuple[int, ...]
    image_size: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    parts: tuple[str, ...]
    model: JsonObject | None
    crop: dict[str, float]
    base_rates: dict[int, float | None]
    cuts: dict[int, float | None]
    no_cut: dict[int, str]
    frames: dict[str, int]
    data: tuple[Data, ...]
    stand_ins: dict[str, str]
    licences: tuple[License, ...]
    files: dict[str, JsonObject]
    weak_units: tuple[int, ...] | None = None


def read_model(path: str | os.PathLike[str]) -> Model:
    """Reads the ``model.json`` of an export; nothing in it is executed or opened.

    Args:
        path: folder of an export, or the file.

    Raises:
        FileNotFoundError: where there is none, as in exports without a head of action units.
        ModelError: for another version, and for a file that is not what it should be.
    """
    file = paths.local_path(path, "export")
    if file.is_dir():
        file = file / FILE_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist: its training has no head of action units, or an older version of"
            " piapdf_jax exported it"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not text ({error})") from error
    return from_json(text, str(file))


def to_json(model: Model) -> str:
    """Writes the text of a ``model.json``.

    Raises:
        ModelError: for what ``from_json`` would refuse.
        ValueError: for NaN and infinities, which JSON does not hold.
    """
    told = {"schema": SCHEMA, **model._asdict()}
    told["data"] = [part._asdict() for part in model.data]
    told["licences"] = [license._asdict() for license in model.licences]
    if model.weak_units is None:
        del told["weak_units"]
    text = json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    from_json(text, FILE_NAME)
    return text


def from_json(text: str, name: str = FILE_NAME) -> Model:
    """Parses the text of a ``model.json``.

    Args:
        text: JSON.
        name: of the file, for messages.

    Raises:
        ModelError: in one line, naming the file and the key.
    """
    try:
        told = json.loads(text, object_pairs_hook=kinds.once)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} cannot be read as JSON ({error})") from error
    if not isinstance(told, dict) or "schema" not in told:
        raise ModelError(f"{name} does not say its version: there is no key 'schema'")
    schema = told.pop("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise ModelError(
            f"{name} is of schema {schema!r:.100}; this version of piapdf_jax reads schema {SCHEMA}"
        )
    try:
        return _together(Model(**kinds.checked({"weak_units": None, **told}, _MODEL, "")))
    except kinds.KindError as error:
        raise ModelError(f"{name}: {error}") from error


_TEXTS = ("training", "name", "version", "split")
_DATA: dict[str, kinds.Kind] = {
    **dict.fromkeys(_TEXTS, kinds.TEXT),
    "people": kinds.COUNT,
    "labeled": kinds.FLAG,
}
_MODEL: dict[str, kinds.Kind] = {
    "training": kinds.TEXT,
    "title": kinds.TEXT,
    "digest": kinds.DIGEST,
    "units": kinds.list_of(kinds.POSITIVE),
    "image_size": kinds.POSITIVE,
    "mean": kinds.or_null(kinds.list_of(kinds.NUMBER, 3)),
    "std": kinds.or_null(kinds.list_of(kinds.SPREAD, 3)),
    "parts": kinds.list_of(kinds.TEXT),
    "model": kinds.or_null(kinds.object_of(kinds.SETTING)),
    "crop": kinds.record_of(
        dict, {"size": kinds.POSITIVE, "box_scale": kinds.SPREAD, "box_lift": kinds.NUMBER}
    ),
    "base_rates": kinds.object_of(kinds.or_null(kinds.SHARE), by_unit=True),
    "cuts": kinds.object_of(kinds.or_null(kinds.SHARE), by_unit=True),
    "no_cut": kinds.object_of(kinds.TEXT, by_unit=True),
    "frames": kinds.record_of(dict, {"labeled": kinds.COUNT, "scored": kinds.COUNT}),
    "data": kinds.list_of(kinds.record_of(Data, _DATA)),
    "stand_ins": kinds.object_of(kinds.TEXT),
    "licences": kinds.list_of(kinds.record_of(License, dict.fromkeys(License._fields, kinds.TEXT))),
    "files": kinds.object_of(kinds.object_of(kinds.SETTING)),
    "weak_units": kinds.or_null(kinds.units),
}


def _together(model: Model) -> Model:
    """Refuses what each key allows and two of them do not; every unit's numbers in the order of the units."""
    if len(set(model.units)) < len(model.units):
        raise kinds.KindError(f"units names one twice: {list(model.units)}")
    for name in ("base_rates", "cuts"):
        found = getattr(model, name)
        if found.keys() != set(model.units):
            raise kinds.KindError(f"{name} must be of units {list(model.units)}, not {list(found)}")
        # An object of JSON has no order.
        model = model._replace(**{name: {au: found[au] for au in model.units}})
    if not set(model.weak_units or ()) <= set(model.units):
        raise kinds.KindError(
            f"weak_units must be some of units {list(model.units)}, not {list(model.weak_units or ())}"
        )
    without = [au for au, cut in model.cuts.items() if cut is None]
    if model.no_cut.keys() != set(without):
        raise kinds.KindError(
            f"no_cut must give the reasons of units {without}, whose cuts are null"
        )
    for name in ("mean", "std"):
        value, own = getattr(model, name), (model.model or {}).get(name)
        if (value is None) != (model.model is None) or (own and tuple(own) != value):
            raise kinds.KindError(f"{name} must be that of model, and null where model is")
    return model
