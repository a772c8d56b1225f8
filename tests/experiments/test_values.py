"""Every key of every configuration: settable from its own text, in its range, of its type; one line where not."""

import dataclasses
import json
from typing import Annotated, Literal

import pytest

from experiments import config as configs
from experiments.sections import TrainSection
from experiments.trainings import TRAININGS, Training, register_training
from experiments.values import coerce
from piapdf_jax import ranges
from piapdf_jax.models.layers import CONVENTIONS
from piapdf_jax.ranges import Length, Range
from piapdf_jax.stages.base import OptimizerConfig

INT32, SEED = 2**31 - 1, 2**32 - 1
#: By hand, from the paper and what the code can do: key -> what is refused below and above, and both edges.
EDGES = {
    "fold": ("0", "1", "3", "4"),
    "seed": ("-1", "0", str(SEED), str(SEED + 1)),
    "pi1.seed": ("-1", "0", str(SEED), str(SEED + 1)),
    "pi1.steps": ("0", "1", str(INT32), str(INT32 + 1)),
    "pi1.batch_size": ("0", "1", "65536", "65537"),
    "pi1.learning_rate": ("0", "1e-12", "1", "1e400"),
    "pi1.warmup": ("-0.01", "0", "1", "1.01"),
    "pi1.weight_decay": ("-1e-9", "0", "100", "101"),
    "pi1.clip_norm": ("-1", "0", "1e6", "inf"),
    "pi1.momentum": ("-0.1", "0", "0.999", "1"),
    "identity.margin": ("-0.1", "0", "1.57", "1.6"),
    "identity.scale": ("0", "1", "64", "1001"),
    "pi.positive_weight": ("0", "0.1", "1000", "1001"),
    "pi.dice": ("-1", "0", "1000", "1001"),
    "df.relabel_fraction": ("-0.1", "0", "1", "1.1"),
    "df.disfa_fraction": ("-0.25", "0", "0.9", "1.5"),  # a tenth is df.relabel_fraction's
    "df.unlabeled_fraction": ("-0.25", "0", "1", "1.5"),
    "df.judge_subjects": ("-1", "0", "9", "1e9"),
    "df.drop_rate": ("-0.05", "0", "1", "2"),
    "df.student_learning_rate": ("-1e-3", "1e-12", "1", "nan"),
    "data.labeled_frames": ("-1", "0", str(INT32), str(INT32 + 1)),
    "data.image_size": ("15", "16", "256", "257"),
    "data.workers": ("-1", "0", "1024", "1025"),
    "data.augment.flip": ("-1", "0", "1", "1.5"),
    "data.augment.rotation": ("-1", "0", "180", "181"),
    "data.augment.scale": ("-0.1", "0", "0.99", "1"),
    "data.augment.brightness": ("-0.1", "0", "1", "1.1"),
    "eval.batch_size": ("0", "1", "65536", "65537"),
    "eval.validation_subjects": ("-1", "0", "9", "1e9"),
    "eval.pointing_frames": ("0", "1", str(INT32), str(INT32 + 1)),
    "eval.validate_every": ("0", "1", str(INT32), str(INT32 + 1)),
    "run.log_every": ("0", "1", str(INT32), str(INT32 + 1)),
    "run.checkpoint_every": ("-1", "0", str(INT32), str(INT32 + 1)),
    "run.max_skipped": ("-1", "0", str(INT32), str(INT32 + 1)),
    "model.dropout": ("-0.1", "0", "0.99", "1"),
    "model.bn_momentum": ("-0.1", "0", "0.99", "1"),
    "model.pi_prior": ("0", "0.001", "0.999", "1"),
    "model.mean": ("0,0,-1", "0,0,0", "1,1,1", "0,0,2"),
    "model.std": ("1,1,0", "0.01,1,1", "1,1,1", "2,1,1"),
    "model.unet_widths": ("8,0", "1", "8192,1", "8193"),
    "data.units": ("0", "1", "26", "100"),
}
#: By hand, from docs/feedback.md, README.md and the docstrings.
WORDS = {
    "df.variant": ("discrete", "continuous", "exact", "none", "constant"),
    "df.estimator": ("grad", "jvp", "vjp", "difference"),
    "df.direction": ("gradient", "update"),
    "df.labels": ("threshold", "sample", "soft"),
    "df.teacher_term": ("full", "score"),
    "df.drop_on": ("all", "positive"),
    "df.start": ("trained", "fresh"),
    "df.compile": ("auto", "whole", "parts"),
    "piap.optimizer": ("adamw", "sgd"),
    "model.convention": ("tensorflow", "pytorch"),
    "model.compute_dtype": ("float32", "bfloat16"),
}  # fmt: skip
#: A word that means something only beside another.
# The exact gradient has labels of its own, where the demo has matched ones.
BESIDE = {"df.labels=soft": ["df.variant=none"], "df.variant=exact": ["df.labels=threshold"]}
NAMES = sorted(configs.configs())


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnSection(TrainSection):
    gamma: Annotated[float, Range(0, 10)] = 2.0
    bare: float = 1.0
    maybe: int | None = None


