"""``model.json``: what an export with a head of action units says of itself, so that it can be used alone.

The standard library alone, for every runtime. The format is described in docs/exports.md; a reader takes the one
version that it knows and refuses any other.
"""

import json
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from piapdf_jax import paths

#: Version of the format. It grows by 1 with every change of a key or of its meaning.
SCHEMA = 3
FILE_NAME = "model.json"
#: What JSON has between braces.
JsonObject = dict[str, Any]


class ModelError(ValueError):
    """A ``model.json`` is of another version, or not what it should be; names the file and the key."""


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
            f"{file} is not there: its training has no head of action units, or an older version of"
            " piapdf_jax exported it"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is no text ({error})") from error
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
        told = json.loads(text, object_pairs_hook=_once)
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
        return _together(Model(**_checked({"weak_units": None, **told}, _MODEL, "")))
    except _WrongError as error:
        raise ModelError(f"{name}: {error}") from error


class _WrongError(ValueError):
    """A key that is missing, unknown or of another kind."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found


_Kind = Callable[[Any, str], Any]


def _checked(told: object, kinds: dict[str, _Kind], place: str) -> JsonObject:
    """An object with exactly these keys, each of its kind."""
    if not isinstance(told, dict):
        raise _WrongError(f"{place or 'it'} must be an object, not {told!r:.100}")
    for wrong, keys in (("is missing", kinds.keys() - told), ("is unknown", told.keys() - kinds)):
        if keys:
            raise _WrongError(f"key {place}{min(keys)!r} {wrong}")
    return {key: kind(told[key], f"{place}{key}") for key, kind in kinds.items()}


def _is(words: str, fits: Callable[[Any], bool]) -> _Kind:
    def check(value: object, place: str) -> object:
        if not fits(value):
            raise _WrongError(f"{place} must be {words}, not {value!r:.100}")
        return value

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**53


def _is_setting(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_number, value))
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


_text = _is("text", lambda value: isinstance(value, str))
_flag = _is("true or false", lambda value: isinstance(value, bool))
_count = _is("a whole number from 0", lambda value: type(value) is int and value >= 0)
_positive = _is("a whole number above 0", lambda value: type(value) is int and value > 0)
_number = _is("a number", _is_number)
_share = _is("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_spread = _is("a number above 0", lambda value: _is_number(value) and value > 0)
_setting = _is("text, a number, numbers, true, false or null", _is_setting)
_digest = _is(
    "16 hexadecimal digits",
    lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{16}", value)),
)


def _or_null(kind: _Kind) -> _Kind:
    return lambda value, place: None if value is None else kind(value, place)


def _list(kind: _Kind, length: int | None = None) -> _Kind:
    def check(value: object, place: str) -> tuple[object, ...]:
        if not isinstance(value, list) or not value or len(value) != (length or len(value)):
            raise _WrongError(
                f"{place} must be a list of {length or 'one or more'}, not {value!r:.100}"
            )
        return tuple(kind(item, f"{place}[{k}]") for k, item in enumerate(value))

    return check


def _units(value: object, place: str) -> tuple[int, ...]:
    """FACS numbers, or none."""
    return _list(_positive)(value, place) if value != [] else ()


def _object(kind: _Kind, *, by_unit: bool = False) -> _Kind:
    """Any keys, or FACS numbers as keys."""

    def check(value: object, place: str) -> dict[str, object] | dict[int, object]:
        if not isinstance(value, dict):
            raise _WrongError(f"{place} must be an object, not {value!r:.100}")
        wrong = [key for key in value if by_unit and not re.fullmatch("[1-9][0-9]{0,2}", key)]
        if wrong:
            raise _WrongError(f"{place} must name action units, not {wrong[0]!r:.100}")
        items = {key: kind(item, f"{place}.{key}") for key, item in value.items()}
        return {int(key): item for key, item in items.items()} if by_unit else items

    return check


def _record(make: Callable[..., object], kinds: dict[str, _Kind]) -> _Kind:
    return lambda value, place: make(**_checked(value, kinds, f"{place}."))


_TEXTS = ("training", "name", "version", "split")
_DATA: dict[str, _Kind] = {**dict.fromkeys(_TEXTS, _text), "people": _count, "labeled": _flag}
_MODEL: dict[str, _Kind] = {
    "training": _text,
    "title": _text,
    "digest": _digest,
    "units": _list(_positive),
    "image_size": _positive,
    "mean": _or_null(_list(_number, 3)),
    "std": _or_null(_list(_spread, 3)),
    "parts": _list(_text),
    "model": _or_null(_object(_setting)),
    "crop": _record(dict, {"size": _positive, "box_scale": _spread, "box_lift": _number}),
    "base_rates": _object(_or_null(_share), by_unit=True),
    "cuts": _object(_or_null(_share), by_unit=True),
    "no_cut": _object(_text, by_unit=True),
    "frames": _record(dict, {"labeled": _count, "scored": _count}),
    "data": _list(_record(Data, _DATA)),
    "stand_ins": _object(_text),
    "licences": _list(_record(License, dict.fromkeys(License._fields, _text))),
    "files": _object(_object(_setting)),
    "weak_units": _or_null(_units),
}


def _together(model: Model) -> Model:
    """Refuses what each key allows and two of them do not; every unit's numbers in the order of the units."""
    if len(set(model.units)) < len(model.units):
        raise _WrongError(f"units names one twice: {list(model.units)}")
    for name in ("base_rates", "cuts"):
        found = getattr(model, name)
        if found.keys() != set(model.units):
            raise _WrongError(f"{name} must be of units {list(model.units)}, not {list(found)}")
        # An object of JSON has no order.
        model = model._replace(**{name: {au: found[au] for au in model.units}})
    if not set(model.weak_units or ()) <= set(model.units):
        raise _WrongError(
            f"weak_units must be some of units {list(model.units)}, not {list(model.weak_units or ())}"
        )
    without = [au for au, cut in model.cuts.items() if cut is None]
    if model.no_cut.keys() != set(without):
        raise _WrongError(f"no_cut must give the reasons of units {without}, whose cuts are null")
    for name in ("mean", "std"):
        value, own = getattr(model, name), (model.model or {}).get(name)
        if (value is None) != (model.model is None) or (own and tuple(own) != value):
            raise _WrongError(f"{name} must be that of model, and null where model is")
    return model
