"""Folds and seeds in one command: what trains how often, what is checked first, what is said and summed up."""

import json
import logging
import statistics
import types

import pytest
from nano_runs import NANO

from experiments import config as configs
from experiments import fitting, repeats
from experiments.config import ConfigError
from experiments.process import config_json
from experiments.trainings import METHODS, TRAININGS
from piapdf_jax.data.source import MissingDataset

SHORT = [*NANO, "data.workers=0", "methods=baseline,pi2,ap"]
STAGES = ("pi1", "identity", "baseline")
PAIRS = [(0, 2), (0, 1), (1, 2), (1, 1)]


def start(data, runs, *settings, stages=STAGES):
    loaded = configs.load("demo", [*SHORT, *settings])
    return repeats.run(
        loaded, data_dir=str(data), runs_dir=str(runs), name=loaded.name, stages=stages
    )


@pytest.fixture(scope="module")
def trained():
    """Names of trainings that have gone to their end; a number of them after which the next is killed."""
    told = types.SimpleNamespace(names=[], killed_at=None)
    fit = fitting.loop.fit

    def counted(*args, name, **kwargs):
        if len(told.names) == told.killed_at:
            raise KeyboardInterrupt
        fitted = fit(*args, name=name, **kwargs)
        told.names.append(name)
        return fitted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting.loop, "fit", counted)
        yield told


@pytest.fixture(scope="module")
def four(small_data, trained, tmp_path_factory):
    """Two folds and two seeds, killed in the second fold and started again; what was trained, said, printed."""
    import contextlib
    import io

    runs, out, lines = tmp_path_factory.mktemp("runs"), io.StringIO(), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("piapdf")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    trained.names, trained.killed_at = [], 3
    try:
        with pytest.raises(KeyboardInterrupt):
            start(small_data, runs, "folds=2,1", "seeds=0,1")
        before, trained.killed_at = list(trained.names), None
        lines.clear()
        with contextlib.redirect_stdout(out):
            results = start(small_data, runs, "folds=2,1", "seeds=0,1")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        trained.killed_at = None
    told = dict(runs=runs, results=results, out=out.getvalue(), lines=lines, before=before)
    return types.SimpleNamespace(**told, names=list(trained.names))


def test_what_folds_and_seeds_share_is_trained_once_also_when_killed_between(four):
    assert four.before == ["pi1", "identity", "baseline"]
    assert four.names == [*four.before, "baseline", "baseline", "baseline"]
    digests = {}
    for told in four.results:
        for name, training in told["trainings"].items():
            digests.setdefault(name, set()).add(training["digest"])
    assert {name: len(found) for name, found in digests.items()} == {
        "pi1": 1,
        "identity": 1,
        "baseline": 4,
    }


def test_runs_of_one_command_are_told_apart_by_fold_and_seed_alone(four):
    found = []
    for seed, fold in PAIRS:
        folder = four.runs / "demo" / f"fold{fold}_seed{seed}"
        assert (folder / "results.json").is_file()
        told = json.loads((folder / "config.json").read_text())
        assert (told.pop("fold"), told.pop("seed")) == (fold, seed)
        found.append(told)
    alone = json.loads(config_json(configs.load("demo", SHORT)))
    for key in ("fold", "seed", "folds", "seeds"):
        del alone[key]
    assert all(told == alone for told in found)


def test_lines_say_run_fold_seed_method_and_time_left_of_all(four):
    heads = [line for line in four.lines if line.startswith("run ")]
    assert heads == [
        f"run {number} of 4: fold {fold}, seed {seed}"
        for number, (seed, fold) in enumerate(PAIRS, start=1)
    ]
    steps = [line for line in four.lines if ": step " in line]
    # Of the second command, in which nothing was measured before its first training.
    assert steps[0] == "fold 1, seed 0, Baseline: step 0/4, compiling"
    last = [line for line in steps if line.startswith("fold 1, seed 1, Baseline: step 4/4")]
    assert len(last) == 1 and last[0].endswith(" s left of the whole command")
    assert [line for line in four.lines if line.endswith("left of the whole command")][
        -1
    ].startswith("0 s")


