"""Results of the study on drawn faces as a generator draws them, for tests of what reads them."""

from typing import Any

import numpy as np

from experiments.feedback_study import faces_results
from experiments.feedback_study.faces_results import COUNTS, CUTS, METRICS, MODELS, REFERENCES

ARMS = (
    ("supervised", "supervised for as long", "teacher"),
    ("student_threshold", "student of threshold labels", "student"),
    ("student_matched", "student of matched labels", "student"),
    ("student_soft", "student of soft labels", "student"),
    ("student_sample", "student of sampled labels", "student"),
    ("constant", "constant feedback", "student"),
    ("df_threshold", "DF, threshold", "student"),
    ("df_matched", "DF, matched", "student"),
    ("df_sample", "DF, sample", "student"),
    ("continuous", "continuous feedback", "student"),
    ("exact", "exact gradient", "student"),
    ("exact_judges", "exact gradient, judged apart", "student"),
    ("truth", "true labels (ceiling)", "student"),
)
COUNTED = ("supervised", "df_threshold", "df_matched")
ABLATIONS = {
    "no_drop": ("sigma always 1", "df_threshold"),
    "negative_0": ("h(z) = 0", "df_threshold"),
    "student_threshold_tuned": ("student, tuned", "student_threshold"),
    "df_threshold_tuned": ("DF, tuned", "df_threshold"),
}


ABOUT = {
    "versions": {"python": "3", "jax": "0"},
    "machine": "a machine",
    "seconds": 1.0,
    "settings": {},
}


def random_results(
    seed: int = 0, *, worlds=None, people: int = 6, units: int = 12
) -> faces_results.Results:
    """Draws results; worlds are (labeled people, pool, percent wrong, seeds), by default all 36."""
    rng = np.random.default_rng(seed)
    worlds = worlds or [
        (n, pool, wrong, 6 if n != 10 and wrong in (5, 20) else 4)
        for n in (5, 10, 20)
        for pool in (0, 20, 100)
        for wrong in (0, 5, 10, 20)
    ]
    told = [dict(zip(("people", "pool", "wrong", "seeds"), w, strict=True)) for w in worlds]
    keys = {faces_results.world_key(*w[:3]): w[3] for w in worlds}
    names = [name for name, _, _ in ARMS]

    def draw(seeds: int) -> np.ndarray:
        return rng.normal(60, 2, seeds).astype(np.float32)

    def by_model(seeds: int) -> dict[str, Any]:
        return {model: draw(seeds) for model in MODELS}

    ablated = {key: keys[key] for key in list(keys)[:2]}
    cells = [w for w in keys if w in ("20_0_5", "20_20_5", "20_0_20", "20_20_20")] or list(keys)[:1]
    return faces_results.Results(
        worlds=told,
        arms=[{"name": n, "title": t, "model": m} for n, t, m in ARMS],
        scores={m: {w: {a: by_model(s) for a in names} for w, s in keys.items()} for m in METRICS},
        references={
            m: {w: {r: draw(s) for r in REFERENCES} for w, s in keys.items()} for m in METRICS
        },
        chosen={n: {"learning_rate": 0.05, "weight": 0.0, "edge": n == "exact"} for n in names},
        ablations={
            w: {a: {m: {k: draw(s) for k in METRICS} for m in MODELS} for a in ABLATIONS}
            for w, s in ablated.items()
        },
        ablation_titles=dict(ABLATIONS),
        counts={w: counted(rng, (keys[w], people, units)) for w in cells},
        mechanism=mechanism(rng),
        about=dict(ABOUT),
    )


def counted(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Draws counts by arm, cut and name."""
    return {a: {c: {n: rng.integers(0, 9, shape) for n in COUNTS} for c in CUTS} for a in COUNTED}


def mechanism(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draws how often the gate opens, and what it prefers."""
    return [
        {"judges": j, "start": s, "labels": x, "opens": rng.random(), "batches": 640}
        | {"prefers": None if x == "teacher" else rng.random()}
        for j in ("training", "others")
        for s in (60, 300, 1500)
        for x in ("teacher", "half", "truth")
    ]
