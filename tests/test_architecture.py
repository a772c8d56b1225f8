"""Imports point down only: which module may import which, at any depth, and what works without what."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("piapdf_jax", "experiments", "data_builders")

#: Own modules that a module may import. A name that ends in ".*" stands for a package with all it
#: holds; the longest key that fits a module is its rule.
ALLOWED: dict[str, tuple[str, ...]] = {
    "piapdf_jax": (
        # public names, loaded on first use
        "piapdf_jax.feedback",
        "piapdf_jax.losses",
        "piapdf_jax.models.*",
        "piapdf_jax.pi_maps",
    ),
    "piapdf_jax.action_units": (),
    "piapdf_jax.paths": (),
    "piapdf_jax.commands": ("data_builders.prepare",),  # named in messages, never imported
    "piapdf_jax.command_line": ("piapdf_jax.paths",),
    "piapdf_jax.compile_cache": ("piapdf_jax.paths",),
    "piapdf_jax.process_memory": (),
    "piapdf_jax.batch": (),
    "piapdf_jax.keys": (),
    "piapdf_jax.types": (),
    "piapdf_jax.landmarks": (),
    "piapdf_jax.json_kinds": ("piapdf_jax.types",),
    "piapdf_jax.model_json": (*("piapdf_jax.json_kinds", "piapdf_jax.paths", "piapdf_jax.types"),),
    "piapdf_jax.detector": (
        *("piapdf_jax.faces.*", "piapdf_jax.model_json", "piapdf_jax.paths", "piapdf_jax.commands"),
        "piapdf_jax.detector_runtimes",
        "piapdf_jax.drawn_detector",
    ),
    "piapdf_jax.drawn_detector": (
        "piapdf_jax.commands",
        "experiments.piapdf",  # named in a message, never imported
    ),
    "piapdf_jax.detector_runtimes": (
        *("piapdf_jax.faces.*", "piapdf_jax.model_json", "piapdf_jax.commands"),
        "piapdf_jax.load",  # the runtime of JAX alone
        "experiments.export",  # named in a message, never imported
    ),
    "piapdf_jax.export.*": (
        *("piapdf_jax.export.*", "piapdf_jax.models.*", "piapdf_jax.model_json"),
        "piapdf_jax.types",
        "piapdf_jax.commands",
        *("piapdf_jax.detector_runtimes", "piapdf_jax.load", "piapdf_jax.runtime.exports"),
        # a web page: names of units, and where what runs it is kept
        *("piapdf_jax.action_units", "piapdf_jax.paths"),
    ),
    "piapdf_jax.load": (
        "piapdf_jax.faces.*",
        "piapdf_jax.paths",
        "piapdf_jax.ranges",
        "piapdf_jax.model_json",
        "piapdf_jax.types",
        "piapdf_jax.batch",
        "piapdf_jax.losses",
        "piapdf_jax.models.*",
        "piapdf_jax.stages.*",
        "piapdf_jax.runtime.exports",
    ),
    "piapdf_jax.ranges": (),
    "piapdf_jax.feedback": (),
    "piapdf_jax.feedback_labels": ("piapdf_jax.feedback",),
    "piapdf_jax.feedback_variants": ("piapdf_jax.feedback", "piapdf_jax.feedback_labels"),
    "piapdf_jax.folds": ("piapdf_jax.action_units",),
    "piapdf_jax.records": ("piapdf_jax.action_units",),
    "piapdf_jax.tfds_files": (),
    "piapdf_jax.pi_maps": ("piapdf_jax.action_units",),
    "piapdf_jax.metrics": ("piapdf_jax.action_units",),
    "piapdf_jax.identity_metrics": ("piapdf_jax.action_units",),
    "piapdf_jax.person_sums": (),
    "piapdf_jax.intervals": ("piapdf_jax.person_sums",),
    "piapdf_jax.pictures": (),
    "piapdf_jax.faces.*": (
        "piapdf_jax.faces.*",
        *("piapdf_jax.records", "piapdf_jax.pictures"),
        *("piapdf_jax.paths", "piapdf_jax.commands"),
    ),
    "piapdf_jax.video": (),
    "piapdf_jax.film_kinds": ("piapdf_jax.video",),
    "piapdf_jax.opencv_messages": (),
    "piapdf_jax.capture": ("piapdf_jax.film_kinds", "piapdf_jax.opencv_messages"),
    "piapdf_jax.picture_headers": ("piapdf_jax.pictures",),
    "piapdf_jax.photographs": (
        *("piapdf_jax.pictures", "piapdf_jax.picture_headers"),
        *("piapdf_jax.commands", "piapdf_jax.opencv_messages"),
    ),
    "piapdf_jax.losses": ("piapdf_jax.batch", "piapdf_jax.landmarks"),
    "piapdf_jax.models.*": (
        *("piapdf_jax.models.*", "piapdf_jax.batch", "piapdf_jax.ranges"),
        *("piapdf_jax.landmarks", "piapdf_jax.types"),
    ),
    "piapdf_jax.models.pretrained": (
        *("piapdf_jax.models.*", "piapdf_jax.paths", "piapdf_jax.commands"),
        *("piapdf_jax.drawn_detector", "piapdf_jax.types"),
    ),
    # its file, and the command that writes it
    "piapdf_jax.models.shipped": (
        *("piapdf_jax.models.*", "piapdf_jax.commands", "piapdf_jax.drawn_detector"),
        "piapdf_jax.types",
        "experiments.ship",  # named in a message, never imported
    ),
    # a file that the user names, and what reads it
    "piapdf_jax.models.weight_files": ("piapdf_jax.paths", "piapdf_jax.commands"),
    "piapdf_jax.stages.base": (
        *("piapdf_jax.batch", "piapdf_jax.keys", "piapdf_jax.ranges", "piapdf_jax.types"),
    ),
    # no stage imports another: they meet through exports
    "piapdf_jax.stages.*": (
        "piapdf_jax.models.*",
        "piapdf_jax.losses",
        "piapdf_jax.feedback",
        "piapdf_jax.feedback_variants",
        "piapdf_jax.batch",
        "piapdf_jax.keys",
        "piapdf_jax.landmarks",
        "piapdf_jax.action_units",
        "piapdf_jax.ranges",
        "piapdf_jax.stages.base",
        "piapdf_jax.stages.feedback_learners",
        "piapdf_jax.stages.feedback_options",
        "piapdf_jax.stages.targets",
        "piapdf_jax.types",
    ),
    "piapdf_jax.data.*": (
        "piapdf_jax.data.*",
        "piapdf_jax.paths",
        "piapdf_jax.commands",
        "piapdf_jax.records",
        "piapdf_jax.tfds_files",
        "piapdf_jax.folds",
        "piapdf_jax.pi_maps",
        "piapdf_jax.action_units",
        "piapdf_jax.batch",
        "piapdf_jax.keys",
        "piapdf_jax.ranges",
    ),
    "piapdf_jax.runtime.*": (
        "piapdf_jax.runtime.*",
        "piapdf_jax.process_memory",
        "piapdf_jax.stages.base",
        "piapdf_jax.batch",
        "piapdf_jax.keys",
        "piapdf_jax.types",
    ),
    "experiments.pipeline": (
        "experiments.*",
        "piapdf_jax.*",
        "data_builders.prepare",
        "data_builders.registry",
        "data_builders.target_files",  # its error is the launcher's as well
        "data_builders.synthetic_faces",  # where the true labels lie
    ),
    "experiments.pointing": (
        "experiments.*",
        "piapdf_jax.*",
        "data_builders.synthetic_faces.moved",  # what a unit moves, beside the true labels
    ),
    "experiments.model_card": (
        "experiments.*",
        "piapdf_jax.*",
        "data_builders.synthetic_faces.wild.*",  # whose skin is how dark
    ),
    "experiments.feedback_study.faces_data": (
        "piapdf_jax.*",
        "data_builders.synthetic_faces.*",  # draws people of its own
    ),
    "experiments.*": (
        "experiments.*",
        "piapdf_jax.*",
        "data_builders.prepare",
        "data_builders.registry",
    ),
    "experiments.score": (
        "experiments.*",
        "piapdf_jax.*",
        "data_builders.registry",
        "data_builders.synthetic_faces",  # where the true labels lie
    ),
    "data_builders.*": (
        "data_builders.*",
        "piapdf_jax.paths",
        "piapdf_jax.commands",
        "piapdf_jax.command_line",
        "piapdf_jax.action_units",
        "piapdf_jax.folds",
        "piapdf_jax.records",
        "piapdf_jax.pi_maps",
        "piapdf_jax.faces.*",
        "piapdf_jax.video",
        "piapdf_jax.pictures",
        "piapdf_jax.tfds_files",
    ),
}
#: Outside packages that a module may not import: whatever loads JAX, and what the core does without.
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "chex")
HEAVY = ("grain", "tensorflow_datasets", "array_record", "orbax", "rich", "tensorboardX")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "data_builders.*": JAX,
    **{
        f"piapdf_jax.{name}": JAX
        for name in (
            *("action_units", "folds", "records", "pi_maps", "pictures", "ranges", "tfds_files"),
            *("paths", "commands", "command_line"),
        )
    },
    "piapdf_jax.faces.*": JAX,
    "piapdf_jax.video": JAX,
    "piapdf_jax.film_kinds": JAX,
    "piapdf_jax.capture": JAX,
    "piapdf_jax.opencv_messages": JAX,
    "piapdf_jax.picture_headers": JAX,
    "piapdf_jax.photographs": JAX,
    "piapdf_jax.export.check": (*JAX, *HEAVY),
    "piapdf_jax.detector": JAX,
    "piapdf_jax.detector_runtimes": JAX,
    "piapdf_jax.drawn_detector": (*JAX, *HEAVY, "numpy"),
    "piapdf_jax.metrics": JAX,
    "piapdf_jax.identity_metrics": JAX,
    "piapdf_jax.person_sums": JAX,
    "piapdf_jax.intervals": JAX,
    "piapdf_jax.model_json": (*JAX, *HEAVY, "numpy"),
    "piapdf_jax.json_kinds": (*JAX, *HEAVY, "numpy"),
    "piapdf_jax.types": (*JAX, *HEAVY, "numpy"),
    "piapdf_jax.losses": ("flax", *HEAVY),
    "piapdf_jax.feedback": ("flax", *HEAVY),
    "piapdf_jax.feedback_labels": ("flax", *HEAVY),
    "piapdf_jax.feedback_variants": ("flax", *HEAVY),
    # the networks' library shows nowhere above the networks
    "piapdf_jax.stages.*": ("flax", *HEAVY),
    "piapdf_jax.runtime.*": ("flax", "grain", "tensorflow_datasets"),
    "piapdf_jax.models.*": HEAVY,
    "experiments.*": ("flax",),
}


def fits(module: str, pattern: str) -> bool:
    base = pattern.removesuffix(".*")
    return module == base or (pattern != base and module.startswith(base + "."))


Table = dict[str, tuple[str, ...]]


def rule(module: str, table: Table) -> tuple[str, ...] | None:
    """What stands at the longest pattern that fits; None where none does."""
    found = [pattern for pattern in table if fits(module, pattern)]
    return table[max(found, key=len)] if found else None


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imported(module: str, source: str, *, is_package: bool = False) -> set[str]:
    """Dotted names of all modules that a source imports, at any depth, also by a string."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                up = node.level - is_package
                base = ".".join(filter(None, (*parts[: len(parts) - up], base)))
            # "from package import module" imports the module, "from module import name" does not
            below = {f"{base}.{alias.name}" for alias in node.names} & PATHS.keys()
            names.update(below)
            if len(below) < len(node.names):
                names.add(base)
        elif isinstance(node, ast.Constant) and node.value in PATHS and "." in node.value:
            names.add(node.value)
    return names


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module's source imports against the tables, one line each."""
    allowed, forbidden = rule(module, ALLOWED), rule(module, FORBIDDEN) or ()
    if allowed is None:
        return [f"{module} falls under no rule of this test: say what it may import"]
    wrong = []
    for name in sorted(imported(module, source, is_package=is_package) - {module}):
        top = name.partition(".")[0]
        own = top in PACKAGES
        if own and not any(fits(name, pattern) for pattern in allowed):
            wrong.append(f"{module} may not import {name}")
        if not own and top in forbidden:
            wrong.append(f"{module} may not import {name}")
        if top == "tests":
            wrong.append(f"{module} may not import tests")
    return wrong


