"""Settings that are not the defaults, in the stage and the reading of every training."""

import dataclasses

import pytest

from experiments import config as configs
from experiments.pipeline import Pipeline
from piapdf_jax.data.augment import AugmentConfig

DATA = [
    "data.dataset=synthetic_faces/small_bp4d",
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.dataset=synthetic_faces/small_webface",
    "identity.pairs=synthetic_faces/small_lfw",
    "disfa.dataset=synthetic_faces/small_disfa",
]
SECTIONS = ("pi1", "pi2", "identity", "baseline", "pi3", "ap", "piap", "df", "disfa", "lp")
#: No two trainings share a value, so that none can have another's.
NUMBERS = [
    setting
    for k, name in enumerate(SECTIONS, 1)
    for setting in (
        f"{name}.steps={60 * k}",
        f"{name}.batch_size={10 + k}",
        f"{name}.learning_rate={k}e-3",
        f"{name}.warmup=0.{9 + k}",
        f"{name}.weight_decay={k}e-2",
        f"{name}.clip_norm={k}.5",
        f"{name}.momentum=0.8{k:02}",
        f"{name}.optimizer={'sgd' if k % 2 else 'adamw'}",
        f"{name}.accumulate={1 if name == 'df' else k}",
    )
]


@pytest.fixture
def job(small_data, tmp_path):
    """Makes the job of a training under some settings."""

    def make(name, *settings):
        fixed = ["df=paper", "model=nano", "data.image_size=64", *DATA]
        loaded = configs.load("demo", [*fixed, *settings])
        pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="s")
        return pipeline.job(name)

    return make


def adamw(**changes):
    """An optimizer's fields as a stage has them; everything that differs is named."""
    fields = {
        "steps": 0,
        "learning_rate": 0.0,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "kind": "adamw",
        "momentum": 0.0,
        "eps_root": 0.0,
        "accumulate": 1,
    }
    return fields | changes


