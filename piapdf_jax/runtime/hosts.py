"""Training on several hosts, one process each: connection, the host that writes, and loss of a host."""

import contextlib
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

# A host that has not been heard of for so long is gone; JAX's own 100 s leave devices idle for longer.
_HEARTBEAT_SECONDS = 30
#: Hosts are not started at the same moment, so one waits so long for the others.
_MEETING_SECONDS = 300
_ADDRESS = re.compile(r"(?P<name>[^\s:/\[\]]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
#: JAX 0.12 raises the second where a collective cannot even be dispatched.
_STEP_ERRORS = (jax.errors.JaxRuntimeError, ValueError)
_PEERS = ("gloo", "connection", "socket", "distributed service", "heartbeat", "coordination")


class HostLost(RuntimeError):
    """Another host stopped or cannot be reached, so no step can be done together."""


class HostsError(ValueError):
    """The flags for several hosts are invalid; the message names the flag."""


def is_requested(*, coordinator: str, hosts: int | None, host: int | None, automatic: bool) -> bool:
    """Returns whether a command line asks for several hosts.

    Args:
        coordinator: value of ``--coordinator``, "" where it is not given.
        hosts: value of ``--hosts``.
        host: value of ``--host``.
        automatic: whether ``--distributed`` is given.

    Raises:
        HostsError: for flags that do not go together, and numbers that cannot be.
    """
    if coordinator and automatic:
        raise HostsError(
            "--coordinator names the hosts by hand, --distributed finds them: give one"
        )
    if coordinator:
        _check_by_hand(coordinator, hosts, host)
    elif hosts is not None or host is not None:
        flag = "--hosts" if hosts is not None else "--host"
        raise HostsError(f"{flag} goes with --coordinator=ADDRESS:PORT, which is not given")
    return bool(coordinator or automatic)


def _check_by_hand(coordinator: str, hosts: int | None, host: int | None) -> None:
    found = _ADDRESS.fullmatch(coordinator)
    if found is None or not 0 < int(found["port"]) < 2**16:
        raise HostsError(
            f"--coordinator={coordinator} must be ADDRESS:PORT of host 0, such as 10.0.0.1:8476 or"
            " [fd00::1]:8476, with a port of 1 to 65535"
        )
    if hosts is None or hosts < 1:
        given = "is not given" if hosts is None else f"is {hosts}"
        raise HostsError(f"--hosts {given}: with --coordinator it must give the number of hosts")
    if host is None or not 0 <= host < hosts:
        given = "is not given" if host is None else f"is {host}"
        raise HostsError(
            f"--host {given}: with --hosts={hosts} each host gives its own index, 0 to {hosts - 1}"
        )


def initialize(*, coordinator: str = "", hosts: int | None = None, host: int | None = None) -> None:
    """Joins the other hosts; before JAX starts its devices.

    Where they do not meet within five minutes, this prints one line and ends the process with exit
    code 3, because JAX would end it with a trace of its own.

    Args:
        coordinator: ``ADDRESS:PORT`` of host 0; "" takes all three from Slurm, a TPU pod,
            Kubernetes or Open MPI, as ``jax.distributed`` finds them.
        hosts: how many there are.
        host: which this is, from 0.

    Raises:
        HostsError: where no such cluster is found, or nothing can listen at the port of host 0.
    """
    by_hand = {"coordinator_address": coordinator, "num_processes": hosts, "process_id": host}
    if coordinator:
        _check_by_hand(coordinator, hosts, host)
        if host == 0:
            _check_port(int(coordinator.rpartition(":")[2]))
    with warnings.catch_warnings(record=True) as caught, _exit_if_never_met(coordinator):
        try:
            jax.distributed.initialize(
                **(by_hand if coordinator else {}),
                initialization_timeout=2 * _MEETING_SECONDS,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                # A host that ends with an error of its own waits so long for the others, who wait for it.
                shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
            )
        # Each kind of cluster raises what it likes about what it lacks.
        except Exception as error:
            ours = "distributed.initialize" in str(error)  # called twice, or too late
            if coordinator or ours or isinstance(error, jax.errors.JaxRuntimeError):
                raise
            reasons = [_one_line(error), *(_one_line(warning.message) for warning in caught)]
            raise HostsError(
                "--distributed finds no cluster here; Slurm, TPU pods, Kubernetes and Open MPI were"
                f" tried ({'; '.join(reasons)}). Name the hosts by hand: --coordinator=ADDRESS:PORT"
                " --hosts=N --host=K"
            ) from error


def _check_port(port: int) -> None:
    """Refuses a port that is taken: JAX would end the process without a word."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise HostsError(
            f"--coordinator: host 0 cannot listen at port {port} ({os.strerror(error.errno or 0)}); use another one"
            " on all hosts"
        ) from error


@contextlib.contextmanager
def _exit_if_never_met(coordinator: str) -> Iterator[None]:
    """Ends the process where what is done within takes longer than hosts need to meet."""

    def give_up() -> None:
        place = f" at --coordinator={coordinator}" if coordinator else ""
        print(
            f"error: the hosts have not met{place} within {_MEETING_SECONDS} s: look whether all of"
            " them run, name the same address and number of hosts, each another --host, and reach"
            " that port",
            file=sys.stderr,
        )
        exit_now(3)

    timer = threading.Timer(_MEETING_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def primary() -> bool:
    """Returns whether this host is the one that writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every host has reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"piapdf_jax {name}")


def run_on_primary(name: str, work: Callable[[], object]) -> None:
    """Runs a function on the primary host while the others wait for it."""
    if primary():
        work()
    barrier(name)


def broadcast_from_primary(number: Callable[[], int]) -> int:
    """Returns on every host the number that the primary host computes."""
    found = number() if primary() else 0
    if jax.process_count() > 1:
        found = multihost_utils.broadcast_one_to_all(np.int32(found))
    return int(found)


def holds_everywhere(holds: bool) -> bool:
    """Returns whether something holds on every host; all ask together."""
    if jax.process_count() == 1:
        return holds
    return bool(np.all(multihost_utils.process_allgather(np.int32(holds))))


def as_host_lost(error: BaseException) -> HostLost | None:
    """Returns the ``HostLost`` that an error of a step stands for, or None if it has another cause."""
    if isinstance(error, HostLost):
        return error
    if jax.process_count() == 1 or not isinstance(error, _STEP_ERRORS):
        return None
    text = str(error).lower()
    if not any(word in text for word in _PEERS):
        return None
    return HostLost(
        f"host {jax.process_index()} of {jax.process_count()}: another host stopped or cannot be"
        f" reached ({_one_line(error)}); start all hosts again, the run resumes from its last"
        " checkpoint"
    )


def exit_now(code: int) -> NoReturn:
    """Exits this process at once: an orderly end would wait for the hosts that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
