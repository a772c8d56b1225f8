"""Fingerprint of a training: all settings, data, exports and sources that decide its numbers, and name its export."""

import ast
import dataclasses
import functools
import importlib.util
import inspect
import os
import pathlib
import site
import sys
import sysconfig
from collections.abc import Iterable
from typing import Any

import jax

from experiments.imports import imported
from experiments.job import Job
from experiments.sections import TrainSection
from piapdf_jax.data import description
from piapdf_jax.models.config import ModelConfig, encoder_of, part_settings
from piapdf_jax.models.encoders import encoder_factory, encoder_fields
from piapdf_jax.runtime.digests import source_digest
from piapdf_jax.stages.feedback_options import MATCHED

#: Packages that sources are never followed into: what they choose stands in the settings, what they
#: build in the checksums of the shards.
_NOT_FOLLOWED = ("experiments", "data_builders")
#: What makes an update of a batch, whatever the training.
_EVERY_TRAINING = ("piapdf_jax.runtime.mesh",)
#: What a choice by people kept apart rests on.
_CHOICE = (
    "piapdf_jax.metrics",
    "piapdf_jax.runtime.checkpoints",
    "piapdf_jax.runtime.evaluate",
    "piapdf_jax.data.evaluation",
)
#: What rates that pseudo labels meet are computed by.
_RATES = ("piapdf_jax.metrics",)
_STDLIB = sys.stdlib_module_names
#: Keys of our own sections that say which data are read; the data themselves stand beside the settings.
_DATA_KEYS = (
    *("dataset", "pairs", "seed", "units", "start", "disfa_fraction", "judge_subjects"),
    *("unlabeled_dataset", "unlabeled_fraction"),
)
#: What a fingerprint calls some classes and fields: exports on disk are found by its words.
_WORDS = {
    "PI1Stage": "PI1Generator",
    "PI2Stage": "PI2Refine",
    "init_from": "begin",
    "binarize": "binarise",
}


def fingerprint(job: Job, taken: dict[str, str], *, cache: pathlib.Path) -> dict[str, Any]:
    """Returns all that decides a training's numbers, as JSON holds it.

    Args:
        job: the training.
        taken: digest of the export that is taken from each training it depends on.
        cache: file of known checksums of shards.

    Returns:
        ``training``, ``seed``, ``settings``, ``data``, ``takes``, ``numerics`` and ``sources``.
    """
    slices = job.slices
    parts = [(slices.train, 1.0), *slices.pools]
    data = [
        [part.dataset, part.split, description.fingerprint(part.folder, cache=cache), share]
        + part.left_out()
        for part, share in parts
    ]
    return {
        "training": job.name,
        "seed": job.seed,
        "settings": settings(job),
        "data": data,
        "takes": {name: taken[name] for name in job.depends_on},
        "numerics": numerics(),
        "sources": source_digests(_start_modules(job)),
    }


def settings(job: Job) -> dict[str, Any]:
    """Returns every setting that has an effect on a training, and no other."""
    config, feed = job.config, job.training.feed
    stage = stage_fields(job.stage)
    told: dict[str, Any] = {
        "stage": stage,
        "steps": job.section.total_steps,
        "batch_size": job.section.batch_size,
        "section": _section_fields(job.section, stage),
        "image_size": config.data.image_size,
        "augment": dataclasses.asdict(config.data.augment),
    }
    if feed.labels:
        told["units"] = job.units
    if feed.maps or stage.get("num_maps"):
        told["maps"] = job.maps
    if job.slices.train.labeled is not None:
        told["labeled_frames"] = job.slices.train.labeled.count
    if job.slices.validation is not None:
        told["validation"] = {
            "people": list(job.slices.validation.include),
            "every": config.eval.validate_every,
        }
    if job.slices.judges is not None:
        told["judges"] = {"people": list(job.slices.judges.include)}
    return told


def stage_fields(stage: Any) -> dict[str, Any]:
    """Returns the fields of a stage, of its networks' sizes those of the parts that it has.

    Raises:
        TypeError: for a stage that is no dataclass: nothing could tell it from another.
    """
    if not dataclasses.is_dataclass(stage) or isinstance(stage, type):
        raise TypeError(f"stage {type(stage).__name__} must be a dataclass, whose fields decide it")
    found: dict[str, Any] = {"class": _word(type(stage).__name__)}
    for field in dataclasses.fields(stage):
        if field.metadata.get("runtime_only"):
            continue
        value: Any = getattr(stage, field.name)
        if field.name == "model":
            parts = getattr(stage, "parts", None)
            if parts is None or "encoder" in parts:
                found["encoder"] = encoder_fields(encoder_of(value))
            value = part_settings(value, parts)
        found[_word(field.name)] = _decisive_fields(value) if _is_instance(value) else value
    return found


def _word(name: str) -> str:
    """What a fingerprint calls a class or field."""
    return _WORDS.get(name, name)


def _decisive_fields(value: Any) -> dict[str, Any]:
    idle = {f.name for f in dataclasses.fields(value) if f.metadata.get("runtime_only")}
    return {k: told for k, told in dataclasses.asdict(value).items() if k not in idle}


