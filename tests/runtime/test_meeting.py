"""Several hosts: flags that do not go together, ports that are taken, hosts that do not come."""

import os
import socket
import subprocess
import sys
import time

import jax
import pytest

from piapdf_jax.runtime import hosts

PROGRAM = """
import sys
from piapdf_jax.runtime import hosts
hosts._MEETING_SECONDS = 1
hosts.initialize(coordinator=sys.argv[1], hosts=2, host=int(sys.argv[2]))
"""


def asked(coordinator="", number=None, host=None, automatic=False):
    return hosts.is_requested(coordinator=coordinator, hosts=number, host=host, automatic=automatic)


@pytest.mark.parametrize("address", ["10.0.0.1:8476", "a-b.example.org:1", "[::1]:65535", "h_1:80"])
def test_addresses_with_a_port_are_taken(address):
    assert asked(address, 4, 3) and asked(address, 1, 0)


@pytest.mark.parametrize(
    "address",
    [
        *("localhost", "localhost:", ":8476", "localhost:port", "localhost:0", "localhost:65536"),
        *("localhost:99999", "localhost:-1", "::1:8476", "[::1]", "http://localhost:8476"),
        *("a b:80", "localhost:80:80", "localhost:8476/", "localhost:\u0668\u0664"),
    ],
)
def test_addresses_without_a_port_that_can_be_are_refused(address):
    with pytest.raises(hosts.HostsError, match="^--coordinator=.* must be ADDRESS:PORT of host 0"):
        asked(address, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(coordinator="a:1"), "--hosts is not given"),
        (dict(coordinator="a:1", host=0), "--hosts is not given"),
        (dict(coordinator="a:1", number=0, host=0), "--hosts is 0"),
        (dict(coordinator="a:1", number=-2, host=0), "--hosts is -2"),
        (dict(coordinator="a:1", number=2), "--host is not given: with --hosts=2 each .* 0 to 1"),
        (dict(coordinator="a:1", number=2, host=2), "--host is 2"),
        (dict(coordinator="a:1", number=2, host=-1), "--host is -1"),
        (dict(number=2), "--hosts goes with --coordinator"),
        (dict(host=0), "--host goes with --coordinator"),
        (dict(number=2, automatic=True), "--hosts goes with --coordinator"),
        (dict(coordinator="a:1", number=2, host=0, automatic=True), "give one"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments, said):
    with pytest.raises(hosts.HostsError, match=said):
        asked(**arguments)


def test_one_host_is_no_meeting():
    assert asked() is False
    assert asked(automatic=True) is True


@pytest.mark.parametrize(
    "error",
    [
        ValueError("coordinator_address should be defined."),  # no cluster at all
        KeyError("SLURM_PROCID"),  # inside of salloc, not of srun
        IndexError("list index out of range"),
        ImportError("kubernetes is not installed"),
        ConnectionError("no metadata server"),
        RuntimeError("Kubernetes API Error: 403 - Forbidden"),
        type("ConfigException", (Exception,), {})("Service host/port is not set."),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(monkeypatch, error):
    def initialize(**_):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(
        hosts.HostsError, match="finds no cluster here; Slurm, TPU pods, Kub"
    ) as told:
        hosts.initialize()
    assert str(error) in str(told.value) and "--coordinator=ADDRESS:PORT" in str(told.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("jax.distributed.initialize() must be called before any JAX calls"),
        jax.errors.JaxRuntimeError("UNAVAILABLE: failed to connect"),
    ],
)
def test_a_fault_that_is_not_the_clusters_passes(monkeypatch, error):
    def initialize(**_):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(type(error)) as told:
        hosts.initialize()
    assert told.value is error


def test_hosts_by_hand_blame_no_cluster(monkeypatch):
    def initialize(**_):
        raise ValueError("odd")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ValueError, match="^odd$"):
        hosts.initialize(coordinator="localhost:1", hosts=2, host=1)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_told(address):
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            hosts.HostsError, match=f"cannot listen at port {port} .Address already"
        ):
            hosts.initialize(coordinator=f"localhost:{port}", hosts=2, host=0)


@pytest.mark.parametrize("host", [0, 1])
def test_hosts_that_do_not_come_are_one_line_and_exit_code_3(host):
    """JAX by itself ends the process by a signal, with a trace of the machine's stack."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"127.0.0.1:{port}", str(host)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ,
    )
    assert time.monotonic() - began < 60
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: the hosts have not met at --coordinator=127.0.0.1:{port} within"
    )
