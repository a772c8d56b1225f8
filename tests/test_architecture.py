"""Imports point down only, and the core needs nothing but jax, flax, optax, numpy and chex."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
OURS = ("piapdf_jax", "experiments", "data_builders")
RECORDS = {f"piapdf_jax.{m}" for m in ("action_units", "folds", "records", "pi_maps", "faces")}
_P = "piapdf_jax."

#: Module prefix -> prefixes it may import; the longest prefix that fits a module rules it.
RULES = {
    "piapdf_jax": set(),
    _P + "action_units": set(),
    _P + "folds": {_P + "action_units"},
    _P + "records": {_P + "action_units"},
    _P + "pi_maps": {_P + "action_units"},
    _P + "metrics": {_P + "action_units"},
    _P + "faces": {_P + "records"},
    _P + "batch": set(),
    _P + "keys": set(),
    _P + "losses": {_P + "batch"},
    _P + "feedback": set(),
    _P + "models": {_P + "models", _P + "batch"},
    _P + "stages": {_P + m for m in ("models", "losses", "feedback", "batch", "keys")}
    | {_P + "action_units", _P + "stages.base"},
    _P + "data": {_P + m for m in ("records", "folds", "pi_maps", "action_units", "batch", "keys")}
    | {_P + "data"},
    _P + "runtime": {_P + "runtime", _P + "stages.base", _P + "batch", _P + "keys"},
    "data_builders": {"data_builders", *RECORDS},
    "experiments": {"experiments", "piapdf_jax", "data_builders.prepare"},
    # Where the truth table of a synthetic data set lies is the one thing asked of its builder.
    "experiments.pipeline": {
        *("experiments", "piapdf_jax", "data_builders.prepare"),
        "data_builders.synthetic_faces",
    },
}


def covers(prefix: str, module: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def imported(source: str, package: str) -> set[str]:
    """Modules of ours that a source imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {package}"
            base = node.module or ""
            folder = ROOT / base.replace(".", "/")
            for alias in node.names:
                below = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                found.add(f"{base}.{alias.name}" if below else base)
    return {name for name in found if name.split(".")[0] in OURS}


def upward(module: str, source: str) -> set[str]:
    """Imports of a module that its rule does not allow."""
    rule = max((p for p in RULES if covers(p, module)), key=len)
    return {
        name
        for name in imported(source, module)
        if not any(covers(allowed, name) for allowed in RULES[rule]) and name != module
    }


def modules() -> dict[str, str]:
    found = {}
    for top in OURS:
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text()
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module):
    assert not upward(module, modules()[module])


def test_every_module_has_a_room_of_its_own():
    for module in modules():
        rule = max((p for p in RULES if covers(p, module)), key=len)
        assert rule != "piapdf_jax" or module == "piapdf_jax", f"no rule for {module}"


@pytest.mark.parametrize(
    "module, source",
    [
        ("piapdf_jax.losses", "from piapdf_jax.models import piap"),
        ("piapdf_jax.feedback", "def f():\n    import piapdf_jax.keys"),
        ("piapdf_jax.stages.piap", "from piapdf_jax.stages import identity"),
        ("piapdf_jax.runtime.loop", "from piapdf_jax.losses import au_loss"),
        ("piapdf_jax.data.streams", "from piapdf_jax.stages.base import Stage"),
        ("data_builders.bp4d.raw", "from piapdf_jax.batch import Batch"),
        ("experiments.scoring", "from data_builders.synthetic_faces import truth_path"),
    ],
)
def test_an_upward_import_is_seen(module, source):
    assert upward(module, source)


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_builders_side_never_loads_jax():
    names = [*sorted(RECORDS), "data_builders.schema", "data_builders.prepare"]
    run(
        f"import importlib, sys\nfor m in {names}: importlib.import_module(m)\n"
        "assert not {'jax', 'flax', 'tensorflow', 'torch'} & set(sys.modules), 'jax was loaded'"
    )


def test_core_imports_without_the_rest():
    core = [
        m
        for m in modules()
        if m.startswith("piapdf_jax") and not any(covers(_P + r, m) for r in ("data", "runtime"))
    ]
    blocked = ("grain", "tensorflow_datasets", "orbax", "cv2", "dlib", "array_record")
    run(
        "import importlib, sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked}: raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        # flax has optional helpers on orbax; a package that is not installed is what a GPU box has.
        f"for m in {core}: importlib.import_module(m)"
    )
