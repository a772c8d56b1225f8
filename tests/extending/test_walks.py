"""The walks of docs/extending.md, their files and commands as they stand there, in a folder of their own."""

import dataclasses
import importlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_builders import prepare, registry, work_units
from experiments import config as configs
from experiments import data_folders, datasets, fingerprint, status
from experiments.config import TrainSection
from experiments.pipeline import Pipeline
from experiments.trainings import TRAININGS, register_training
from piapdf_jax.action_units import record_columns
from piapdf_jax.data.evaluation import evaluation_batches
from piapdf_jax.data.source import MissingDataset
from piapdf_jax.load import load_export
from piapdf_jax.model_json import ModelError, read_model
from piapdf_jax.runtime import exports

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = {name: code for code, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", TEXT, re.S)}
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.S)).splitlines()
# What hangs says where when it is ended.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
NANO = ["df=paper", "model=nano", "data.image_size=64", "eval.batch_size=48", "run.log_every=1"]
NANO += ["run.audit=true"]
NANO += ["baseline.batch_size=8", "baseline.steps=4", "data.dataset=synthetic_faces/small_bp4d"]
# Two steps may be over before a signal gets there.
LONG, SAVED = 20, ["run.checkpoint_every=5"]


def written(folder, *names):
    for name in names:
        (folder / name).write_text(FILES[name], encoding="utf-8")
    return folder


def command(*words, settings=(), **flags):
    """The one command of the document with some words, settings and flags added."""
    (line,) = [line for line in COMMANDS if all(word in line for word in words)]
    more = [f"--set={setting}" for setting in settings]
    more += [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, *shlex.split(line)[1:], *more]


def started(folder, arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, cwd=folder, env=ENVIRONMENT, start_new_session=True, **pipes)


def ended(process, code=0):
    """What a process printed; one that hangs is ended with its readers, and where each thread stood is told."""
    try:
        out, told = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        pytest.fail(process.communicate()[1])
    assert process.returncode == code, told
    return out, told


def one_line(process):
    told = ended(process, 2)[1]
    assert told.count("\n") == 1 and "Traceback" not in told
    return told


def content(runs):
    (path,) = runs.glob("exports/*/*/export.json")
    return json.loads(path.read_text())["content"], path.stat().st_mtime_ns


def stopped(process, runs):
    """Stops a training as soon as it has logged a step; returns at which step it was saved."""
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if any(path.stat().st_size for path in runs.glob("*/*/*/*/metrics.jsonl")):
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.005)
    _, told = ended(process, 128 + signal.SIGTERM)
    assert "Traceback" not in told and not list(runs.glob("exports/*/*/export.json"))
    return int(re.search(r"stopped and saved at step (\d+)", told)[1])


def walk_of_stops(folder, launch):
    """Stopped and resumed, a run ends as the straight one; then there is nothing left to train.

    Args:
        folder: of the plugin.
        launch: runs folder -> command.
    """
    one, straight = folder / "stopped", folder / "straight"
    assert 1 <= stopped(started(folder, launch(one)), one) < LONG
    both = started(folder, launch(one)), started(folder, launch(straight))
    for process in both:
        assert "training, digest" in ended(process)[1]
    assert content(one)[0] == content(straight)[0]
    before = content(one)
    assert "exists, not trained again" in ended(started(folder, launch(one)))[1]
    assert content(one) == before


def test_training(small_data, tmp_path):
    folder = written(tmp_path, "focal_loss.py", "my_training.py")
    # Says which processes have loaded it.
    (folder / "seen.py").write_text(
        "import os, pathlib\npathlib.Path(f'seen.{os.getpid()}').touch()\n"
    )
    settings = [*NANO, "focal.batch_size=8", f"focal.steps={LONG}", *SAVED]
    # Its networks are its own: nobody looks for the file that encoders start from.
    settings += ["model.encoder=b1", "model.pretrained=imagenet"]

    def launch(runs):
        # The straight run reads in a process of its own.
        more = ["data.workers=1"] if runs.name == "straight" else []
        arguments = command("methods=focal", settings=settings + more, runs_dir=runs)
        return arguments + [f"--data_dir={small_data}"] + ["--plugin=seen"] * len(more)

    shown = started(folder, command("print_config", "my_training", settings=["focal.gamma=0.5"]))
    section = json.loads(ended(shown)[0])["focal"]
    assert section["gamma"] == 0.5 and section["steps"] == 2000
    walk_of_stops(folder, launch)
    assert len(list(folder.glob("seen.*[0-9]"))) == 2
    (trained,) = status.training_statuses(folder / "stopped" / "demo" / "fold1_seed0")
    assert (trained.name, trained.state, trained.step) == ("focal", "done", LONG)
    results = json.loads(
        (folder / "straight" / "demo" / "fold1_seed0" / "results.json").read_text()
    )
    focal = results["trainings"]["focal"]
    assert focal["fingerprint"]["settings"]["stage"]["gamma"] == 1
    assert len(focal["scores"]["published"]["f1"]) == 12
    (folder_of_export,) = (folder / "straight").glob("exports/focal/*")
    model = read_model(folder_of_export)
    assert model.model is model.mean is None and model.parts == ("encoder", "head")
    assert all(0 < cut < 1 for cut in model.cuts.values()) and len(model.cuts) == 12
    assert "weights imagenet" not in {license.of for license in model.licences}
    with pytest.raises(ModelError, match="training 'focal' has networks of a plugin"):
        load_export(folder_of_export)
    assert focal["scores"]["parameters"] == 16 * 16 * 32 + 32 + 32 * 12 + 12


