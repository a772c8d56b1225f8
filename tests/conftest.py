"""Settings that every test shares, in the environment, so that started processes share them too."""

import dataclasses
import hashlib
import logging
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

_ROOT = pathlib.Path(__file__).resolve().parent.parent

# Before the first import of jax, which reads them once.
for _name, _value in {
    "JAX_PLATFORMS": "cpu",
    # Two devices: what runs over a mesh is tested as such, on any machine. In doubles, where equal
    # numbers are told from nearly equal ones, eight.
    "JAX_NUM_CPU_DEVICES": "8" if os.environ.get("JAX_ENABLE_X64") else "2",
    # One cache for all workers and runs, down to the smallest function: compiling takes longest.
    "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # A float32 that meets a bfloat16 or a NumPy float64 by accident is an error.
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    # The workers already use every core.
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)

from piapdf_jax import process_memory  # noqa: E402

process_memory.keep_freed_memory()

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from absl import logging as absl_logging  # noqa: E402
from once import made_once, shared_folder  # noqa: E402

# TFDS and Orbax read absl flags, which only absl's own main would parse.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True)
def _float_width(request: pytest.FixtureRequest) -> None:
    """Fails a test of 64-bit floats in a process of 32-bit ones, where it would mean nothing."""
    wide = any(request.node.get_closest_marker(name) for name in ("x64", "parity"))
    if wide and not jax.config.jax_enable_x64:
        pytest.fail("this test needs 64-bit floats: run it with JAX_ENABLE_X64=1")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undoes what a command that a test runs in this process did to logging: later tests read warnings."""
    root = logging.getLogger()
    level, handlers, verbosity = root.level, list(root.handlers), absl_logging.get_verbosity()
    yield
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        if handler not in handlers:
            root.removeHandler(handler)
    absl_logging.set_verbosity(verbosity)
    root.setLevel(level)


@pytest.fixture(autouse=True, scope="module")
def _few_mappings() -> Iterator[None]:
    """Lets go of compiled functions, each of which holds some mappings, before a process has too many."""
    yield
    # A file of tests adds up to 35,000.
    process_memory.keep_few_mappings(15_000)


#: People of each synthetic data set that tests read.
PEOPLE = {"bp4d": 2, "disfa": 1, "afew_va": 4, "webface": 4, "lfw": 12}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data directory with every synthetic data set, a few people each."""
    folder = shared_folder(tmp_path_factory, "small_data")
    digest = hashlib.sha256()
    sources = (*(_ROOT / "data_builders").rglob("*.py"), *(_ROOT / "piapdf_jax").glob("*.py"))
    for path in sorted(sources):
        digest.update(f"{path.relative_to(_ROOT)}\n".encode() + path.read_bytes())
    # What the same sources have drawn before, in the tests of another process or yesterday, is copied.
    drawn = _ROOT / ".cache" / "small_data" / digest.hexdigest()[:16]
    made_once(drawn, _draw)
    made_once(folder, lambda copy: shutil.copytree(drawn, copy))
    return folder


def _draw(folder: pathlib.Path) -> None:
    import tensorflow_datasets as tfds

    from data_builders.synthetic_faces import synthetic_faces_dataset_builder as faces

    tfds.disable_progress_bar()
    for config in faces.Builder.BUILDER_CONFIGS:
        if config.name in PEOPLE:
            more = {"kind": config.name, "people": PEOPLE[config.name]}
            small = dataclasses.replace(config, name=f"small_{config.name}", **more)
            builder = faces.Builder(config=small, data_dir=str(folder))
            builder.workers = 2  # what else would draw waits for these
            builder.download_and_prepare(file_format="array_record")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and a function that mounts it again with other options."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if shutil.which("mount") is None or (done := mount("size=1m")).returncode:
        reason = done.stderr.strip() if shutil.which("mount") else "there is no mount"
        pytest.skip(f"no file system of its own here ({reason}); a limit of sizes stands in")
    yield where, lambda options: mount(f"remount,{options}").check_returncode()
    subprocess.run(["umount", "-l", str(where)], check=True)
