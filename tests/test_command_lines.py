"""Programs as users start them: help ends well, a mistake is one line, paths are those that were named."""

import ast
import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from started import ROOT, Command, Done, run

from piapdf_jax import commands

FOLDERS = ("experiments", "data_builders", "benchmarks", "examples")
ASKED = {"help": "--help", "short": "-h", "unknown": "--no_such_flag=1"}
#: A plugin that tells what the launcher would run, and where, instead of running it.
RECORDER = """
from experiments import pipeline

class Recorder:
    def __init__(self, config, *, data_dir, runs_dir, **others):
        print(data_dir, runs_dir, sep="\\n")

    def run(self):
        pass

pipeline.Pipeline = Recorder
"""
DEMO = ("--config=demo", "--plugin=recorder")


def is_program(path: pathlib.Path) -> bool:
    """Whether a source does something when it is started."""
    tests = [node.test for node in ast.parse(path.read_text()).body if isinstance(node, ast.If)]
    return any("__main__" in ast.unparse(test) for test in tests)


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return str(path) if parts[0] == "examples" else ".".join(parts)


PROGRAMS = sorted(
    name_of(path)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if is_program(path)
)
DETECT = "experiments.detect"
LAUNCHER, STATUS, SCORE = "experiments.piapdf", "experiments.status", "experiments.score"
PREPARE, VALIDATE = "data_builders.prepare", "data_builders.validate"
STUDY, SHEET = "experiments.feedback_study.points", "data_builders.synthetic_faces.contact_sheet"
READING, SCALING = "benchmarks.reading", "benchmarks.scaling"
CHECKS, DUMMY = "data_builders.synthetic_faces.checks", "data_builders.synthetic_faces.dummy_data"