def _encoder_modules(stage: Any) -> list[str]:
    """The modules that make the encoder of a stage's networks; none where it has no encoder."""
    model, parts = getattr(stage, "model", None), getattr(stage, "parts", None)
    if not isinstance(model, ModelConfig) or (parts is not None and "encoder" not in parts):
        return []
    return [_module_of(encoder_factory(model.encoder)), type(encoder_of(model)).__module__]


def _section_fields(section: Any, stage: dict[str, Any]) -> dict[str, Any]:
    """What a section says that does not stand in the stage already."""
    skip = {field.name for field in dataclasses.fields(TrainSection)}
    ours = [cls for cls in type(section).__mro__ if cls.__module__ == TrainSection.__module__]
    skip |= {name for cls in ours for name in _DATA_KEYS if name in cls.__annotations__}
    elsewhere = ("runtime_only", "in_stage")
    for field in dataclasses.fields(section):
        skip |= {field.name} if any(map(field.metadata.get, elsewhere)) else set()
    inner = [value for value in stage.values() if isinstance(value, dict)]
    # The same name with another value is another thing.
    stands = [(name, value) for told in (stage, *inner) for name, value in told.items()]
    return {
        _word(name): value
        for name, value in dataclasses.asdict(section).items()
        if name not in skip and (_word(name), value) not in stands
    }


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def numerics() -> dict[str, Any]:
    """Returns the settings of the process that decide what arithmetic and random draws give."""
    names = (
        "enable_x64",
        "default_matmul_precision",
        "default_prng_impl",
        "threefry_partitionable",
        "random_seed_offset",
    )
    return {name: getattr(jax.config, f"jax_{name}", None) for name in names}


def _start_modules(job: Job) -> list[str]:
    """The modules that a training starts from: its stage, its stream, the update, what was made outside."""
    feed, training = job.training.feed, job.training
    made_by = (training.stage, training.depends_on, feed.slices, feed.stream)
    names = [_module_of(made) for made in made_by]
    names = [name for name in names if _followed(name)]
    names += [type(job.stage).__module__, type(job.stream()).__module__, *_EVERY_TRAINING]
    names += _encoder_modules(job.stage)
    if job.slices.validation is not None:
        names += _CHOICE
    if getattr(getattr(job.stage, "options", None), "labels", None) == MATCHED:
        names += _RATES
    return [name for name in dict.fromkeys(names) if name.partition(".")[0] not in _STDLIB]


def _module_of(function: Any) -> str:
    """Where a function stands that may be bound to arguments or wrapped."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function).__module__


def source_digests(modules: Iterable[str]) -> dict[str, str]:
    """Returns the digest of every source that some modules rest on.

    The import closure of the modules by their syntax trees, imports within functions included;
    packages of other people (the standard library, what pip installed) are left out, unless a
    module to start from is of them.

    Args:
        modules: dotted names to start from.

    Returns:
        {dotted name: digest}; comments, docstrings and layout do not count.
    """
    own = {"piapdf_jax", *(name.partition(".")[0] for name in modules)}
    waiting, found = list(dict.fromkeys(modules)), {}
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        # Asked of the top alone: to look below it Python would import it.
        if not name or name in found or not (top in own or _is_outside_of_packages(top)):
            continue
        path = _path_of(name)
        if path is None:
            continue
        state = path.stat()
        digest, imports = _read(path, name, state.st_mtime_ns, state.st_size)
        found[name] = digest
        # Importing a module runs the packages that it lies in.
        waiting.append(name.rpartition(".")[0])
        waiting += [other for other in imports if _followed(other)]
    return dict(sorted(found.items()))


def _followed(name: str) -> bool:
    return name.partition(".")[0] not in _NOT_FOLLOWED


@functools.lru_cache(maxsize=1024)
def _path_of(name: str) -> pathlib.Path | None:
    """The source file of a module; None for what is none, such as a function of one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    found = spec.origin if spec else None
    return pathlib.Path(found) if found and found.endswith(".py") else None


@functools.cache
def _is_outside_of_packages(top: str) -> bool:
    """Whether a top-level module is neither of the standard library nor of an installed package."""
    path = _path_of(top)
    # A folder of modules without an __init__.py has no source of its own.
    places = [path] if path else [pathlib.Path(folder) for folder in _folders_of(top)]
    return bool(places) and not any(
        place.is_relative_to(folder) for place in places for folder in _packages()
    )


def _folders_of(top: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


@functools.cache
def _packages() -> tuple[str, ...]:
    """Folders of the standard library and of installed packages."""
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {site.getusersitepackages(), *site.getsitepackages()}
    return tuple(os.path.realpath(path) for path in found) + tuple(found)


@functools.lru_cache(maxsize=1024)
def _read(path: pathlib.Path, name: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Digest of a source and the modules that it may import; anew when the file has changed."""
    text = path.read_text(encoding="utf-8")
    is_package = path.name == "__init__.py"
    imports = imported(ast.parse(text), name, is_package)
    return source_digest([path]), tuple(dict.fromkeys(imports))
