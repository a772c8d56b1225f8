"""``--set a.b=v``: one setting of a configuration, by its key."""

import dataclasses
import difflib
from typing import Any

from experiments import presets
from experiments.values import coerce
from piapdf_jax import ranges
from piapdf_jax.models.encoders import encoder_names
from piapdf_jax.models.presets import MODELS


class ConfigError(ValueError):
    """The user asked for something that does not exist; the message says what does."""


def unknown(kind: str, name: str, known: Any) -> str:
    """Returns the message for an unknown name, with the nearest known ones."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"unknown {kind} {name!r}: nearest is {near[0]!r}; known: {', '.join(known)}"


def keys(section: Any, prefix: str = "") -> dict[str, Any]:
    """Returns every key of a configuration, sections included, in dotted form."""
    found: dict[str, Any] = {}
    inside = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
    inside.pop("given", None)
    for name, value in (inside | dict(inside.pop("plugins", ()))).items():
        name = prefix + name
        found[name] = value
        if dataclasses.is_dataclass(value):
            found |= keys(value, name + ".")
    return found


def replaced(section: Any, path: list[str], text: str, key: str) -> Any:
    """Returns a configuration, or a section of it, with one value as a text says.

    Args:
        section: a dataclass.
        path: parts of the key below it.
        text: what ``--set`` gives after the equals sign.
        key: whole, for messages and for names that stand for several settings.

    Raises:
        ConfigError: for a section in place of a value, an unknown name, and a value that the field does not allow.
    """
    name, plugins = path[0], dict(getattr(section, "plugins", ()))
    if name in plugins:
        if len(path) == 1:
            raise _is_section(key, plugins[name])
        plugins[name] = replaced(plugins[name], path[1:], text, key)
        return dataclasses.replace(section, plugins=tuple(plugins.items()))
    old = getattr(section, name)
    if len(path) > 1:
        return dataclasses.replace(section, **{name: replaced(old, path[1:], text, key)})
    if key in ("model", "df"):
        return _preset(section, key, text)
    if dataclasses.is_dataclass(old):
        raise _is_section(key, old)
    hint = ranges.hints(section)[name]
    value = coerce(text, hint)
    if key == "methods" and value == ("all",):
        from experiments.trainings import au_methods

        value = au_methods()
    if told := ranges.complaint(key, value, hint, text=text):
        raise ConfigError(told)
    try:
        return dataclasses.replace(section, **{name: value})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"cannot set {key}={text}: {error}") from error


def _preset(config: Any, key: str, text: str) -> Any:
    """A configuration with the settings that a name stands for."""
    if key == "df":
        if text not in presets.FEEDBACK:
            raise ConfigError(unknown("setting of df", text, presets.FEEDBACK))
        return dataclasses.replace(config, df=presets.with_feedback(config.df, text))
    if text in encoder_names() and text not in MODELS:
        raise ConfigError(f"model={text} names an encoder: use --set model.encoder={text}")
    if text not in MODELS:
        raise ConfigError(unknown("model", text, MODELS))
    model, size = presets.sized(text)
    data = dataclasses.replace(config.data, image_size=size)
    return dataclasses.replace(config, model=model, data=data)


def _is_section(key: str, section: Any) -> ConfigError:
    inside = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(section))
    return ConfigError(f"{key!r} is a section; set one of {inside}")
