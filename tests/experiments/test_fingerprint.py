"""A digest knows what a training reads, and nothing else: settings, data, sources, numerics of the process."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import pytest

from experiments import config as configs
from experiments import fingerprint
from experiments.pipeline import Pipeline
from experiments.sections import TrainSection
from experiments.trainings import TRAININGS

ROOT = pathlib.Path(__file__).resolve().parents[2]
NANO = ["df=paper", "model=nano", "data.image_size=64", "eval.batch_size=48", "methods=piapdf"]
NANO += [f"{name}.batch_size=8" for name in ("pi1", "pi2", "identity", "baseline", "piap", "df")]
NANO += ["data.dataset=synthetic_faces/small_bp4d", "pi1.dataset=synthetic_faces/small_afew_va"]
NANO += ["identity.dataset=synthetic_faces/small_webface", "df.batch_size=8"]
NANO += ["identity.pairs=synthetic_faces/small_lfw", "disfa.dataset=synthetic_faces/small_disfa"]
ALL = set(TRAININGS)
LABELED = ALL - {"pi1", "identity", "landmarks"}
WITH_MAPS = {"pi3", "piap", "longer", "piapdf", "disfa"}
#: PIAP for as long has length, rate and batch of feedback.
OF_ITS_LENGTH = {"longer", "df", "piapdf"}


def pipeline(data, runs, *settings):
    loaded = configs.load("demo", [*NANO, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="f")


def decided(data, runs, *settings):
    """Fingerprints of all trainings, but for the exports they take."""
    made = pipeline(data, runs, *settings)
    prints = {name: dict(made.fingerprint(name)) for name in TRAININGS}
    return {name: {k: v for k, v in p.items() if k != "takes"} for name, p in prints.items()}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.fixture(scope="module")
def before(small_data, tmp_path_factory):
    return decided(small_data, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(
    ("setting", "trainings"),
    [
        ("eval.batch_size=7", set()),
        ("eval.validate_every=7", set()),
        ("eval.truth=/nowhere/truth.npz", set()),
        ("eval.pointing_frames=7", set()),
        ("run.log_every=3", set()),
        ("run.checkpoint_every=3", set()),
        ("run.max_skipped=3", set()),
        ("run.audit=true", set()),
        ("data.workers=2", set()),
        ("methods=disfa", set()),
        ("eval.validation_subjects=1", LABELED),
        ("pi.binarize=true", WITH_MAPS),
        ("pi.dice=0.5", {"pi1", *WITH_MAPS}),
        ("pi.positive_weight=2", {"pi1", *WITH_MAPS}),
        ("pi.units=1,4,12", {"pi1", "pi2", *WITH_MAPS}),
        ("data.units=1,4,12", LABELED - {"disfa"}),
        ("disfa.units=1,4,12", {"disfa"}),
        ("model.dropout=0.3", LABELED),
        ("model.unet_widths=(8, 16)", {"pi1", "pi2", *WITH_MAPS}),
        ("model.decoder_widths=(8, 16)", WITH_MAPS),
        ("model.encoder_size=48", ALL - {"pi1"}),
        ("model.bn_momentum=0.8", ALL),
        ("data.augment.flip=0.1", ALL),
        ("data.image_size=32", ALL),
        ("seed=4", LABELED),
        ("pi1.seed=4", {"pi1"}),
        ("identity.seed=4", {"identity"}),
        ("fold=2", LABELED),
        ("identity.margin=0.1", {"identity"}),
        ("identity.arcface=false", {"identity"}),
        ("baseline.learning_rate=0.5", {"baseline"}),
        ("piap.steps=7", {"piap"}),
        ("lp.steps=7", {"lp"}),
        ("piap.accumulate=2", {"piap"}),
        ("df.variant=none", {"df", "piapdf"}),
        ("df.student_learning_rate=0.5", {"df", "piapdf"}),
        ("df.relabel_fraction=0.3", {"df", "piapdf"}),
        ("df.disfa_fraction=0.25", {"df", "piapdf"}),
        ("df.judge_subjects=1", LABELED - {"disfa"}),
        ("data.labeled_frames=0", set()),
        ("data.labeled_frames=20", LABELED - {"disfa"}),
        ("df.unlabeled_fraction=0.3", set()),
        ("df.unlabeled_dataset=synthetic_faces/small_webface", {"df", "piapdf"}),
        ("df.compile=whole", set()),
        ("df.log_parts=true", set()),
        ("df.confidence=0.75", {"df", "piapdf"}),
        ("df.unlabeled_ratio=2", {"df", "piapdf"}),
        ("df.label_view=clean", {"df", "piapdf"}),
        ("df.finetune_steps=3", OF_ITS_LENGTH),
    ],
)
def test_a_setting_enters_where_it_has_an_effect(small_data, tmp_path, before, setting, trainings):
    assert changed(before, decided(small_data, tmp_path, setting)) == trainings


def test_settings_of_a_switch_that_is_off_enter_nowhere(small_data, tmp_path, before):
    idle = ["df.finetune_learning_rate=0.5", "df.fresh_steps=3", "df.fresh_warmup=0.5"]
    idle += ["df.fresh_learning_rate=0.5", "df.fresh_student_learning_rate=0.5"]
    assert not changed(before, decided(small_data, tmp_path, *idle))


@pytest.mark.parametrize(
    ("beside", "setting", "trainings"),
    [
        ("df.finetune_steps=3", "df.finetune_learning_rate=0.5", {"df", "piapdf"}),
        ("df.start=fresh", "df.fresh_steps=3", OF_ITS_LENGTH),
        ("df.start=fresh", "df.fresh_learning_rate=0.5", OF_ITS_LENGTH),
        ("df.start=fresh", "df.fresh_student_learning_rate=0.5", {"df", "piapdf"}),
        ("df.start=fresh", "df.fresh_warmup=0.5", OF_ITS_LENGTH),
        ("df.start=fresh", "df.warmup=0.5", set()),
    ],
)
def test_a_setting_of_a_switch_enters_where_the_switch_is_on(
    small_data, tmp_path, beside, setting, trainings
):
    one, two = (decided(small_data, tmp_path, *more) for more in ([beside], [beside, setting]))
    assert changed(one, two) == trainings


def test_people_kept_apart_change_a_stand_in_by_who_is_read_alone(small_data, tmp_path):
    stand_in = "pi1.dataset=synthetic_faces/small_bp4d"
    one = decided(small_data, tmp_path, stand_in)["pi1"]
    two = decided(small_data, tmp_path, stand_in, "eval.validation_subjects=1")["pi1"]
    assert {key for key in one if one[key] != two[key]} == {"data"}
    (rows,), (more,) = one["data"], two["data"]
    assert more[:-1] == rows and len(more[-1]["without"]) == 1
    three = decided(
        small_data, tmp_path, stand_in, "eval.validation_subjects=1", "eval.validate_every=9"
    )
    assert three["pi1"] == two


def test_new_people_are_told_by_their_frames_and_share(small_data, tmp_path):
    other = "df.unlabeled_dataset=synthetic_faces/small_webface"
    half = decided(small_data, tmp_path, other)["df"]
    third = decided(small_data, tmp_path, other, "df.unlabeled_fraction=0.3")["df"]
    assert changed(half, third) == {"data"}
    (row,), (less,) = ([r for r in p["data"] if r[0].endswith("webface")] for p in (half, third))
    assert row[:2] == ["synthetic_faces/small_webface", "train"]
    assert (row[3], less[3]) == (0.5, 0.3) and row[:3] == less[:3] and len(row) == 4


def test_a_judge_is_named_where_he_judges_and_left_out_where_labels_are_read(
    small_data, tmp_path, before
):
    found = decided(small_data, tmp_path, "df.judge_subjects=1")
    judges = {name: told["settings"].get("judges") for name, told in found.items()}
    (judge,) = judges["df"]["people"]
    assert {name for name, told in judges.items() if told} == {"df", "piapdf"}
    own = ["synthetic_faces/small_bp4d", "part1+part2"]
    for name in LABELED - {"disfa"}:
        (rows,) = [row for row in found[name]["data"] if row[:2] == own]
        assert rows[-1] == {"without": [judge]}
        others = [row for row in found[name]["data"] if row[:2] != own]
        assert others == [row for row in before[name]["data"] if row[:2] != own]
    assert "judge" not in json.dumps([before, found["baseline"]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_default_matmul_precision", "highest"),
        ("jax_default_prng_impl", "rbg"),
        ("jax_random_seed_offset", 3),
    ],
)
def test_numerics_of_the_process_enter_everywhere(small_data, tmp_path, before, name, value):
    old = getattr(jax.config, name)
    try:
        jax.config.update(name, value)
        assert changed(before, decided(small_data, tmp_path)) == ALL
    finally:
        jax.config.update(name, old)


#: In the copy of the sources: file, a line of it, what stands in its place, trainings that differ.
EDITS = {
    "the gate of feedback": (
        "piapdf_jax/feedback.py", "import optax", "import optax\nGATE = 0", {"df", "piapdf"}),
    "a variant of feedback": (
        "piapdf_jax/feedback_variants.py", "import copy", "import copy\nVARIANT = 0",
        {"df", "piapdf"}),
    "the decoder": (
        "piapdf_jax/models/decoder.py", "import jax", "import jax\nWIDTH = 0",
        LABELED - {"pi2"}),
    "order of planes": (
        "piapdf_jax/records.py", "LANDMARKS = 68", "LANDMARKS = 67", ALL),
    "columns of labels": (
        "piapdf_jax/action_units.py", "RECORD_AUS.index(au) for", "RECORD_AUS.index(au) + 1 for",
        ALL),
    "key of a step": (
        "piapdf_jax/runtime/mesh.py", '"train_step", step', '"train_step", 0', ALL),
    "named keys": (
        "piapdf_jax/keys.py", "fold_in(root, word)", "fold_in(root, 0)", ALL),
    "draws of augmentation": (
        "piapdf_jax/data/augment.py", "zoom = 1.0", "zoom = 1.1", ALL),
    "the encoder": (
        "piapdf_jax/models/efficientnet.py", "STEM_CHANNELS = 32", "STEM_CHANNELS = 40",
        ALL - {"pi1"}),
    "another encoder": (
        "piapdf_jax/models/resnet.py", "import jax", "import jax\nSTEMS = 0", set()),
    "names of its weights": (
        "piapdf_jax/models/resnet_weights.py", "SHORTCUT = {", "OTHER = 0\nSHORTCUT = {", set()),
    "what encoders are": (
        "piapdf_jax/models/encoders.py", "import jax", "import jax\nKINDS = 0", ALL),
    "the generator": (
        "piapdf_jax/models/dw_unet.py", "import jax", "import jax\nWIDTH = 0",
        ALL - {"identity", "landmarks"}),
    "unlabeled frames": (
        "piapdf_jax/data/feedback_stream.py", "(others + 1) // 2", "(others + 1) // 3", {"df", "piapdf"}),
    "landmarks as numbers": (
        "piapdf_jax/landmarks.py", "COORDINATES = 136", "COORDINATES = 137",
        ALL - {"identity"}),
    "ArcFace": (
        "piapdf_jax/models/heads.py", "cosines**2, 1e-6", "cosines**2, 1e-7",
        ALL - {"pi1", "landmarks"}),
    "a comment": (
        "piapdf_jax/feedback.py", "import optax", "import optax  # as ever", set()),
    "a docstring": (
        "piapdf_jax/records.py", '"""One record on disk', '"""A record on disk', set()),
    "the best state": (
        "piapdf_jax/runtime/checkpoints.py", "score > self.score", "score >= self.score", set()),
    "the progress bar": (
        "piapdf_jax/runtime/writers.py", "import math", "import math\nDOTS = 3", set()),
    "a table": (
        "experiments/report.py", "import math", "import math\nDOTS = 3", set()),
    "the named sizes": (
        "piapdf_jax/models/presets.py", "from piapdf", "NAMES = 3\nfrom piapdf", set()),
    "metrics": (
        "piapdf_jax/metrics.py", "import numpy as np", "import numpy as np\nX = 0", set()),
}  # fmt: skip
_PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, {tests!r})
from absl import flags
flags.FLAGS.mark_as_parsed()
import piapdf_jax
from test_fingerprint import EDITS, changed, decided
root = pathlib.Path(piapdf_jax.__file__).parents[1]
assert root == pathlib.Path({root!r}), root
read = lambda: decided({data!r}, {runs!r}, *{settings!r})
before, found = read(), {{}}
for name, (file, old, new, _) in EDITS.items():
    path = root / file
    text = path.read_text()
    assert old in text, name
    path.write_text(text.replace(old, new, 1))
    found[name] = sorted(changed(before, read()))
    path.write_text(text)
assert not changed(before, read())
print(json.dumps(found))
"""


