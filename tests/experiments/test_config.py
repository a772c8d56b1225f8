"""Names, overrides, and the one-line errors of a mistyped command."""

import dataclasses
import os
import subprocess
import sys

import pytest

from experiments import config as configs
from experiments.trainings import METHODS, TRAININGS, ordered
from piapdf_jax.losses import LossWeights


def test_full_size_configs_are_the_papers():
    for name in ("bp4d_fold1", "bp4d_fold2", "bp4d_fold3", "disfa_fold1", "disfa_fold3"):
        config = configs.load(name)
        assert config.data.image_size == 256
        assert config.model.encoder_size == 224
        assert config.model.encoder == "b1"
        assert config.fold == int(name[-1])
        assert len(config.pi.units) == 12 and len(config.disfa.units) == 8


def test_demo_is_bp4d_fold1_but_for_data_model_and_lengths():
    demo, full = configs.load("demo"), configs.load("bp4d_fold1")
    free = {"name", "methods", "model", "data", "run", "disfa", "eval"}
    free |= {"pi1", "pi2", "identity", "baseline", "piap", "df", "pi3", "ap", "lp", "landmarks"}
    for field in dataclasses.fields(demo):
        if field.name not in free:
            assert getattr(demo, field.name) == getattr(full, field.name), field.name


def test_no_training_of_the_demo_has_the_full_length():
    demo, full = configs.load("demo"), configs.load("bp4d_fold1")
    for training in TRAININGS.values():
        short, long = (config.section(training.section).steps for config in (demo, full))
        assert short <= 1200 < long, training.name


def test_model_preset_replaces_the_section_and_the_image_size():
    settings = ["model.dropout=0.5", "model=tiny", "model.encoder_size=64"]
    config = configs.load("bp4d_fold1", settings)
    tiny = configs.load("bp4d_fold1", ["model=tiny"])
    assert config.data.image_size == 128
    assert tiny.model.encoder_size == 96
    assert config.model == dataclasses.replace(tiny.model, encoder_size=64)


@pytest.mark.parametrize(
    "setting, section, field, value",
    [
        ("df.variant=none", "df", "variant", "none"),
        ("df.drop_rate=0.1", "df", "drop_rate", 0.1),
        ("pi1.dataset=bp4d", "pi1", "dataset", "bp4d"),
        ("pi.binarize=true", "pi", "binarize", True),
        ("model.unet_widths=(8, 16)", "model", "unet_widths", (8, 16)),
        ("piap.steps=7", "piap", "steps", 7),
        ("pi.units=1, 12", "pi", "units", (1, 12)),
        ("pi.units=12", "pi", "units", (12,)),
        ("disfa.units=(1, 2)", "disfa", "units", (1, 2)),
        ("disfa.units=", "disfa", "units", ()),
    ],
)
def test_settings_take_the_type_of_their_field(setting, section, field, value):
    config = configs.load("bp4d_fold1", [setting])
    assert getattr(getattr(config, section), field) == value
    untouched = dataclasses.replace(
        config, **{section: getattr(configs.load("bp4d_fold1"), section)}
    )
    assert untouched == configs.load("bp4d_fold1")


def test_weights_may_be_set_one_by_one():
    settings = ["piap.au=0.8", "piap.pi=0.15", "piap.ap=0.05"]
    assert configs.load("demo", settings).piap.weights() == LossWeights(au=0.8, pi=0.15, ap=0.05)


def test_methods_are_a_list():
    config = configs.load("bp4d_fold1", ["methods=baseline,piap"])
    assert config.methods == ("baseline", "piap")
    assert ordered(config.methods) == ("pi1", "pi2", "identity", "baseline", "piap")


