"""The launcher: trains the rows of the paper's tables and scores them.

python -m experiments.piapdf --config=demo
python -m experiments.piapdf --config=bp4d_fold1 --set model=tiny --stages=pi1,pi2
"""

import os
import signal
import sys
from typing import Any

from absl import app, flags

_CONFIG = flags.DEFINE_string("config", "demo", "name of a configuration")
_SET = flags.DEFINE_multi_string("set", [], "key=value, repeatable, applied in order")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"),
    "where prepared data sets lie",
)
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "where runs and exports are written")
_NAME = flags.DEFINE_string("name", "", "name of the run folder (default: the configuration's)")
_STAGES = flags.DEFINE_list("stages", [], "train only these, comma separated (default: all)")
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers trainings, data sets or metrics, repeatable"
)
_ACCEPT_STALE = flags.DEFINE_list(
    "accept_stale",
    [],
    "trainings whose newest export is taken although sources have changed since, comma separated",
)
_PROFILE = flags.DEFINE_integer("profile", 0, "profile so many steps of each training", 0)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "several hosts, found from Slurm, a TPU pod or Kubernetes"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "several hosts by hand: ADDRESS:PORT of host 0"
)
_HOSTS = flags.DEFINE_integer("hosts", 1, "with --coordinator: how many hosts", 1)
_HOST = flags.DEFINE_integer("host", 0, "with --coordinator: which this one is, from 0", 0)
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "print the resolved configuration, stop")


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; a user's mistake is one line on stderr and exit code 2."""
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}; settings are given as --set key=value")
    # While a training steps, its loop saves first; anywhere else nothing is lost by stopping at once.
    signal.signal(signal.SIGTERM, _interrupt)
    # JAX loads here, not above: spawned reader processes import this file again.
    from experiments import config as configs
    from experiments import pipeline, plugins, process
    from piapdf_jax.runtime import hosts
    from piapdf_jax.runtime.lock import LockLost
    from piapdf_jax.runtime.signals import Interrupted

    try:
        plugins.load(_PLUGIN.value)
        config = configs.load(_CONFIG.value, _SET.value)
        if _PRINT_CONFIG.value:
            print(process.config_json(config))
            return
        process.setup(config)
        if _DISTRIBUTED.value or _COORDINATOR.value:
            hosts.start(coordinator=_COORDINATOR.value, hosts=_HOSTS.value, host=_HOST.value)
        process.silence_other_hosts()
        pipeline.Pipeline(
            config,
            data_dir=os.path.expanduser(_DATA_DIR.value),
            runs_dir=_RUNS_DIR.value,
            name=_NAME.value or config.name,
            stages=tuple(_STAGES.value),
            profile=_PROFILE.value,
            accept_stale=tuple(_ACCEPT_STALE.value),
            plugins=tuple(_PLUGIN.value),
        ).run()
    except pipeline.USER_ERRORS as error:
        _fail(" ".join(str(error).split()))
    except LockLost as error:
        _fail(str(error), 3)
    except RuntimeError as error:
        gone = hosts.lost(error)
        if gone is None:
            raise
        print(f"error: {gone}", file=sys.stderr)
        hosts.leave(3)
    except Interrupted as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(" ".join(str(error).split()))
        raise


def run() -> None:
    """Entry point of ``python -m experiments.piapdf``."""
    app.run(main, flags_parser=_parse)


if __name__ == "__main__":
    run()
