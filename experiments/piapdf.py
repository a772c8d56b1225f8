"""The launcher: trains the rows of the paper's tables and scores them.

python -m experiments.piapdf --config=demo
python -m experiments.piapdf --config=bp4d --set seeds=0,1,2
python -m experiments.piapdf --config=bp4d_fold1 --set model=tiny --stages=pi1,pi2
"""

import signal
import sys
from typing import Any

from absl import flags

from piapdf_jax import command_line, commands, paths

_CONFIG = flags.DEFINE_string("config", "", "name of a configuration; left out, they are listed")
_SET = flags.DEFINE_multi_string("set", [], "key=value, repeatable, applied in order")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    f"where prepared data sets lie (default: {paths.DATA_VARIABLE}, else ~/tensorflow_datasets)",
)
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "where runs and exports are written")
_NAME = flags.DEFINE_string("name", "", "name of the run folder (default: the configuration's)")
_STAGES = flags.DEFINE_list("stages", [], "train only these, comma separated (default: all)")
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers trainings, encoders, data sets or metrics, repeatable"
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
_HOSTS = flags.DEFINE_integer("hosts", None, "with --coordinator: how many hosts")
_HOST = flags.DEFINE_integer("host", None, "with --coordinator: which this one is, from 0")
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "print the resolved configuration, stop")


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; a user's mistake is one line on stderr and exit code 2."""
    del argv
    # While a training steps, its loop saves first; anywhere else nothing is lost by stopping at once.
    signal.signal(signal.SIGTERM, _interrupt)
    # JAX loads here, not above: spawned reader processes import this file again.
    from experiments import config as configs
    from experiments import pipeline, plugins, process
    from piapdf_jax.runtime import hosts
    from piapdf_jax.runtime.lock import LockLost
    from piapdf_jax.runtime.steps import Interrupted

    try:
        plugins.load(_PLUGIN.value)
        if not _CONFIG.value:
            _tell_usage(configs.configs())
        config = configs.load(_CONFIG.value, _SET.value)
        if _PRINT_CONFIG.value:
            print(process.config_json(config))
            return
        _run(config)
    except (*pipeline.USER_ERRORS, hosts.HostsError) as error:
        command_line.fail(error)
    except LockLost as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    except RuntimeError as error:
        gone = hosts.as_host_lost(error)
        if gone is None:
            raise
        print(f"error: {gone}", file=sys.stderr)
        hosts.exit_now(3)
    except Interrupted as stopped:
        print(f"{stopped}; the same command resumes from there", file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _run(config: Any) -> None:
    """Trains and scores what the flags ask for of a configuration."""
    from experiments import process, repeats
    from piapdf_jax.runtime import hosts

    data_dir = paths.data_dir(_DATA_DIR.value)
    runs_dir = paths.target_folder(_RUNS_DIR.value, "--runs_dir")
    name = _NAME.value or config.name
    for below in (name, "exports"):
        paths.target_folder(runs_dir / below, "--runs_dir")
    if config.eval.truth:
        paths.local_file(config.eval.truth, "eval.truth")
    by_hand = {"coordinator": _COORDINATOR.value, "hosts": _HOSTS.value, "host": _HOST.value}
    several = hosts.is_requested(**by_hand, automatic=_DISTRIBUTED.value)
    process.setup()
    if several:
        hosts.initialize(**by_hand)
    process.silence_other_hosts()
    repeats.run(
        config,
        data_dir=str(data_dir),
        runs_dir=str(runs_dir),
        name=name,
        stages=tuple(_STAGES.value),
        profile=_PROFILE.value,
        accept_stale=tuple(_ACCEPT_STALE.value),
        plugins=tuple(_PLUGIN.value),
    )


def _tell_usage(names: Any) -> None:
    """Says what to type, where no configuration is named; there is none to begin with by default."""
    command = commands.python("experiments.piapdf", "--config=NAME")
    print(
        f"usage: {command} [--set KEY=VALUE] [--data_dir=FOLDER] [--runs_dir=FOLDER]",
        file=sys.stderr,
    )
    print(f"names: {', '.join(names)}; all flags: --help", file=sys.stderr)
    sys.exit(2)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def run() -> None:
    """Runs ``python -m experiments.piapdf`` and ``piapdf``."""
    command_line.as_script(__name__, __doc__)
    command_line.run(main)


if __name__ == "__main__":
    run()