#: A program, its arguments, and what its one line says.
MISTAKES: list[tuple[str, tuple[str, ...], str]] = [
    # every place that takes a path refuses what is none on this machine
    (
        LAUNCHER,
        (*DEMO, "--runs_dir=gs://bucket/runs"),
        "--runs_dir=gs://bucket/runs is not a path on",
    ),
    (LAUNCHER, (*DEMO, "--runs_dir=file:///tmp/x"), "--runs_dir=file:///tmp/x is not a path on"),
    (LAUNCHER, (*DEMO, "--runs_dir=gs:/bucket/x"), "--runs_dir=gs:/bucket/x is not a path on"),
    (LAUNCHER, (*DEMO, "--runs_dir=C:/runs"), "--runs_dir=C:/runs is not a path on"),
    (LAUNCHER, (*DEMO, "--data_dir=s3://bucket"), "--data_dir=s3://bucket is not a path on"),
    (
        LAUNCHER,
        (*DEMO, "--set=eval.truth=gs://b/t.npz"),
        "eval.truth=gs://b/t.npz is not a path on",
    ),
    (
        LAUNCHER,
        (*DEMO, "--set=model.pretrained=gs://b/x"),
        "model.pretrained='gs://b/x' is neither",
    ),
    (
        PREPARE,
        ("synthetic_faces/lfw", "--data_dir=gs://b/x"),
        "--data_dir=gs://b/x is not a path on",
    ),
    (
        PREPARE,
        ("bp4d", "--data_dir=x", "--manual_dir=hdfs://b/x"),
        "--manual_dir=hdfs://b/x is not a path",
    ),
    (VALIDATE, ("bp4d", "--data_dir=gs://b/x"), "--data_dir=gs://b/x is not a path on"),
    (STATUS, ("gs://bucket/runs",), "gs://bucket/runs is not a path on"),
    (STUDY, ("--quick", "--out=gs://b/x"), "--out=gs://b/x is not a path on"),
    (SHEET, ("gs://b/x.png",), "gs://b/x.png is not a path on"),
    (DUMMY, ("gs://b/x",), "gs://b/x is not a path on"),
    (CHECKS, ("--data_dir=gs://b/x",), "--data_dir=gs://b/x is not a path on"),
    (READING, ("--data_dir=gs://b/x", "--dataset=bp4d"), "--data_dir=gs://b/x is not a path on"),
    # no text, a file in the place of a folder, a link that leads nowhere, no access
    (LAUNCHER, (*DEMO, "--runs_dir="), "--runs_dir='' is not a path"),
    (LAUNCHER, (*DEMO, "--data_dir="), "--data_dir='' is not a path"),
    (PREPARE, ("synthetic_faces/lfw", "--data_dir="), "--data_dir='' is not a path"),
    (LAUNCHER, (*DEMO, "--runs_dir=recorder.py"), "cannot be written to (Not a directory: "),
    (
        LAUNCHER,
        (*DEMO, "--runs_dir=recorder.py/x"),
        "recorder.py/x cannot be written to (Not a dir",
    ),
    (LAUNCHER, (*DEMO, "--runs_dir=broken/x"), "broken is a link to nowhere, which does not exist"),
    (LAUNCHER, (*DEMO, "--runs_dir=taken"), "taken/demo cannot be written to (Not a directory: "),
    (
        LAUNCHER,
        (*DEMO, "--runs_dir=taken", "--name=x"),
        "taken/exports cannot be written to (Not a",
    ),
    (LAUNCHER, (*DEMO, "--runs_dir=" + "x" * 300), "cannot be written to (File name too long: "),
    (LAUNCHER, (*DEMO, "--data_dir=recorder.py"), "cannot be a folder (Not a directory: "),
    (LAUNCHER, (*DEMO, "--set=eval.truth=none.npz"), "none.npz does not exist"),
    (LAUNCHER, (*DEMO, "--set=eval.truth=folder"), "folder is not a file"),
    (PREPARE, ("synthetic_faces/lfw", "--data_dir=recorder.py"), "cannot be a folder (Not a dir"),
    (PREPARE, ("bp4d", "--data_dir=x"), "bp4d needs --manual_dir"),
    (PREPARE, ("bp4d", "--data_dir=x", "--manual_dir=nowhere"), "nowhere does not exist"),
    (PREPARE, ("bp4d", "--data_dir=x", "--beam_options='"), "No closing quotation"),
    (VALIDATE, ("bp4d", "--data_dir=broken"), "broken is a link to nowhere, which does not exist"),
    (SHEET, ("nowhere/x.png",), "nowhere); name another place"),
    (SHEET, ("folder",), "cannot be written (Is a directory"),
    (STATUS, ("recorder.py",), "cannot be a folder (Not a directory: "),
    (STATUS, ("nowhere",), "nowhere does not exist"),
    # several hosts
    (
        LAUNCHER,
        (*DEMO, "--distributed"),
        "--distributed finds no cluster here; Slurm, TPU pods, Kub",
    ),
    (LAUNCHER, (*DEMO, "--coordinator=localhost"), "--coordinator=localhost must be ADDRESS:PORT"),
    (LAUNCHER, (*DEMO, "--coordinator=a:1"), "--hosts is not given"),
    (LAUNCHER, (*DEMO, "--coordinator=a:1", "--hosts=2"), "--host is not given: with --hosts=2"),
    (LAUNCHER, (*DEMO, "--coordinator=a:1", "--hosts=0", "--host=0"), "--hosts is 0"),
    (LAUNCHER, (*DEMO, "--coordinator=a:1", "--hosts=2", "--host=2"), "--host is 2"),
    (LAUNCHER, (*DEMO, "--coordinator=a:1", "--hosts=2", "--host=-1"), "--host is -1"),
    (LAUNCHER, (*DEMO, "--hosts=2"), "--hosts goes with --coordinator=ADDRESS:PORT"),
    (LAUNCHER, (*DEMO, "--distributed", "--host=1"), "--host goes with --coordinator"),
    (LAUNCHER, (*DEMO, "--distributed", "--coordinator=a:1"), "give one"),
    (LAUNCHER, (*DEMO, "--hosts=two"), "--hosts"),
    # a machine has no number that it could not divide by
    (SCALING, ("--tflops=0",), "--tflops=0"),
    (SCALING, ("--utilization=-1",), "--utilization=-1"),
    (SCALING, ("--devices_per_host=0",), "--devices_per_host=0"),
    (SCALING, ("--hop_us=-1",), "--hop_us=-1"),
    # arguments too many, or too few
    (LAUNCHER, (*DEMO, "steps=3"), "unexpected argument 'steps=3'"),
    (STATUS, (), "give the folder of a run"),
    (STATUS, ("a", "b", "c"), "unexpected argument 'c'"),
    (STATUS, ("nowhere", "folder"), "nowhere does not exist"),
    (STATUS, ("--exports",), "--exports takes the folder of all runs"),
    (STATUS, ("--prune", "a", "b"), "--prune takes the folder of all runs"),
    (STATUS, ("--prune", "folder"), "folder holds no exports"),
    (STATUS, ("--yes", "folder"), "--yes goes with --prune"),
    (SCORE, (), "give the folder of an export"),
    (SCORE, ("folder", "--split=test"), "--dataset is not given"),
    (SCORE, ("gs://b/x", "--dataset=bp4d", "--split=a"), "gs://b/x is not a path on"),
    (
        SCORE,
        ("folder", "--dataset=bp4d", "--split=a", "--data_dir=gs://b/x"),
        "--data_dir=gs://b/x is not a path on",
    ),
    (SCORE, ("folder", "--dataset=bp4d", "--split=a", "--out=folder"), "(Is a directory"),
    (SCORE, ("folder", "--dataset=bp4d", "--split=a", "--data_dir=x"), "build it with `"),
    (PREPARE, (), "give one data set"),
    (SHEET, (), "give the file to write"),
    (DETECT, (), "name pictures, films, folders or camera:0"),
    (DETECT, ("a.jpg",), "--out is not given"),
    (DETECT, ("a.jpg", "--model=m", "--out=s3://b/x"), "--out=s3://b/x is not a path on"),
    (DETECT, ("a.jpg", "--model=m", "--out=o", "--threshold=half"), "--threshold=half is neither"),
    (DETECT, ("a.jpg", "--model=m", "--out=o", "--start=5", "--end=4"), "--end=4.0 is not after"),
    (DETECT, ("a.jpg", "--model=m", "--out=o", "--maps=AU12"), "--maps are drawn on an overlay"),
    (
        DETECT,
        ("a.jpg", "--model=m", "--out=o", "--overlay=pictures", "--maps=AU3"),
        "--maps: 'AU3' is not an action unit",
    ),
    ("experiments.export", (), "give the folder of an export"),
    ("experiments.export", ("absent",), "--out is not given"),
    ("benchmarks.first_step", (), "give a stage out of"),
    ("benchmarks.worker", (), "give a side"),
    ("benchmarks.compare", ("b9",), "give networks out of"),
    ("benchmarks.speed", ("--cases=b9",), "unknown case 'b9'"),
    ("benchmarks.unet", ("b9",), "unexpected argument 'b9'"),
]
#: (name, arguments, environment, whether nobody knows the user's home) of launches that are recorded.
LAUNCHES: dict[str, tuple[tuple[str, ...], dict[str, str], bool]] = {
    "tilde": (("--runs_dir=~/x", "--data_dir=~/y"), {}, False),
    "variable with a tilde": ((), {"TFDS_DATA_DIR": "~/y"}, False),
    "empty variable": ((), {"TFDS_DATA_DIR": ""}, False),
    "relative, with a slash behind": (("--runs_dir=a/b/", "--data_dir=./c//"), {}, False),
    "homeless": (("--runs_dir=r", "--data_dir=d"), {}, True),
    "empty home": (("--runs_dir=r", "--data_dir=d"), {"HOME": ""}, False),
}
WHERE = {
    "tilde": ("home/y", "home/x"),
    "variable with a tilde": ("home/y", "runs"),
    "empty variable": ("home/tensorflow_datasets", "runs"),
    "relative, with a slash behind": ("c", "a/b"),
    "homeless": ("d", "r"),
    "empty home": ("d", "r"),
}
#: The same of commands that need the home directory that nobody knows.
HOMELESS: list[tuple[str, tuple[str, ...], str]] = [
    (LAUNCHER, DEMO, "no home directory is known (HOME is not set), so --data_dir has no default"),
    (LAUNCHER, (*DEMO, "--data_dir=d", "--runs_dir=~/x"), "--runs_dir=~/x: no home directory is"),
    (LAUNCHER, (*DEMO, "--data_dir=~"), "--data_dir=~: no home directory is"),
    (PREPARE, ("bp4d",), "so --data_dir has no default: give it, or set TFDS_DATA_DIR"),
    (PREPARE, ("bp4d", "--data_dir=d", "--manual_dir=~/x"), "--manual_dir=~/x: no home directory"),
    (VALIDATE, ("bp4d",), "so --data_dir has no default"),
    (STATUS, ("~/runs",), "~/runs: no home directory is"),
    (SCORE, ("x", "--dataset=bp4d", "--split=a"), "so --data_dir has no default"),
]