def test_one_table_sums_up_what_the_files_say(four):
    scores = {}
    for seed, fold in PAIRS:
        path = four.runs / "demo" / f"fold{fold}_seed{seed}" / "results.json"
        told = json.loads(path.read_text())["trainings"]["baseline"]["scores"]
        for against in ("published", "true"):
            scores.setdefault((against, fold), []).append(told[against]["mean_f1"])
    for against in ("published", "true"):
        by_fold = [statistics.mean(scores[against, fold]) for fold in (2, 1)]
        # The folds of a seed lie side by side.
        seeds = [
            statistics.mean(pair)
            for pair in zip(scores[against, 2], scores[against, 1], strict=True)
        ]
        wanted = (*by_fold, statistics.mean(by_fold), statistics.stdev(seeds))
        wanted = [f"{value:.1f}" for value in wanted]
        (part,) = [text for text in four.out.split("demo: ") if f"{against} labels" in text]
        assert part.startswith("mean F1 (%) on unseen people, mean of seeds 0, 1")
        lines = part.splitlines()
        heading = ["method", "fold", "2", "fold", "1", "mean", "sd", "over", "seeds", "ROC", "AUC"]
        assert heading in [line.split() for line in lines]
        assert ["Baseline", *wanted] in [line.split()[:-1] for line in lines]
    assert four.out.count("Baseline") == 2  # no table of each run
    report = four.runs / "demo" / "report"
    assert f"-m experiments.tables {four.runs / 'demo'} --out={report}" in four.out
    assert "stand-ins: " in four.out


def test_a_mistake_of_a_later_fold_is_told_before_the_first_trains(four, small_data, trained):
    trained.names = []
    df = ("methods=df", "df.steps=2", "df.disfa_fraction=0")
    with pytest.raises(ConfigError, match="'baseline' with digest .* has no export"):
        start(small_data, four.runs, *df, "folds=1,3", stages=("df",))
    assert trained.names == []
    assert not list((four.runs / "demo").glob("fold*/df"))


def test_all_methods_without_disfa_end_in_one_line_before_training(small_data, trained, tmp_path):
    trained.names = []
    with pytest.raises(MissingDataset, match="disfa") as told:
        settings = ("methods=all", "disfa.dataset=disfa", "df.disfa_fraction=0", "folds=1,2")
        start(small_data, tmp_path, *settings, stages=())
    assert "\n" not in str(told.value) and trained.names == []


def test_one_fold_and_seed_is_a_run_as_ever(small_data, four, trained, capsys, caplog):
    trained.names = []
    with caplog.at_level(logging.INFO, logger="piapdf"):
        start(small_data, four.runs, "fold=2", "seed=1")
    assert trained.names == []
    said = [record.getMessage() for record in caplog.records]
    assert not any("whole command" in line or line.startswith(("run ", "fold ")) for line in said)
    printed = capsys.readouterr().out
    assert "demo: F1 (%) per AU" in printed and "experiments.tables" not in printed


def test_seeds_stand_outside_folds_and_one_of_each_is_the_configurations():
    config = configs.load("bp4d", ["model.pretrained=none", "seeds=5,3"])
    told = [(single.seed, single.fold) for single in repeats.singles(config)]
    assert told == [(5, 1), (5, 2), (5, 3), (3, 1), (3, 2), (3, 3)]
    (single,) = repeats.singles(configs.load("demo", ["seed=4"]))
    assert (single.fold, single.seed, single.folds, single.seeds) == (1, 4, (), ())


@pytest.mark.parametrize(
    "name, settings, told",
    [
        ("demo", ["folds=1,1"], "folds=1,1 names a fold twice"),
        ("demo", ["seeds=0,2,0"], "seeds=0,2,0 names a seed twice"),
        ("demo", ["folds=1,4"], "folds"),
        ("demo", ["folds=one"], "folds"),
        ("demo", ["seeds=-1"], "seeds"),
        ("demo", ["fold=1", "folds=2,3"], "give --set folds=2,3 alone"),
        ("bp4d", ["seeds=1,2", "seed=1"], "give --set seeds=1,2 alone"),
        ("demo", ["methods=all,piap"], "unknown method 'all'"),
    ],
)
def test_mistakes_say_what_to_type(name, settings, told):
    with pytest.raises(ConfigError, match=told):
        configs.load(name, settings)