@pytest.mark.parametrize("module", sorted(PATHS))
def test_module_imports_only_what_lies_below_it(module: str) -> None:
    path = PATHS[module]
    assert not violations(module, path.read_text(), is_package=path.name == "__init__.py")


def test_every_rule_is_of_a_module_that_exists() -> None:
    names = {*ALLOWED, *FORBIDDEN, *(name for names in ALLOWED.values() for name in names)}
    unknown = {name.removesuffix(".*") for name in names} - PATHS.keys()
    assert not unknown


@pytest.mark.parametrize(
    ("module", "source", "culprit"),
    [
        ("piapdf_jax.feedback", "from piapdf_jax import batch", "piapdf_jax.batch"),
        ("piapdf_jax.stages.piap", "import piapdf_jax.stages.identity", "stages.identity"),
        ("piapdf_jax.stages.piap", "from . import identity", "stages.identity"),
        ("piapdf_jax.stages.piap", "from .identity import IdentityStage", "stages.identity"),
        ("piapdf_jax.stages.piap", "from ..runtime import loop", "runtime.loop"),
        ("piapdf_jax.stages.piap", "def f():\n    import flax.linen as nn", "flax.linen"),
        ("piapdf_jax.losses", "def f():\n    from piapdf_jax.models import piap", "models.piap"),
        (
            "piapdf_jax.runtime.loop",
            "import importlib\nimportlib.import_module('piapdf_jax.losses')",
            "piapdf_jax.losses",
        ),
        ("piapdf_jax.records", "if True:\n    import jax.numpy", "jax.numpy"),
        ("data_builders.schema", "class A:\n    from piapdf_jax import losses", "losses"),
        ("data_builders.schema", "from experiments.config import x", "experiments.config"),
        ("experiments.report", "import data_builders.schema", "data_builders.schema"),
        ("piapdf_jax.novelty", "", "no rule"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(module: str, source: str, culprit: str) -> None:
    (line,) = violations(module, source)
    assert module in line and culprit in line


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("feedback", set()),
        ("feedback_labels", {"piapdf_jax.feedback", "numpy", "numpy.typing"}),
        ("feedback_variants", {"piapdf_jax.feedback", "piapdf_jax.feedback_labels"}),
    ],
)
def test_feedback_can_be_taken_alone(name: str, own: set[str]) -> None:
    module = f"piapdf_jax.{name}"
    found = imported(module, PATHS[module].read_text(encoding="utf-8"))
    others = {other for other in found if other.partition(".")[0] not in sys.stdlib_module_names}
    assert others - {"jax", "jax.numpy", "optax"} == own


def in_a_process_of_its_own(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_builders_need_leaves_jax_out() -> None:
    modules = ["piapdf_jax", "data_builders.schema", "data_builders.prepare"]
    core = ("faces", "pictures", "video", "records", "folds", "pi_maps")
    modules += [f"piapdf_jax.{name}" for name in core]
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
    print(name, sorted({{key.partition('.')[0] for key in sys.modules}} & {set(JAX)}))
"""
    assert in_a_process_of_its_own(code).splitlines() == [f"{name} []" for name in modules]


#: Absent on a machine that has just jax, flax, optax, numpy, chex (which needs absl, and flax rich).
BLOCKED = (
    "grain",
    "tensorflow_datasets",
    "array_record",
    "orbax",
    "cv2",
    "simplejpeg",
    "dlib",
    "tensorboardX",
    "torch",
)
CORE = sorted(
    name
    for name in PATHS
    if fits(name, "piapdf_jax.*")
    and not any(
        fits(name, out)
        for out in ("piapdf_jax.data.*", "piapdf_jax.runtime.*", "piapdf_jax.faces.*")
    )
)


def test_the_core_works_with_jax_flax_optax_numpy_and_chex_alone() -> None:
    code = f"""
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {BLOCKED}:
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)

sys.meta_path.insert(0, Absent())
for name in {CORE}:
    importlib.import_module(name)
for name in {BLOCKED}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        print('absent', name)
"""
    assert in_a_process_of_its_own(code).splitlines() == [f"absent {name}" for name in BLOCKED]
