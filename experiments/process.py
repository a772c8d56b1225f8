"""Sets up a process of the launcher before it trains, and records its configuration and versions."""

import importlib.metadata
import json
import logging
import platform

import jax
from absl import logging as absl_logging

from experiments.config import ExperimentConfig, as_dict
from piapdf_jax import compile_cache, process_memory
from piapdf_jax.runtime import hosts

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets")
log = logging.getLogger("piapdf")


def setup() -> None:
    """Sets up logging, memory and the persistent compilation cache; before JAX starts its devices."""
    if process_memory.cpu_alone():
        process_memory.keep_freed_memory()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    log.setLevel(logging.INFO)
    # Orbax logs each of its many writes that fail; the one error that ends the run says it all.
    absl_logging.set_verbosity(absl_logging.FATAL)
    for name in ("jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    compile_cache.enable()


def silence_other_hosts() -> None:
    """Lets one host alone report; after the hosts have met."""
    if not hosts.primary():
        log.setLevel(logging.WARNING)


def config_json(config: ExperimentConfig) -> str:
    """Returns the resolved configuration as JSON."""
    return json.dumps(as_dict(config), indent=2)


def run_json(config: ExperimentConfig) -> str:
    """Returns the configuration of one run as JSON: runs of one command differ in ``fold`` and ``seed`` alone."""
    told = as_dict(config)
    del told["folds"], told["seeds"]
    return json.dumps(told, indent=2)


def versions() -> dict[str, str]:
    """Returns versions of Python and of the packages that decide numbers, and the devices."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return {"python": platform.python_version(), **found, "devices": devices}
