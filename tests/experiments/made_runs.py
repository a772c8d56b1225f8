"""Runs as the pipeline leaves them, without a training: frames are said by made-up methods of known strength."""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from experiments import au_scores, config, frame_table
from experiments.process import config_json
from experiments.trainings import TRAININGS, au_methods, ordered
from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS
from piapdf_jax.runtime.digests import digest_of

#: By how much a unit that is there moves a method's logits; teachers are 0.2 below their students.
STRENGTH = {
    "baseline": 0.9, "pi2": 1.2, "pi3": 1.6, "ap": 1.3, "lp": 1.2, "df": 1.1, "piap": 1.8, "longer": 1.9,
    "piapdf": 2.1, "disfa": 1.5,
}  # fmt: skip
ALL = au_methods()
DEPENDS = {
    "pi2": ("pi1",), "pi3": ("pi2",), "ap": ("identity",), "df": ("baseline",), "piap": ("pi2", "identity"),
    "longer": ("pi2", "identity", "piap"), "piapdf": ("pi2", "identity", "piap"), "disfa": ("pi2", "identity", "piap"),
}  # fmt: skip
TASKS = tuple(f"T{number}" for number in range(1, 9))
#: What a page or a table must not take for its own language.
NASTY = ("<script>alert('x')</script>", '=1+1" onload="x', "a & b_c% $d$", "@sum\\{e}")
STAND_INS = {"data.dataset": "synthetic_faces/bp4d for bp4d"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd:
    """What is wrong with one fold and seed of the runs.

    Attributes:
        stale: trainings whose stale exports were taken.
        sources: trainings that were made from other sources, so with another digest.
        versions: values of ``versions.json``.
        other_data: trainings that are scored on other frames and people, with another digest of the data.
        dataset: another name of the data set that is scored.
        no_truth: trainings scored without true labels.
        no_frames: trainings without their table of frames.
        unscored: methods that this run has not trained.
    """

    stale: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    other_data: tuple[str, ...] = ()
    dataset: str = ""
    no_truth: tuple[str, ...] = ()
    no_frames: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()


def make_runs(
    folder,
    *,
    name="made",
    folds=(1, 2, 3),
    seeds=(0, 1),
    methods=ALL,
    people=5,
    frames=24,
    settings=(),
    without=(),
    odd=None,
    stand_ins=None,
    nasty=False,
):
    """Writes runs, and returns their folders by (fold, seed).

    Args:
        folder: RUNS.
        name: of the runs.
        folds, seeds: that there are.
        methods: that each run scores.
        people: of the test part of each fold.
        frames: of each of them, over eight tasks.
        settings: of the configuration, as ``--set`` takes them.
        without: (fold, seed) that are not run.
        odd: by (fold, seed), what is wrong with it.
        stand_ins: as ``results.json`` tells them.
        nasty: people, tasks and a setting have names that are HTML, formulas or LaTeX.
    """
    made = {}
    for seed in seeds:
        for fold in folds:
            if (fold, seed) not in without:
                path = pathlib.Path(folder) / name / f"fold{fold}_seed{seed}"
                wrong = (odd or {}).get((fold, seed), Odd())
                loaded = _config(fold, seed, tuple(methods), settings)
                _Run(path, fold, seed, loaded, people, frames, nasty, wrong).write(stand_ins or {})
                made[fold, seed] = path
    return made


def _config(fold, seed, methods, settings):
    fixed = [
        "df=paper",
        "model=tiny",
        "data.dataset=bp4d",
        "pi1.dataset=afew_va",
        "disfa.dataset=disfa",
    ]
    fixed += ["identity.dataset=casia_webface", "identity.pairs=lfw_pairs"]
    loaded = config.load("demo", [*fixed, *settings])
    return dataclasses.replace(
        loaded, name=f"bp4d_fold{fold}", fold=fold, seed=seed, methods=methods
    )


@dataclasses.dataclass
class _Run:
    folder: pathlib.Path
    fold: int
    seed: int
    config: config.ExperimentConfig
    people: int
    frames: int
    nasty: bool
    odd: Odd

    def write(self, stand_ins):
        versions = {"python": "3.11.7", "jax": "0.10.2", "devices": "cpu"} | self.odd.versions
        methods = [m for m in self.config.methods if m not in self.odd.unscored]
        results = {
            "config": self.config.name,
            "versions": versions,
            "truth": NASTY[0] if self.nasty else "",
            "rows": methods,
            "trainings": {n: self._training(n) for n in ordered(tuple(methods))},
            "stand_ins": {k: NASTY[0] for k in STAND_INS} if self.nasty else stand_ins,
            "stale": {n: {"digest": self.digest(n), "sources": ["piapdf_jax.losses"], "rows": [n]}
                      for n in self.odd.stale},
            "seconds": 12.5,
        }  # fmt: skip
        self._json("config.json", json.loads(config_json(self.config)))
        self._json("versions.json", versions)
        self._json("results.json", results)

    def _json(self, name, value):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")

    def fingerprint(self, name):
        shared = name in ("pi1", "identity")
        dataset = {"pi1": "afew_va", "identity": "casia_webface", "disfa": "disfa"}.get(
            name, "bp4d"
        )
        section = self.config.section(TRAININGS[name].section)
        changed = name in (*self.odd.sources, *self.odd.stale)
        return {
            "training": name,
            "seed": 0 if shared else self.seed,
            "settings": {
                "stage": {"class": "PIAPStage"},
                "steps": section.total_steps,
                "batch_size": section.batch_size,
            },
            "data": [[dataset, "train" if shared else f"fold{self.fold}", "6a9bdebfafcd3295", 1.0]],
            "takes": {other: self.digest(other) for other in DEPENDS.get(name, ())},
            "numerics": {"enable_x64": False},
            "sources": {"piapdf_jax.losses": "changed" if changed else "0fba0594bc2deab8"},
        }

    def digest(self, name):
        return digest_of(self.fingerprint(name))

    def _training(self, name):
        fingerprint, digest = self.fingerprint(name), self.digest(name)
        info = {
            "training": name,
            "digest": digest,
            "parts": ["encoder", "head"],
            "consumed": fingerprint["takes"],
            "report": self._report(name),
            "data": [f"{row[0]}[{row[1]}]" for row in fingerprint["data"]],
            "weights": "none",
            "fingerprint": fingerprint,
        }
        self._json(f"{name}/{digest}/fingerprint.json", fingerprint)
        self._json(f"{name}/{digest}/export.json", info)
        losses = [0.2 + 0.5 * np.exp(-step / 60) for step in range(0, 201, 20)]
        lines = [
            {"step": 20 * k, "loss": loss, "seconds": float(k)} for k, loss in enumerate(losses)
        ]
        path = self.folder / name / digest / "metrics.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return info | {"scores": self._scores(name, digest)}

    @staticmethod
    def _report(name):
        seconds = 20.0 + 5 * list(("pi1", "identity", *ALL)).index(name)
        return {"steps": 200, "loss_start": 0.7, "loss_end": 0.22, "seconds": seconds, "skipped": 0,
                "images_per_second": 255.7, "peak_memory_gib": 2.5, "first_step_seconds": 5.0}  # fmt: skip

    def _scores(self, name, digest):
        maps = {"iou": 0.61, "iou_per_map": {str(au): 0.6 for au in BP4D_AUS}}
        if name == "pi1":
            return maps
        if name == "identity":
            return {"verification": 0.93, "deviation": 0.02, "pairs": 600}
        values = self._said(name)
        rates = {"rates": values["base_rates"], "cuts": values["cuts"]}
        scores = {"aus": list(values["aus"]), "frames": len(values["frame"]), "parameters": 12_345}
        for key, labels in (("published", values["coded"]), ("true", values["true"])):
            if labels is not None:
                told, _ = au_scores.against(
                    labels, values["probs"], values["subject"], values["aus"], **rates
                )
                scores[key] = told
        if values["teacher_probs"] is not None:
            told, _ = au_scores.against(
                values["coded"], values["teacher_probs"], values["subject"], values["aus"], **rates
            )
            scores["teacher"] = {"published": told}
        scores["identity_probe"] = None
        if (right := values["probe_correct"]) is not None:
            accuracy = float((right[right >= 0] == 1).mean())
            scores["identity_probe"] = {"accuracy": accuracy, "chance": values["probe_chance"]}
        if name == "pi2":
            scores |= maps | {"maps_moved": {"mean_abs": 0.01, "max_abs": 0.2}}
        if name not in self.odd.no_frames:
            table = frame_table.FrameTable(
                training=name,
                digest=digest,
                fold=self.fold,
                seed=self.seed,
                **values,
            )
            frame_table.write(self.folder / name / digest / frame_table.FILE_NAME, table)
        return scores

    def _said(self, name):
        disfa, other = name == "disfa", name in self.odd.other_data
        faces = _faces(self.fold + 10 * other, disfa, self.people, self.frames, self.nasty)
        aus = DISFA_AUS if disfa else BP4D_AUS
        # Methods and seeds see the same faces, and have mistakes of their own.
        rng = np.random.default_rng([self.fold, self.seed, *name.encode()])
        true, ease = faces["true"], faces["ease"]
        sign = 2 * true.astype(np.float64) - 1
        logits = STRENGTH[name] * sign + ease + rng.normal(0, 0.7, true.shape)
        teacher = logits - 0.2 * sign + rng.normal(0, 0.3, true.shape)
        dataset = self.odd.dataset or ("disfa" if disfa else "bp4d")
        known = name not in self.odd.no_truth
        values = {
            "dataset": dataset,
            "data": digest_of([dataset, self.fold, other, known]),
            "aus": aus,
            **{key: faces[key] for key in ("subject", "task", "frame", "coded")},
            "true": true if known else None,
            "probs": _probabilities(logits),
            "teacher_probs": _probabilities(teacher) if name in ("df", "piapdf") else None,
            "base_rates": faces["rates"],
            "cuts": np.linspace(0.35, 0.65, len(aus)),
        }
        right = None
        if not disfa:
            fitted = np.isin(faces["task"], faces["task"][:4])
            right = np.where(fitted, -1, rng.random(len(fitted)) < 0.5).astype(np.int8)
        chance = float("nan") if disfa else 1 / self.people
        return values | {"probe_correct": right, "probe_chance": chance}


def _probabilities(logits):
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


@functools.cache
def _faces(fold, disfa, people, frames, nasty):
    """Test frames of a fold: people who show units more or less often, and are more or less easy."""
    rng = np.random.default_rng([fold, disfa])
    aus = DISFA_AUS if disfa else BP4D_AUS
    names = [f"{'SN' if disfa else 'F'}{100 * fold + number:03d}" for number in range(people)]
    tasks = [""] * len(TASKS) if disfa else list(TASKS)
    if nasty:
        names[: len(NASTY)] = [f"{text} {fold}" for text in NASTY][:people]
        tasks = [
            f"{text} {task}" if task else "" for text, task in zip(NASTY * 2, tasks, strict=True)
        ]
    who = np.repeat(np.arange(people), frames)
    rates = np.linspace(0.12, 0.6, len(aus))
    own = rng.beta(4 * rates, 4 * (1 - rates), (people, len(aus)))
    true = (rng.random((people * frames, len(aus))) < own[who]).astype(np.int8)
    coded = np.where(rng.random(true.shape) < 0.03, 1 - true, true)
    coded = np.where(rng.random(true.shape) < (0 if disfa else 0.01), -1, coded)
    count = np.tile(np.arange(frames), people)
    return {
        "subject": np.array(names)[who],
        "task": np.array(tasks)[count % len(tasks)],
        "frame": count.astype(np.int64) + 1,
        "true": true,
        "coded": coded.astype(np.int8),
        "ease": rng.normal(0, 0.8, (people, len(aus)))[who],
        "rates": rates,
    }
