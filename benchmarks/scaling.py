"""Predicts one step of discrete feedback on many devices: operations, bytes, input, efficiency. Runs nothing.

python -m benchmarks.scaling                                                       the tables of docs/scaling.md
python -m benchmarks.scaling --images=128 --utilization=0.2 --network_gbs=50       another machine
JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 python -m benchmarks.scaling --check=nano --side=32   beside XLA
"""

import dataclasses
import json
from typing import Any

from absl import app, flags

from benchmarks.machine import Machine
from benchmarks.scaling_tables import AUS, CHECKED_IMAGES, MEASURED, check, check_table, report
from benchmarks.step_cost import Sizes
from piapdf_jax import command_line, paths
from piapdf_jax.models.presets import MODELS

_MODEL = flags.DEFINE_string("model", "b1", "a preset of models/config.py")
_SIDE = flags.DEFINE_integer("side", 256, "of the images, px", lower_bound=32)
_IMAGES = flags.DEFINE_integer("images", 32, "labeled images a device", lower_bound=1)
_CHECK = flags.DEFINE_string(
    "check", "", "a preset whose step is compiled over all devices and compared"
)
_WHOLE = flags.DEFINE_boolean("whole", True, "with --check, also compile the step as one function")
_ESTIMATOR = flags.DEFINE_string("estimator", "grad", "of the feedback, with --check")
_JSON = flags.DEFINE_string("json", "", "file for the numbers of --check")
for _field in dataclasses.fields(Machine):
    _default: Any = _field.default
    _is_whole = _field.type in (int, "int")
    _define: Any = flags.DEFINE_integer if _is_whole else flags.DEFINE_float
    # What is divided by is not 0.
    _least = 1 if _is_whole else 0 if _field.name.endswith("_us") else 1e-9
    _whence = "measured on another machine" if _field.name in MEASURED else "assumed"
    _define(_field.name, _default, f"{_whence}; see benchmarks/machine.py", _least)


def main(argv: list[str]) -> None:
    """Prints the tables, or the comparison."""
    del argv
    name = _CHECK.value or _MODEL.value
    if name not in MODELS:
        raise app.UsageError(f"unknown model {name!r}; there are {', '.join(MODELS)}")
    sizes = Sizes(MODELS[name], _SIDE.value, AUS, AUS)
    if not _CHECK.value:
        fields = [field.name for field in dataclasses.fields(Machine)]
        given: dict[str, Any] = {field: flags.FLAGS[field].value for field in fields}
        machine = Machine(**given)
        print("\n\n".join(report(machine, sizes, _IMAGES.value)))
        return
    path = paths.target_file(_JSON.value, "--json") if _JSON.value else None
    told = check(sizes, CHECKED_IMAGES, estimator=_ESTIMATOR.value, whole=_WHOLE.value)
    print(check_table(told))
    if path:
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