OPTIMIZERS = {
    "pi1": adamw(
        steps=60, learning_rate=0.001, warmup=0.10, weight_decay=0.01, clip_norm=1.5,
        kind="sgd", momentum=0.801, accumulate=1,
    ),
    "pi2": adamw(
        steps=120, learning_rate=0.002, warmup=0.11, weight_decay=0.02, clip_norm=2.5,
        kind="adamw", momentum=0.802, accumulate=2,
    ),
    "identity": adamw(
        steps=180, learning_rate=0.003, warmup=0.12, weight_decay=0.03, clip_norm=3.5,
        kind="sgd", momentum=0.803, accumulate=3,
    ),
    "baseline": adamw(
        steps=240, learning_rate=0.004, warmup=0.13, weight_decay=0.04, clip_norm=4.5,
        kind="adamw", momentum=0.804, accumulate=4,
    ),
    "pi3": adamw(
        steps=300, learning_rate=0.005, warmup=0.14, weight_decay=0.05, clip_norm=5.5,
        kind="sgd", momentum=0.805, accumulate=5,
    ),
    "ap": adamw(
        steps=360, learning_rate=0.006, warmup=0.15, weight_decay=0.06, clip_norm=6.5,
        kind="adamw", momentum=0.806, accumulate=6,
    ),
    "piap": adamw(
        steps=420, learning_rate=0.007, warmup=0.16, weight_decay=0.07, clip_norm=7.5,
        kind="sgd", momentum=0.807, accumulate=7,
    ),
    "disfa": adamw(
        steps=540, learning_rate=0.009, warmup=0.18, weight_decay=0.09, clip_norm=9.5,
        kind="sgd", momentum=0.809, accumulate=9,
    ),
    "lp": adamw(
        steps=600, learning_rate=0.01, warmup=0.19, weight_decay=0.1, clip_norm=10.5,
        kind="adamw", momentum=0.81, accumulate=10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_training_steps_as_its_own_section_says(job, name):
    assert dataclasses.asdict(job(name, *NUMBERS).stage.optimizer) == OPTIMIZERS[name]


@pytest.mark.parametrize("name", ["df", "piapdf"])
def test_teacher_and_student_step_alike_but_for_their_rates(job, name):
    stage = job(name, *NUMBERS, "df.student_learning_rate=0.25").stage
    teacher = adamw(
        steps=480,
        learning_rate=0.008,
        warmup=0.17,
        weight_decay=0.08,
        clip_norm=8.5,
        momentum=0.808,
    )
    assert dataclasses.asdict(stage.teacher_optimizer) == teacher
    assert dataclasses.asdict(stage.student_optimizer) == teacher | {"learning_rate": 0.25}
    stage = job(name, "df.optimizer=sgd").stage
    assert stage.teacher_optimizer.kind == stage.student_optimizer.kind == "sgd"


@pytest.mark.parametrize("name", [*OPTIMIZERS, "df", "piapdf"])
def test_batches_are_read_as_the_settings_say(job, name):
    changes = {"flip": 0.125, "rotation": 1.5, "scale": 0.25, "shift": 0.375}
    changes |= {"brightness": 0.5, "contrast": 0.625, "saturation": 0.75}
    settings = [f"data.augment.{key}={value}" for key, value in changes.items()]
    settings += ["data.image_size=48", "eval.batch_size=10", "seed=7", "pi1.seed=8"]
    made = job(name, *NUMBERS, *settings, "identity.seed=9", "pi.units=4,1,17")
    batch = {"pi1": 11, "pi2": 12, "identity": 13, "baseline": 14, "pi3": 15, "ap": 16}
    batch |= {"piap": 17, "df": 18, "piapdf": 18, "disfa": 19, "lp": 20}
    seed = {"pi1": 8, "identity": 9}.get(name, 7)
    bp4d = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    units = {"pi1": (), "identity": (), "disfa": (1, 2, 4, 6, 9, 12, 25, 26)}.get(name, bp4d)

    trained = made.reading(training=True)
    assert (trained.image_size, trained.batch_size, trained.seed) == (48, batch[name], seed)
    assert trained.augment == AugmentConfig(**changes) and trained.aus == units
    assert trained.maps == ((4, 1, 17) if name == "pi1" else ())
    assert trained.landmarks is (name == "lp")
    scored = made.reading(training=False, devices=4)
    # The next batch that divides over four devices.
    assert (scored.image_size, scored.batch_size, scored.seed) == (48, 12, seed)
    assert scored.augment is None and scored.aus == units
    assert scored.maps == ((4, 1, 17) if name in ("pi1", "pi2") else ()) and not scored.landmarks
    assert made.stream().reading == trained


def test_sizes_are_those_of_the_settings(job):
    sizes = ["data.image_size=96", "data.units=12,1,4", "pi.units=1,4", "disfa.units=25,2"]
    counts = {"pi1": (None, 2), "identity": (None, None), "disfa": (2, 2)}
    # Without L_PI there are no maps.
    counts |= dict.fromkeys(("baseline", "ap", "lp", "df"), (3, 0))
    for name in (*OPTIMIZERS, "df", "piapdf"):
        stage = job(name, *sizes, "model.encoder=b0", "model.dropout=0.7").stage
        assert stage.image_size == 96, name
        assert (stage.model.encoder, stage.model.dropout) == ("b0", 0.7), name
        aus, maps = counts.get(name, (3, 2))
        assert getattr(stage, "num_aus", None) == aus, name
        assert getattr(stage, "num_maps", None) == maps, name
    # Four people stand in the small WebFace.
    assert job("identity").stage.num_identities == 4


def test_pi_maps_are_compared_as_the_settings_say(job):
    weighted = ("pi.positive_weight=3.5", "pi.dice=0.75")
    for name in ("pi1", "pi3", "piap", "piapdf", "disfa"):
        stage = job(name, *weighted).stage
        assert (stage.positive_weight, stage.dice) == (3.5, 0.75), name
    for name in ("baseline", "ap", "lp", "df"):
        stage = job(name, *weighted).stage
        assert (stage.positive_weight, stage.dice) == (1.0, 0.0), name
    cut = {"baseline": False, "pi3": True, "ap": False, "lp": False, "piap": True, "df": False}
    cut |= {"piapdf": True, "disfa": True}
    for name, expected in cut.items():
        assert job(name, "pi.binarize=true").stage.binarize is expected, name
        assert job(name, "pi.binarize=false").stage.binarize is False, name


def test_encoder_p_is_taught_as_the_settings_say(job):
    settings = ["identity.arcface=false", "identity.margin=0.45", "identity.scale=20"]
    stage = job("identity", *settings).stage
    assert (stage.arcface, stage.margin, stage.scale) == (False, 0.45, 20.0)


def test_losses_have_the_weights_of_their_row_and_those_of_feedback_the_ones_it_goes_on_from(job):
    settings = ["baseline.au=1", "pi3.au=0.6", "pi3.pi=0.4", "ap.au=0.8", "ap.ap=0.2"]
    settings += ["lp.au=0.7", "lp.ap=0.3"]
    settings += ["piap.au=0.625", "piap.pi=0.25", "piap.ap=0.125"]
    settings += ["disfa.au=0.5", "disfa.pi=0.125", "disfa.ap=0.375"]
    expected = {
        "baseline": (1, 0, 0, None, ()),
        "pi3": (0.6, 0.4, 0, None, ("pi2",)),
        "ap": (0.8, 0, 0.2, None, ("identity",)),
        "lp": (0.7, 0, 0.3, None, ()),
        "piap": (0.625, 0.25, 0.125, None, ("pi2", "identity")),
        "df": (1, 0, 0, "baseline", ("baseline",)),
        "piapdf": (0.625, 0.25, 0.125, "piap", ("pi2", "identity", "piap")),
        "disfa": (0.5, 0.125, 0.375, "piap", ("pi2", "identity", "piap")),
    }
    for name, (au, pi, ap, start, needed) in expected.items():
        made = job(name, *settings)
        weights = made.stage.weights
        assert (weights.au, weights.pi, weights.ap) == (au, pi, ap), name
        assert (made.stage.init_from, made.depends_on) == (start, needed), name


def test_a_loss_of_no_weight_needs_no_export(job):
    settings = ["piap.au=0.75", "piap.pi=0", "piap.ap=0.25", "pi.binarize=true"]
    assert job("piap", *settings).depends_on == ("identity",)
    assert job("piapdf", *settings).depends_on == ("identity", "piap")
    assert job("piapdf", *settings).stage.binarize is False


def test_the_vector_of_lp_is_that_of_landmarks_or_of_a_network_that_finds_them(job):
    for person, needed in {"landmarks": (), "landmark_network": ("landmarks",)}.items():
        made = job("lp", f"lp.person={person}")
        assert (made.stage.person, made.depends_on) == (person, needed)
        assert made.reading(training=True).landmarks is (person == "landmarks")
    made = job("lp", "lp.person=landmark_network", "lp.au=1", "lp.ap=0")
    assert made.depends_on == () and not job("lp", "lp.au=1", "lp.ap=0").stream().reading.landmarks
    with pytest.raises(configs.ConfigError, match="lp.person=nose is not one of landmarks, land"):
        job("lp", "lp.person=nose")


def test_feedback_may_start_fresh(job):
    for name, needed in {"df": (), "piapdf": ("pi2", "identity")}.items():
        made = job(name, "df.start=fresh")
        assert (made.stage.init_from, made.depends_on) == (None, needed)
    # PIAP on DISFA is fine-tuning, whatever feedback starts from.
    assert job("disfa", "df.start=fresh").stage.init_from == "piap"
    with pytest.raises(configs.ConfigError, match="df.start=anew is not one of trained, fresh"):
        job("df", "df.start=anew")


def test_a_fresh_start_has_a_length_and_rates_of_its_own(job):
    own = ["df.fresh_steps=70", "df.fresh_learning_rate=0.5", "df.fresh_warmup=0.25"]
    own += ["df.fresh_student_learning_rate=0.125"]
    for name in ("df", "piapdf"):
        trained, plain, fresh = (job(name, *s) for s in (own, (), [*own, "df.start=fresh"]))
        assert trained.stage == plain.stage
        teacher, student = fresh.stage.teacher_optimizer, fresh.stage.student_optimizer
        assert (teacher.steps, teacher.learning_rate, teacher.warmup) == (70, 0.5, 0.25)
        assert student == dataclasses.replace(teacher, learning_rate=0.125)
        assert fresh.section.total_steps == 70 and plain.section.total_steps == 60
    demo, full = (configs.load(name).df for name in ("demo", "bp4d_fold1"))
    assert (demo.fresh_steps, demo.fresh_learning_rate, demo.fresh_warmup) == (1200, 1e-2, 0.2)
    assert (full.fresh_steps, full.fresh_learning_rate) == (30_000, 5e-4)


@pytest.mark.parametrize("key", ["steps", "learning_rate", "student_learning_rate"])
def test_a_length_or_a_rate_of_a_trained_start_is_refused_beside_a_fresh_one(job, key):
    told = f"df.{key}=1.*has no effect with df.start=fresh: use --set df.fresh_{key}=1"
    with pytest.raises(configs.ConfigError, match=told):
        job("df", "df.start=fresh", f"df.{key}=1").stage  # noqa: B018


def test_fine_tuning_comes_after_feedback_with_an_optimizer_of_its_own(job):
    settings = ["df.steps=40", "df.finetune_steps=30", "df.finetune_learning_rate=0.25"]
    settings += ["df.optimizer=sgd", "df.momentum=0.5", "df.clip_norm=2", "df.batch_size=8"]
    for name in ("df", "piapdf"):
        assert job(name).stage.finetune_optimizer is None and job(name).stream().steps == 60
        made = job(name, *settings)
        fine, teacher = made.stage.finetune_optimizer, made.stage.teacher_optimizer
        assert (fine.steps, fine.learning_rate, teacher.steps) == (30, 0.25, 40)
        assert (fine.kind, fine.momentum, fine.clip_norm) == ("sgd", 0.5, 2.0)
        assert made.section.total_steps == 70
        stream = made.stream()
        assert set(stream.frames(39)) == {"labeled", "unlabeled"}
        assert set(stream.frames(40)) == {"labeled"}
    fresh = job("df", "df.start=fresh", "df.fresh_steps=50", "df.finetune_steps=30")
    assert fresh.section.total_steps == 80 and fresh.stream().steps == 50


def test_a_labeled_frame_has_as_many_unlabeled_ones_as_the_setting_says(job):
    for ratio in (1, 3):
        names = job("df", "df.batch_size=8", f"df.unlabeled_ratio={ratio}").stream().frames(2)
        assert [len(names[part]) for part in ("labeled", "unlabeled")] == [8, 8 * ratio]
    with pytest.raises(configs.ConfigError, match="df.unlabeled_ratio=0 must be at least 1"):
        job("df", "df.unlabeled_ratio=0")


def test_a_clean_view_is_read_where_it_labels(job):
    for view in ("same", "clean"):
        made = job("piapdf", f"df.label_view={view}")
        assert made.stage.options.label_view == view
        assert made.stream().clean == (view == "clean")


def test_feedback_takes_every_option(job):
    options = {
        "variant": "continuous",
        "estimator": "jvp",
        "direction": "update",
        "labels": "matched",
        "matched_on": "labeled",
        "label_noise": 0.0625,
        "label_view": "clean",
        "confidence": 0.75,
        "teacher_term": "score",
        "positive": 0.5,
        "negative": -0.25,
        "drop_rate": 0.125,
        "drop_on": "positive",
        "feedback_weight": 2.5,
        "log_parts": False,
    }
    for name in ("df", "piapdf"):
        stage = job(name, *(f"df.{key}={value}" for key, value in options.items())).stage
        assert dataclasses.asdict(stage.options) == options


@pytest.mark.parametrize("share", [0.0, 0.375, 0.75])
def test_feedback_reads_the_shares_of_the_settings(job, share):
    settings = ["df.batch_size=8", "df.relabel_fraction=0.25", f"df.disfa_fraction={share}"]
    stream = job("df", *settings).stream()
    assert (stream.relabel_fraction, stream.reading.batch_size) == (0.25, 8)
    shares = [part for _, part in stream.pools]
    assert shares == ([share, 1.0] if share else [1.0])
    table = stream.coded.table()
    coded = {
        "/".join(map(str, row))
        for row in zip(table["subject"], table["task"], table["frame"], strict=True)
    }
    for step in range(3):
        # Two of eight are coded frames; of the six left DISFA, without tasks, has its share.
        names = stream.frames(step)["unlabeled"]
        assert len(names) == 8 and sum(name in coded for name in names) == 2
        assert sum(name.count("/") == 1 for name in names) == min(6, 8 * share)
