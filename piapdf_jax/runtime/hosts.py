"""Several hosts, one process each: how they meet, who writes, and what is said when one is gone."""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

# A host that has not been heard of for so long is gone; JAX's own 100 s leave devices idle for longer.
_HEARTBEAT_SECONDS = 30
_PEERS = ("gloo", "connection", "socket", "distributed service", "heartbeat", "coordination")


class HostLost(RuntimeError):
    """Another host stopped or cannot be reached, so no step can be done together."""


def start(*, coordinator: str = "", hosts: int = 0, host: int = -1) -> None:
    """Joins the other hosts; before JAX starts its devices.

    Args:
        coordinator: ``ADDRESS:PORT`` of host 0; "" takes all three from Slurm, a TPU pod,
            Kubernetes or Open MPI, as ``jax.distributed`` finds them.
        hosts: how many there are.
        host: which this is, from 0.
    """
    by_hand = {"coordinator_address": coordinator, "num_processes": hosts, "process_id": host}
    jax.distributed.initialize(
        **(by_hand if coordinator else {}),
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        # A host that ends with an error of its own waits so long for the others, who wait for it.
        shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
    )


def primary() -> bool:
    """Whether this host is the one that writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every host has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"piapdf_jax {name}")


def first(name: str, work: Callable[[], Any]) -> None:
    """Lets the primary host do something while the others wait for it."""
    if primary():
        work()
    barrier(name)


def told_by_first(number: Callable[[], int]) -> int:
    """What the primary host counts or decides, on every host."""
    found = number() if primary() else 0
    if jax.process_count() > 1:
        found = multihost_utils.broadcast_one_to_all(np.int32(found))
    return int(found)


def everywhere(holds: bool) -> bool:
    """Whether something holds on every host; all ask together."""
    if jax.process_count() == 1:
        return holds
    return bool(np.all(multihost_utils.process_allgather(np.int32(holds))))


def lost(error: BaseException) -> HostLost | None:
    """What an error of a step says of the other hosts, or None where it says nothing of them."""
    if isinstance(error, HostLost):
        return error
    if jax.process_count() == 1 or not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    text = str(error).lower()
    if not any(word in text for word in _PEERS):
        return None
    return HostLost(
        f"host {jax.process_index()} of {jax.process_count()}: another host stopped or cannot be"
        f" reached ({_line(error)}); start all hosts again, the run goes on from its last"
        " checkpoint"
    )


def leave(code: int) -> NoReturn:
    """Ends this process at once: an orderly end would wait for the hosts that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