def missing(program: str) -> list[str]:
    """Packages that an example is about and that these tests do without."""
    if not program.endswith(".py"):
        return []
    nodes = ast.parse(pathlib.Path(program).read_text()).body
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return [name for name in names if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> pathlib.Path:
    """Where the user stands."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "recorder.py").write_text(f"import sys\n{RECORDER}")
    (folder / "broken").symlink_to("nowhere")
    (folder / "folder").mkdir()
    (folder / "taken").mkdir()
    for name in ("demo", "exports"):
        (folder / "taken" / name).write_text("")
    return folder


@pytest.fixture(scope="module")
def started(here, tmp_path_factory) -> dict[tuple[str, ...], Done]:
    own = {"HOME": str(here / "home"), "TFDS_DATA_DIR": "", "XDG_CACHE_HOME": str(here / "cache")}
    own["JAX_COMPILATION_CACHE_DIR"] = ""
    cases: dict[tuple[str, ...], Command] = {}
    for program in PROGRAMS:
        for kind, flag in ASKED.items():
            cases[kind, program] = Command(program, (flag,), here, own)
    for program, arguments, _ in MISTAKES:
        cases["mistake", program, *arguments] = Command(program, arguments, here, own)
    for name, (arguments, environment, homeless) in LAUNCHES.items():
        environment = {**own, **environment}
        if homeless or not environment["HOME"]:
            environment["XDG_CACHE_HOME"] = ""
        given = (*DEMO, *arguments)
        cases["launch", name] = Command(LAUNCHER, given, here, environment, homeless)
    for program, arguments, _ in HOMELESS:
        cases["homeless", program, *arguments] = Command(program, arguments, here, own, True)
    cases["no configuration",] = Command(LAUNCHER, (), here, own)
    cases["builder", "empty variable"] = Command(VALIDATE, ("bp4d",), here, own)
    cases["originals",] = Command(
        LAUNCHER, ("--config=bp4d_fold1", f"--data_dir={here}/my data"), here, own
    )
    done = run(list(cases.values()), tmp_path_factory.mktemp("told"))
    return dict(zip(cases, done, strict=True))


def test_the_programs_are_found():
    assert {LAUNCHER, STATUS, PREPARE, VALIDATE, "benchmarks.compare"} <= set(PROGRAMS)
    assert str(ROOT / "examples" / "two_moons.py") in PROGRAMS
    assert "experiments.config" not in PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", ["help", "short"])
def test_help_is_given_and_ends_well(started, program, kind):
    if missing(program):
        pytest.skip(f"{program} needs {missing(program)}")
    code, out, err = started[kind, program]
    assert (code, err) == (0, "")
    called = pathlib.Path(program).name if "/" in program else program
    assert called in out and len(out.split()) > 12  # what it is for, and how it is called


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_flag_is_one_line(started, program):
    if missing(program):
        pytest.skip(f"{program} needs {missing(program)}")
    code, out, err = started["unknown", program]
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    # argparse asks first for what must be given.
    assert "no_such_flag" in line or line.endswith("arguments are required: folder")


@pytest.mark.parametrize(("program", "arguments", "said"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(started, program, arguments, said):
    assert said in started["mistake", program, *arguments].mistake()


@pytest.mark.parametrize(("program", "arguments", "said"), HOMELESS)
def test_a_home_that_nobody_knows_is_told_where_it_is_needed(started, program, arguments, said):
    assert said in started["homeless", program, *arguments].mistake()


@pytest.mark.parametrize("name", LAUNCHES)
def test_the_launcher_goes_where_the_user_said(started, here, name):
    done = started["launch", name]
    assert done.code == 0, done.err
    assert done.out.splitlines() == [str(here / where) for where in WHERE[name]]
    # without a home, nothing is kept between runs, and the run goes on
    assert ("compiled functions are not kept" in done.err) == ("home" in name)


def test_no_folder_was_made_that_nobody_named(started, here):
    made = {path.name for path in here.iterdir()}
    named = {"recorder.py", "broken", "folder", "taken", "cache"}
    assert named <= made <= {*named, "__pycache__", "runs"}, made


def test_builders_have_the_launchers_default(started, here):
    line = started["builder", "empty variable"].mistake()
    assert f"{here}/home/tensorflow_datasets/bp4d/1.0.0 does not exist" in line


def test_without_a_configuration_usage_and_names_are_printed(started):
    code, out, err = started["no configuration",]
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("usage: ") and "experiments.piapdf --config=NAME" in first
    for name in ("demo", "bp4d", "bp4d_fold1", "bp4d_fold3", "disfa", "disfa_fold2"):
        assert name in second


def test_the_command_of_a_message_works_as_it_stands(started, here):
    """Typed into a shell, in a folder that is no clone, by an interpreter that is not called python."""
    line = started["originals",].mistake()
    (command,) = re.findall("`(.+)`", line)
    assert "--data_dir=" in command and shlex.split(command)[-1].startswith("--manual_dir=")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # as installed
    done = subprocess.run(
        f"{command} --only_check_args", shell=True, cwd=here, env=environment, check=False
    )
    assert done.returncode == 0
    assert commands.python("data_builders.prepare") in command


@pytest.mark.parametrize(("asked", "had"), [(None, "1"), ("3", "3")])
def test_openblas_gets_one_thread_before_numpy_is_there_unless_somebody_asks_for_more(asked, had):
    """Without it drawing takes twice the processor time; NumPy asks only when it is first imported."""
    code = (
        "import os, sys\n"
        "from experiments import piapdf\n"
        "from piapdf_jax import command_line\n"
        "says = lambda argv: print('numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])\n"
        "command_line.run(says)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    environment |= {"OPENBLAS_NUM_THREADS": asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"False {had}\n", "")