@pytest.mark.nightly
def test_data_set(tmp_path):
    folder = written(tmp_path, "squares.py")
    beforehand = folder / "beforehand"
    out, _ = ended(
        started(folder, command("data_builders.prepare", " squares", data_dir=beforehand))
    )
    assert "train 32, test 16" in out
    light = "import sys, squares; sys.exit('jax' in sys.modules)"
    ended(started(folder, [sys.executable, "-c", light]))
    # Not the tests' small data set: the command of the document names its own.
    settings = [setting for setting in NANO if not setting.startswith("data.dataset")]
    settings += [f"baseline.steps={LONG}", *SAVED]

    def launch(runs):
        data = beforehand if runs.name == "straight" else folder / "made_by_the_launcher"
        return command("data.dataset=squares", settings=settings, runs_dir=runs, data_dir=data)

    walk_of_stops(folder, launch)
    results = json.loads(
        (folder / "straight" / "demo" / "fold1_seed0" / "results.json").read_text()
    )
    baseline = results["trainings"]["baseline"]
    assert baseline["scores"]["aus"] == [1, 4, 12] and baseline["data"] == ["squares[train]"]


def test_metric(small_data, tmp_path):
    folder, runs = written(tmp_path, "worst_person.py"), tmp_path / "runs"
    launch = command("worst_person", settings=NANO, runs_dir=runs, data_dir=small_data)
    _, told = ended(started(folder, launch))
    results = json.loads((runs / "demo" / "fold1_seed0" / "results.json").read_text())
    scores = results["trainings"]["baseline"]["scores"]
    worst = min(f1_of_people(small_data, runs).values())
    assert scores["published"]["worst_person"] == round(100 * worst, 4) > 0
    assert scores["true"].keys() == scores["published"].keys()
    assert f"worst_person {scores['published']['worst_person']} against published" in told


def f1_of_people(data, runs):
    """Mean F1 of each tested person, from the export and the records alone."""
    pipeline = Pipeline(
        configs.load("demo", [*NANO, "methods=baseline"]),
        data_dir=str(data), runs_dir=str(runs), name="demo",
    )  # fmt: skip
    job = pipeline.job("baseline")
    path = exports.find_export(runs, "baseline", pipeline.digest("baseline"))
    exported, _ = exports.read_export(path)
    records = job.slices.test.records()
    said = np.zeros((len(records), 12), bool)
    for batch in evaluation_batches(records, job.reading(training=False)):
        images = np.asarray(batch.image, np.float32) / np.float32(255)
        rows = np.asarray(batch.record_index)[np.asarray(batch.mask) > 0]
        said[rows] = np.asarray(job.stage.predict(exported, images).au_probs)[: len(rows)] >= 0.5
    table, found = records.table(), {}
    for person in set(table["subject"]):
        rows = table["subject"] == person
        labels = table["labels"][rows][:, record_columns(job.units)]
        right = (said[rows] & (labels == 1)).sum(0)
        wrong = ((said[rows] != (labels == 1)) & (labels >= 0)).sum(0)
        found[person] = np.mean(2 * right / np.maximum(2 * right + wrong, 1))
    assert len(found) == 2
    return found


@pytest.mark.nightly
def test_digest_of_a_training_knows_its_plugins_sources(small_data, tmp_path):
    folder = written(tmp_path, "focal_loss.py", "my_training.py")
    code = (
        "import json, pathlib, sys\n"
        "from experiments import config, plugins\n"
        "from experiments.pipeline import Pipeline\n"
        "plugins.load(['my_training'])\n"
        "def digest():\n"
        "    loaded = config.load('demo', sys.argv[2:])\n"
        "    return Pipeline(loaded, data_dir=sys.argv[1], runs_dir='runs', name='x').digest('focal')\n"
        "found = [digest()]\n"
        "for name in ('my_training.py', 'focal_loss.py'):\n"
        "    for line in ('# a comment', 'CHANGED = 1'):\n"
        "        with open(name, 'a') as file:\n"
        "            print(line, file=file)\n"
        "        found.append(digest())\n"
        "print(json.dumps(found))\n"
    )
    process = started(folder, [sys.executable, "-c", code, str(small_data), *NANO])
    start, comment, own, own_comment, helper = json.loads(ended(process)[0])
    assert start == comment != own == own_comment != helper != start