@pytest.fixture
def plugin(monkeypatch):
    """A training of a plugin, with a section of its own."""
    base = TRAININGS["baseline"]
    made = Training("own", "Own", "own", base.stage, base.feed, base.score,
                    settings=OwnSection(steps=3))  # fmt: skip
    monkeypatch.setitem(TRAININGS, "own", made)


def refused(setting, name="demo"):
    """What a setting is told, one line."""
    with pytest.raises(configs.ConfigError) as error:
        configs.load(name, [setting])
    told = str(error.value)
    assert "\n" not in told and told.startswith(setting.partition("=")[0]), told
    return told


def leaves(name="demo"):
    """Every key of a configuration that holds a value, with its hint."""
    config = configs.load(name)
    found = [(key, value, hint) for key, value, hint in ranges.fields(config)
             if key not in ("plugins", "given")]  # fmt: skip
    for section, values in config.plugins:
        found += ranges.fields(values, f"{section}.")
    return found


def numbers(hint):
    """The numbers inside a hint, each with its rules."""
    for base, rules in ranges.members(hint):
        if base in (int, float):
            yield base, rules
        elif getattr(base, "__origin__", None) is tuple:
            for part in dict.fromkeys(base.__args__):
                yield from numbers(part)


@pytest.mark.parametrize("key", EDGES)
def test_edges_are_taken_and_what_lies_beyond_is_refused(key):
    below, low, high, above = EDGES[key]
    for text in (below, above):
        told = refused(f"{key}={text}")
        assert told.startswith(f"{key}={text} must "), told
    for text in (low, high):
        value = configs.keys(configs.load("demo", [f"{key}={text}"]))[key]
        expected = [float(word) for word in text.split(",")]
        assert [float(x) for x in (value if isinstance(value, tuple) else (value,))] == expected


def test_every_number_has_a_range_and_refuses_what_is_none(plugin):
    seen = 0
    for key, value, hint in leaves():
        if key in ("own.bare", "own.maybe"):  # a plugin's, without a range
            continue
        for base, rules in numbers(hint):
            (span,) = [rule for rule in rules if isinstance(rule, Range)]
            seen += 1
            count = len(value) if isinstance(value, tuple) and value else 3
            many = "tuple" in str(hint)
            for number in (span.low - 1, span.high + 1 if base is int else span.high * 2 + 1):
                text = ",".join([str(number)] * count) if many else str(number)
                told = refused(f"{key}={text}")
                assert f"{key}={text[:60]}" in told and str(span) in told
            wrong = ["nan", "inf", "-inf", "1e400", "many", "9" * 5000]
            wrong += ["1.5"] if base is int else ["true"]
            for text in [*wrong, *([] if many else [""])]:
                told = refused(f"{key}={','.join([text] * count) if many else text}")
                assert str(span) in told
    assert seen > 100


def test_a_plugins_number_without_a_range_is_finite(plugin):
    assert configs.load("demo", ["own.bare=1e30"]).section("own").bare == 1e30
    assert refused("own.bare=nan") == "own.bare=nan must be a finite number"
    assert refused("own.gamma=11") == "own.gamma=11 must be at least 0 and at most 10"
    assert configs.load("demo", ["own.maybe=3"]).section("own").maybe == 3
    assert configs.load("demo", ["own.maybe=3", "own.maybe=none"]).section("own").maybe is None


def test_what_a_plugin_starts_from_is_in_its_range(plugin, monkeypatch):
    made = dataclasses.replace(TRAININGS["own"], settings=OwnSection(steps=0))
    monkeypatch.setitem(TRAININGS, "own", made)
    with pytest.raises(configs.ConfigError, match="own.steps=0 must be at least 1"):
        configs.load("demo")


def test_hints_of_a_plugin_that_cannot_be_read_are_told_where_it_registers():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Torn(TrainSection):
        gamma: "Nowhere" = 1.0  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    base = TRAININGS["baseline"]
    made = dataclasses.replace(base, name="torn", section="torn", settings=Torn(steps=3))
    with pytest.raises(ValueError, match="type hints of Torn cannot be read.*'Nowhere'"):
        register_training(made)
    assert "torn" not in TRAININGS


@pytest.mark.parametrize("key", WORDS)
def test_a_word_is_one_of_those_that_there_are(key):
    told = refused(f"{key}=nothing")
    assert told.startswith(f"{key}=nothing is not one of ")
    assert all(word in told for word in WORDS[key])
    for word in WORDS[key]:
        setting = f"{key}={word}"
        loaded = configs.load("demo", [setting, *BESIDE.get(setting, [])])
        assert configs.keys(loaded)[key] == word