def test_a_fold_that_is_set_stands_for_the_folds_of_a_configuration():
    for name in ("bp4d", "disfa"):
        config = configs.load(name)
        assert (config.name, config.folds) == (name, (1, 2, 3))
        one = configs.load(name, ["fold=2"])
        assert [single.fold for single in repeats.singles(one)] == [2]
    emptied = configs.load("bp4d", ["folds=", "fold=3"])
    assert [single.fold for single in repeats.singles(emptied)] == [3]
    several = configs.load("bp4d_fold2", ["folds=3,1"])
    assert [single.fold for single in repeats.singles(several)] == [3, 1]


def test_all_methods_are_those_of_the_list_and_of_plugins(monkeypatch):
    monkeypatch.setitem(METHODS, "own", ("baseline", "own"))
    monkeypatch.setitem(TRAININGS, "own", TRAININGS["baseline"])
    for name in ("demo", "bp4d", "disfa"):
        found = configs.load(name, ["methods=all"]).methods
        assert found[:3] == ("baseline", "pi2", "pi3") and found[-1] == "own"
        # Landmark regression, which tells no action units, has no row.
        assert set(found) == {*METHODS} - {"landmarks"} and "lp" in found


def waiting(runs, *named):
    """A run of trainings with a digest each, of so many steps of 10 images in 2 batches."""
    section = {
        name: types.SimpleNamespace(total_steps=n, batch_size=10, accumulate=2)
        for name, _, n in named
    }
    return types.SimpleNamespace(
        wanted=[name for name, _, _ in named],
        digest={name: digest for name, digest, _ in named}.__getitem__,
        job=lambda name: types.SimpleNamespace(section=section[name]),
        runs=runs,
    )


def test_time_left_is_measured_seconds_by_images_to_read(tmp_path, monkeypatch):
    there = {("identity", "e")}
    monkeypatch.setattr(
        repeats.exports, "find_export", lambda runs, name, digest: (name, digest) in there or None
    )
    timing = repeats.Timing()
    for seed in "01":
        named = [("pi1", "p", 100), ("identity", "e", 900), ("baseline", f"b{seed}", 300)]
        timing.expect(waiting(tmp_path, *named))
    assert timing.left("p", 5.0) is None  # two baselines, of which nothing is known
    timing.done("p", 20.0)  # 2,000 images: 0.01 s each
    assert timing.left("", None) == pytest.approx(2 * 60)
    assert timing.left("b0", 45.0) == pytest.approx(45 + 60)
    assert timing.left("b0", None) is None
    timing.done("b0", 12.0)  # 6,000 images: 0.002 s each, and so its like
    timing.done("e", 1000.0)  # was there: says nothing of time
    assert timing.left("", None) == pytest.approx(12)
    timing.done("b1", 12.0)
    assert timing.left("", None) == 0 and timing.left("", 3.0) == 3


def scored(fold, seed, rows):
    told = {m: {"scores": {"published": {"mean_f1": value}}} for m, value in rows.items()}
    run = types.SimpleNamespace(fold=fold, seed=seed)
    return run, {"rows": list(rows), "trainings": told}


def test_a_mean_is_of_all_folds_or_none():
    made = [
        scored(1, 0, {"baseline": 40.0, "piap": 50.0}),
        scored(1, 1, {"baseline": 50.0, "piap": 52.0}),
        scored(2, 0, {"baseline": 61.0}),
        scored(2, 1, {"baseline": 69.0, "piap": 10.0}),
    ]
    found = repeats.summary([run for run, _ in made], [told for _, told in made], "published")
    assert found == {
        "baseline": {1: 45.0, 2: 65.0, None: 55.0},
        "piap": {1: 51.0, 2: None, None: None},
    }
    assert repeats.summary([run for run, _ in made], [told for _, told in made], "true") == {}


def test_the_spread_is_that_of_means_over_folds():
    """By hand: seeds of 50, 52 and 57, whose deviation is sqrt((9 + 1 + 16) / 2)."""
    made = [
        scored(fold, seed, {"piap": mean + 5 * (2 * fold - 3)})
        for seed, mean in enumerate((50.0, 52.0, 57.0))
        for fold in (1, 2)
    ]
    runs, results = [list(part) for part in zip(*made, strict=True)]
    assert repeats.spread(runs, results, "published", "piap") == pytest.approx(13**0.5)
    assert repeats.spread(runs[:2], results[:2], "published", "piap") is None
    del results[3]["trainings"]["piap"]
    assert repeats.spread(runs, results, "published", "piap") is None