REFUSED = {
    "nowhere": (None, "--plugin=nowhere is not found"),
    "a_training": (
        "import dataclasses\n"
        "from experiments.trainings import TRAININGS, register_training\n"
        "register_training(TRAININGS['baseline'])\n",
        "training 'baseline' is already registered",
    ),
    "a_metric": (
        "from experiments.au_scores import register_metric\n"
        "register_metric('f1', lambda labels, probs, subjects: 0)\n",
        "metric 'f1' is already registered",
    ),
    "a_set": (
        "from data_builders.prepare import register_dataset\nregister_dataset('bp4d', __name__)\n",
        "data set 'bp4d' is already registered by data_builders.bp4d.bp4d_dataset_builder",
    ),
}


@pytest.mark.parametrize("module", ["experiments.piapdf", "data_builders.prepare"])
def test_what_cannot_be_loaded_is_one_line(tmp_path, module):
    for name, (code, _) in REFUSED.items():
        if code:
            (tmp_path / f"{name}.py").write_text(code)
    names = REFUSED if module.startswith("experiments") else ("nowhere", "a_set")
    launch = [sys.executable, "-m", module]
    running = {name: started(tmp_path, [*launch, f"--plugin={name}", "x"][:4]) for name in names}
    for name, process in running.items():
        told = one_line(process)
        assert REFUSED[name][1] in told and f"--plugin={name}" in told


def test_a_section_of_a_plugin_hides_no_other():
    own = dataclasses.replace(TRAININGS["baseline"], name="mine", settings=TrainSection(steps=1))
    for section, said in (
        ("data", "section 'data' already exists"),
        ("longer", "section 'longer' already exists"),
        ("a.b", "letters and _, not 'a.b'"),
    ):
        with pytest.raises(ValueError, match=said):
            register_training(dataclasses.replace(own, section=section))
    with pytest.raises(ValueError, match="'eval' is a key of the configuration, not a section"):
        register_training(dataclasses.replace(own, section="eval", settings=None))
    with pytest.raises(ValueError, match="no section 'mine': give training 'mine' its settings"):
        register_training(dataclasses.replace(own, section="mine", settings=None))
    assert "mine" not in TRAININGS


def test_status_names_a_plugins_training_that_has_not_begun(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"methods": ["baseline", "focal"]}))
    found = [(one.name, one.state) for one in status.training_statuses(tmp_path)]
    assert found == [("baseline", "not begun"), ("focal", "not begun")]


def test_data_set_of_original_files_names_its_command(tmp_path, monkeypatch):
    code = FILES["squares.py"].replace("squares", "my_faces")
    made = "    MANUAL_DOWNLOAD_INSTRUCTIONS = 'Ask the owner.'\n    VERSION"
    (tmp_path / "my_faces.py").write_text(code.replace("    VERSION", made))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "BUILDERS", dict(registry.BUILDERS))
    for module in (prepare, data_folders):
        monkeypatch.setattr(module, "BUILDERS", registry.BUILDERS)
    registry.import_plugins(["my_faces"])
    loaded = configs.load("demo", [*NANO, "data.dataset=my_faces"])
    with pytest.raises(MissingDataset, match="prepare --plugin=my_faces my_faces --data_dir="):
        datasets.DataSets(loaded, str(tmp_path), None).folder("my_faces")
    with pytest.raises(FileNotFoundError, match="needs --manual_dir.*Ask the owner"):
        prepare.prepare("my_faces", data_dir=tmp_path)
    registry.BUILDERS["faces"] = "my_faces"
    with pytest.raises(registry.UsageError, match="name 'my_faces' and is registered as 'faces'"):
        prepare.prepare("faces", data_dir=tmp_path)


def test_unfinished_records_of_a_builder_from_outside_depend_on_its_sources(tmp_path, monkeypatch):
    assert work_units.recipe_outside("data_builders.bp4d.bp4d_dataset_builder") == ""
    for name in ("outer_builder", "outer_helper"):
        (tmp_path / f"{name}.py").write_text("import outer_helper\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("outer_builder")
    before = work_units.recipe_outside("outer_builder")
    (tmp_path / "outer_helper.py").write_text("SIDE = 3\n")
    assert before.startswith("-") and work_units.recipe_outside("outer_builder") != before


def test_a_module_that_a_plugin_misses_is_the_plugins_own_error(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="'needs'"):
        registry.import_plugins(["needs_more"])


def test_a_folder_of_modules_beside_a_plugin_is_among_its_sources(tmp_path, monkeypatch):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "part.py").write_text("SIDE = 3\n")
    (tmp_path / "with_folder.py").write_text("import json\nimport numpy\nfrom loose import part\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(fingerprint.source_digests(["with_folder"])) == ["loose.part", "with_folder"]
