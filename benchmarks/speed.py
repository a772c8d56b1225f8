"""Times the networks and training steps of the package beside PyTorch.

python -m benchmarks.speed                     all cases beside PyTorch eager, both memory formats
python -m benchmarks.speed --cases=b1_128_8 --compile --nosettings
python -m benchmarks.speed --profile --cases=b1_128_8
python -m benchmarks.speed --first_step
python -m benchmarks.speed --gpu               images a second on one GPU
"""

import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

from absl import app, flags

from benchmarks import first_step, gpu
from benchmarks.cases import CASES, COMPARED, Case, threads
from benchmarks.table import summary, table
from benchmarks.worker import Worker
from piapdf_jax import command_line, commands, paths

_CASES = flags.DEFINE_list("cases", [], "names of cases, comma separated (default: all)")
_FORMS = flags.DEFINE_list("forms", ["contiguous", "channels_last"], "of PyTorch; '' for none")
_COMPILE = flags.DEFINE_bool("compile", False, "torch.compile beside them; minutes for each case")
_SETTINGS = flags.DEFINE_bool("settings", True, "memory settings of the package, on both sides")
_COMPARE = flags.DEFINE_bool("compare", True, "compare outputs and gradients first")
_ROUNDS = flags.DEFINE_integer("rounds", 6, "blocks of each side", lower_bound=1)
_BLOCK = flags.DEFINE_float("block_s", 0.7, "seconds of a block, at least one call", lower_bound=0)
_PROFILE = flags.DEFINE_bool("profile", False, "our training step by operation instead")
_FIRST = flags.DEFINE_bool("first_step", False, "cold first steps of the stages instead")
_STAGES = flags.DEFINE_list("stages", list(first_step.STAGES), "those of --first_step")
_GPU = flags.DEFINE_bool("gpu", False, "B1 training on one GPU instead, beside timm")
_GPU_CASE = flags.DEFINE_list("gpu_case", ["224", "256"], "side and batch of --gpu")
_PEAK = flags.DEFINE_float(
    "peak_tflops", 989.0, "of the GPU in bfloat16, without sparsity", lower_bound=1
)
_JSON = flags.DEFINE_string("json", "", "file for the numbers")


def measure(case: Case, what: str, workers: dict[str, Worker], rounds: int, block: float) -> Any:
    """Times one pass of a case on all sides by turns.

    Args:
        case: built by all workers.
        what: the pass.
        workers: by side.
        rounds: blocks of each side; every other round takes the sides in reverse.
        block: seconds of one, at least one call.

    Returns:
        A row of ``table.summary``.
    """
    first = {side: worker.run(what, 0.0)[0] for side, worker in workers.items()}
    for worker in workers.values():
        worker.run(what, 0.0)
    seconds: dict[str, list[float]] = {side: [] for side in workers}
    for turn in range(rounds):
        for side in list(workers)[:: -1 if turn % 2 else 1]:
            seconds[side] += workers[side].run(what, block)
    peaks = {side: worker.ask(do="peak") for side, worker in workers.items()}
    return summary(case.name, what, case.batch, seconds, first, peaks)


def run_case(case: Case, sides: list[str]) -> list[dict[str, Any]]:
    """All passes of a case, each side in a new process."""
    with contextlib.ExitStack() as stack:
        workers = {
            side: stack.enter_context(Worker(side, settings=_SETTINGS.value)) for side in sides
        }
        for worker in workers.values():
            worker.make(case)
        rows = []
        for what in case.passes:
            rows.append(measure(case, what, workers, _ROUNDS.value, _BLOCK.value))
            print(rows[-1], file=sys.stderr, flush=True)
        return rows


def compare(networks: list[str]) -> list[dict[str, Any]]:
    """Errors of ours against PyTorch, see ``benchmarks.compare``; SystemExit beyond its bounds."""
    command = [sys.executable, "-m", "benchmarks.compare", *networks]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout)
        raise SystemExit("error: the comparison of both sides failed, nothing was timed; see above")
    return [json.loads(line) for line in done.stdout.splitlines()]


def told() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    load = os.getloadavg()[0]
    return {"machine": platform.platform(), "threads": threads(), "load": round(load, 1)}


def run_all(cases: list[Case]) -> dict[str, Any]:
    """Compares, times and prints."""
    forms = [form for form in _FORMS.value if form]
    if _COMPILE.value:
        forms.append("channels_last+compile")
    result: dict[str, Any] = {**told(), "settings": _SETTINGS.value, "errors": [], "rows": []}
    if _COMPARE.value and forms:
        networks = [network for network in COMPARED if network in {c.network for c in cases}]
        result["errors"] = compare(networks)
        for error in result["errors"]:
            print(
                "{network}: error of outputs {outputs:.1e}, of gradients {gradients:.1e}".format(
                    **error
                )
            )
    for case in cases:
        result["rows"] += run_case(case, ["jax", *forms])
    print(f"\n{told()}, memory settings {'on' if _SETTINGS.value else 'off'}")
    print(
        "ms an image, medians; ratio: the fastest PyTorch form over ours; MiB: of the whole process\n"
    )
    print(table(result["rows"]))
    return result


def profile(cases: list[Case]) -> dict[str, Any]:
    """Our training step by operation, each case in a new process."""
    result = {}
    for case in cases:
        with Worker("jax", settings=_SETTINGS.value) as worker:
            worker.make(case)
            result[case.name] = worker.ask(do="profile")
            print(f"\n{case.name}, one training step\n\n" + "\n".join(result[case.name]))
    return result


def main(argv: list[str]) -> None:
    """Measures what the flags ask for."""
    known, began = {case.name: case for case in CASES}, time.monotonic()
    del argv
    unknown = [name for name in _CASES.value if name not in known]
    if unknown:
        raise app.UsageError(f"unknown case {unknown[0]!r}; there are {', '.join(known)}")
    if not _PROFILE.value and not _FIRST.value and any(_FORMS.value) and not _has_torch():
        raise app.UsageError(
            f"PyTorch is not installed: {commands.install('parity')}, or give --forms= without it"
        )
    path = paths.target_file(_JSON.value, "--json") if _JSON.value else None
    cases = [known[name] for name in _CASES.value] or list(CASES)
    if _GPU.value:
        side, batch = map(int, _GPU_CASE.value)
        result = gpu.run(side, batch, _PEAK.value, measure)
    elif _FIRST.value:
        result = first_step.run(_STAGES.value, settings=_SETTINGS.value)
    else:
        result = (profile if _PROFILE.value else run_all)(cases)
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


if __name__ == "__main__":
    command_line.run(main)