@pytest.mark.parametrize(
    "name, settings, told",
    [
        ("bp4d_fold4", [], "bp4d_fold"),
        ("demo", ["df.varaint=none"], "df.variant"),
        ("demo", ["model=b7x"], "tiny"),
        ("demo", ["methods=piapfd"], "piapdf"),
        ("demo", ["df"], "key=value"),
        ("demo", ["ap=3"], "section"),
        ("demo", ["df=3"], "known: paper, chosen"),
        ("demo", ["df.steps=many"], "df.steps"),
        ("demo", ["pi.binarize=perhaps"], "true or false"),
        ("demo", ["fold=4"], "fold=4 must be at least 1 and at most 3"),
        ("demo", ["piap.au=0.9"], "sum"),
        ("demo", ["eval.validation_subjects=-1"], "eval.validation_subjects=-1 must be at least 0"),
        ("demo", ["eval.validate_every=0"], "eval.validate_every=0 must be at least 1"),
        ("demo", ["eval.batch_size=0"], "eval.batch_size=0 must be at least 1"),
        ("demo", ["baseline.steps=0"], "baseline.steps=0 must be at least 1"),
        ("demo", ["seed=-1"], "seed=-1 must be at least 0"),
        ("demo", ["pi1.seed=-1"], "pi1.seed=-1 must be at least 0"),
        ("demo", ["baseline.clip_norm=inf"], "baseline.clip_norm=inf must be a finite number"),
        ("demo", ["pi.units="], "pi.units must name"),
        ("demo", ["data.units=1,1"], "names a unit twice"),
        ("demo", ["data.units=one"], "whole numbers, such as 1,12"),
        ("demo", ["data.units=3"], "records hold no AU"),
        ("demo", ["disfa.units=99"], "disfa.units: records hold no AU"),
        ("demo", ["data.workers=auto4"], "data.workers=auto4 must be auto or a number"),
        ("demo", ["data.workers=-1"], "data.workers=-1 must be auto or a number"),
    ],
)
def test_mistakes_name_what_was_meant(name, settings, told):
    with pytest.raises(configs.ConfigError, match=told):
        configs.load(name, settings)


def test_every_method_ends_in_its_row_and_lists_what_it_takes():
    for method, trainings in METHODS.items():
        assert trainings[-1] == method
        for number, training in enumerate(trainings):
            start = TRAININGS[training].start
            assert start is None or start in trainings[:number]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--config=dmeo"], "nearest is 'demo'"),
        (["--confg=demo"], "confg"),
        (["--config=bp4d_fold1"], "'afew_va' is not in"),
        (
            ["--config=bp4d_fold1", "--set=methods=baseline"],
            "python -m data_builders.prepare bp4d --data_dir=",
        ),
        (["--config=demo", "--stages=pi9"], "unknown stage 'pi9'"),
        (
            ["--config=demo", "--set=pi1.learning_rate=nan"],
            "error: pi1.learning_rate=nan must be a finite number, at least 1e-12",
        ),
        (["--config=demo", "--stages=disfa"], "--stages=disfa: no method in"),
    ],
)
def test_launcher_errors_are_one_line(tmp_path, arguments, told):
    command = [sys.executable, "-m", "experiments.piapdf", *arguments]
    command += [f"--data_dir={tmp_path}", f"--runs_dir={tmp_path / 'runs'}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_print_config_is_json(tmp_path):
    import json

    command = [sys.executable, "-m", "experiments.piapdf", "--config=demo", "--print_config"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["data"]["dataset"] == "synthetic_faces/bp4d"


def test_batches_that_make_no_whole_update_are_refused():
    steps = ["baseline.steps=4", "df.steps=4"]
    with pytest.raises(configs.ConfigError, match="baseline: 4 steps are not a multiple"):
        configs.load("demo", [*steps, "baseline.accumulate=3"])
    with pytest.raises(configs.ConfigError, match="df.accumulate must be 1"):
        configs.load("demo", [*steps, "df.accumulate=2"])
    with pytest.raises(configs.ConfigError, match="^df.accumulate must be 1"):
        configs.load("demo", [*steps, "df.accumulate=2", "df.steps=61"])


def test_an_encoder_that_is_no_preset_is_told_its_key():
    with pytest.raises(
        configs.ConfigError, match=r"^model=resnet50 .*--set model.encoder=resnet50$"
    ):
        configs.load("demo", ["model=resnet50"])


def test_weights_that_nobody_published_are_told():
    for encoder, words in {
        "nano": "neither a file nor published",
        "resnet50": "imagenet-timm",
    }.items():
        settings = ["model=nano", f"model.encoder={encoder}", "model.pretrained=keras"]
        with pytest.raises(configs.ConfigError, match=f"^model.pretrained='keras' is .*{words}"):
            configs.load("demo", settings)