def edited(small_data, tmp_path, *settings):
    """Trainings whose fingerprints differ, for each edit of a copy of the sources."""
    for package in ("piapdf_jax", "experiments", "data_builders"):
        skip = shutil.ignore_patterns("__pycache__", "dummy_data")
        shutil.copytree(ROOT / package, tmp_path / "src" / package, ignore=skip)
    code = _PROGRAM.format(
        tests=str(pathlib.Path(__file__).parent),
        root=str(tmp_path / "src"),
        data=str(small_data),
        runs=str(tmp_path / "runs"),
        settings=settings,
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: set(found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}


def test_an_edit_makes_stale_what_imports_it_and_nothing_else(small_data, tmp_path):
    assert edited(small_data, tmp_path) == {name: edit[-1] for name, edit in EDITS.items()}


def test_metrics_decide_where_people_kept_apart_choose(small_data, tmp_path):
    found = edited(small_data, tmp_path, "eval.validation_subjects=1")
    assert found["metrics"] == found["the best state"] == LABELED
    assert found["a table"] == found["a comment"] == set()


def test_metrics_decide_where_labels_meet_rates(small_data, tmp_path, before):
    after = decided(small_data, tmp_path, "df.labels=matched")
    having = {name for name in after if "piapdf_jax.metrics" in after[name]["sources"]}
    assert having == changed(before, after) == {"df", "piapdf"}
    assert not any("piapdf_jax.metrics" in told["sources"] for told in before.values())


def test_a_rewritten_shard_changes_the_digests_of_those_who_read_it(small_data, tmp_path, before):
    from array_record.python import array_record_module as array_record

    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    (shard,) = (data / "synthetic_faces" / "small_bp4d" / "1.0.0").glob("*part1.array_record*")
    os.utime(shard, (1, 1))
    assert not changed(before, decided(data, tmp_path / "runs"))
    reader = array_record.ArrayRecordReader(str(shard))
    rows = reader.read_all()
    reader.close()
    writer = array_record.ArrayRecordWriter(str(shard), "group_size:1")
    for row in reversed(rows):
        writer.write(row)
    writer.close()
    assert changed(before, decided(data, tmp_path / "runs")) == LABELED - {"disfa"}


def test_the_import_closure_leaves_out_other_peoples_packages_and_registries():
    found = fingerprint.source_digests(["piapdf_jax.stages.discrete_feedback"])
    assert {"piapdf_jax.feedback", "piapdf_jax.losses", "piapdf_jax.models.decoder"} <= set(found)
    assert "piapdf_jax.models.presets" not in found
    assert all(name.split(".")[0] == "piapdf_jax" for name in found)


def test_operations_of_an_encoder_from_outside_rest_on_no_other_encoder(modules):
    """On what docs/extending.md names for them."""
    names = ("encoder_operations", "folding", "operations")
    modules(
        exporting="\n".join(f"import piapdf_jax.export.{name}" for name in names),
        all_encoders="import piapdf_jax.export.light_detector",
    )
    kinds = ("efficientnet", "resnet")
    for start, wanted in {"exporting": set(), "all_encoders": set(kinds)}.items():
        found = fingerprint.source_digests([start])
        assert {kind for kind in kinds if any(kind in name for name in found)} == wanted


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A function that writes modules into a folder on Python's path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    fingerprint._path_of.cache_clear()
    fingerprint._is_outside_of_packages.cache_clear()

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from piapdf_jax import au_loss", "piapdf_jax.losses"),
        ("import piapdf_jax.models.decoder as d", "piapdf_jax.models.decoder"),
        ("def f():\n    from piapdf_jax.models import decoder", "piapdf_jax.models.decoder"),
        ("from outer_one import inner", "outer_one.inner"),
        ("from outer_one import *", "outer_one"),
        ("import outer_one.inner", "outer_one"),
    ],
)
def test_the_import_closure_follows_every_form_of_import(modules, line, found):
    modules(outer_one__in____init__="", outer_one__in__inner="X = 1", start_one=line)
    assert found in fingerprint.source_digests(["start_one"])