def test_conventions_are_those_of_the_layers():
    for name in CONVENTIONS:
        assert configs.load("demo", [f"model.convention={name}"]).model.convention == name


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["df.labels=soft"], "df.labels=soft with df.variant=discrete: soft labels teach the"),
        (["df.estimator=difference", "df.direction=update"], "df.estimator=difference compares"),
        (["df.variant=exact", "df.labels=sample"], "df.variant=exact takes the gradient"),
        (["df.accumulate=2"], "df.accumulate must be 1"),
        (
            ["df.disfa_fraction=0.95"],
            "df.relabel_fraction=0.1, df.disfa_fraction=0.95 are shares of one batch of unlabeled frames,"
            " and more than the whole of it: they add up to 1.05, and must to at most 1",
        ),
        (
            ["df.unlabeled_dataset=own", "df.disfa_fraction=0.5"],
            "df.relabel_fraction=0.1, df.disfa_fraction=0.5, df.unlabeled_fraction=0.5 are shares",
        ),
        (["piap.accumulate=7"], "piap: 1200 steps are not a multiple of accumulate=7"),
        (["model.unet_widths="], "model.unet_widths= must hold at least 1 and at most 9 values"),
        (["model.mean=0.5,0.5"], "model.mean=0.5,0.5 must be 3 values"),
        (["data.workers=" + "9" * 5000], "data.workers=999"),
    ],
)
def test_values_that_mean_nothing_are_told_before_data_are_looked_for(settings, told):
    with pytest.raises(configs.ConfigError) as error:
        configs.load("demo", settings)
    assert str(error.value).startswith(told)


def test_shares_may_be_the_whole_of_a_batch_and_of_no_data_set_they_are_nothing():
    whole = ["df.unlabeled_dataset=own", "df.disfa_fraction=0.4", "df.unlabeled_fraction=0.5"]
    assert configs.load("demo", whole).df.unlabeled_fraction == 0.5
    assert configs.load("demo", ["df.unlabeled_fraction=1"]).df.unlabeled_dataset == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_set_by_what_print_config_shows_of_it(name):
    config = configs.load(name)
    shown = json.loads(json.dumps(configs.as_dict(config)))
    settings = []
    for key, value, _ in leaves(name):
        if key in ("fold", "seed") and getattr(config, f"{key}s"):  # both at once are refused
            continue
        told = shown
        for part in key.split("."):
            told = told[part]
        settings.append(f"{key}={told if isinstance(told, str) else json.dumps(told)}")
        # Python's own way to write it is understood as well.
        settings.append(f"{key}={value}")
    loaded = configs.load(name, settings)
    assert loaded == config and len(settings) > 200
    for key, value in configs.keys(loaded).items():
        assert type(value) is type(configs.keys(config)[key]), key


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.convention=pytorch", "pytorch"),
        ("model.convention=none", None),
        ("model.convention=null", None),
        ("model.bn_momentum=0.5", 0.5),
        ("model.bn_momentum=None", None),
        ("model.mean=0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("model.mean=(0.1, 0.2, 0.3)", (0.1, 0.2, 0.3)),
        ("model.mean=[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
        ("model.mean=none", None),
        ("model.std=1,1,1", (1.0, 1.0, 1.0)),
        ("model.unet_widths=8,16", (8, 16)),
        ('methods=["baseline", "df"]', ("baseline", "df")),
        ("pi.binarize=True", True),
        ("eval.truth=", ""),
    ],
)
def test_what_is_optional_or_many_is_settable(setting, value):
    found = configs.keys(configs.load("demo", [setting]))[setting.partition("=")[0]]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("{'a': 1}", dict[str, int], {"a": 1}),
        ("[1, 2]", list[int], [1, 2]),
        ("torn", dict[str, int], "torn"),
        ("(" * 999, dict[str, int], "(" * 999),
        ("3", int | str, 3),
        ("three", int | str, "three"),
        ("none", str | None, None),
        ("2", Literal["a", 2], 2),
        ("1,b", tuple[int, str], (1, "b")),
    ],
)
def test_text_is_read_by_the_type(text, hint, value):
    read = coerce(text, hint)
    assert read == value and type(read) is type(value)


def test_what_was_given_is_no_setting():
    plain, given = (configs.load("demo", settings) for settings in ([], ["seed=0"]))
    assert given == plain and (plain.given, given.given) == (frozenset(), {"seed"})
    assert configs.as_dict(given) == configs.as_dict(plain)
    with pytest.raises(configs.ConfigError, match="unknown key 'given'"):
        configs.load("demo", ["given=seed"])


def test_the_optimizer_of_the_core_declares_the_same_ranges():
    ours, core = ranges.hints(TrainSection), ranges.hints(OptimizerConfig)
    core["optimizer"] = core["kind"]
    for name in sorted(ours.keys() & core.keys()):
        # A batch is no matter of the optimizer.
        assert str(list(numbers(ours[name]))) == str(list(numbers(core[name]))), name


def test_lengths_are_counted():
    assert Length(1, 2).wrong(()) and not Length(1, 2).wrong((1,)) and Length(1, 2).wrong((1,) * 3)