def test_a_package_that_a_start_lies_in_is_among_the_sources(modules):
    modules(outer_two__in____init__="", outer_two__in__inner="from . import other")
    modules(outer_two__in__other="import json, numpy")
    assert set(fingerprint.source_digests(["outer_two.inner"])) == {
        "outer_two", "outer_two.inner", "outer_two.other"
    }  # fmt: skip


def test_functions_bound_to_arguments_are_found_where_they_stand():
    bound = functools.partial(functools.partial(decided, 1), 2)
    assert fingerprint._module_of(bound) == decided.__module__


def test_keys_of_a_section_count_unless_the_stage_says_the_same():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Section(TrainSection):
        kind: str = "a"
        start: int = 1
        width: int = 3
        gamma: float = 2.0

    told = {"class": "X", "gamma": 2.0, "model": {"width": 4}}
    found = fingerprint._section_fields(Section(steps=1), told)
    assert found == {"kind": "a", "start": 1, "width": 3}
    own = fingerprint._section_fields(configs.load("demo").df, {})
    elsewhere = {"start", "disfa_fraction", "steps", "learning_rate", "student_learning_rate"}
    assert not (elsewhere | {"fresh_steps", "finetune_steps", "log_parts"}) & set(own)
    assert not {"judge_subjects", "unlabeled_dataset", "unlabeled_fraction"} & set(own)
    assert {"relabel_fraction", "unlabeled_ratio", "variant"} <= set(own)


def test_exports_on_disk_are_found_by_the_words_of_a_fingerprint(before):
    told = {name: before[name]["settings"]["stage"] for name in ("pi1", "pi2", "piap", "piapdf")}
    classes = [stage["class"] for stage in told.values()]
    assert classes == ["PI1Generator", "PI2Refine", "PIAPStage", "FeedbackStage"]
    for name in ("piap", "piapdf"):
        assert {"begin", "binarise"} <= set(told[name])
    assert not {"init_from", "binarize"} & set(json.dumps(before).split('"'))


def test_a_stage_that_is_no_dataclass_is_refused():
    with pytest.raises(TypeError, match="object must be a dataclass"):
        fingerprint.stage_fields(object())
