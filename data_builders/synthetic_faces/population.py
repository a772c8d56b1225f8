"""Population of each data set: its people, the expressions of their faces, and the published labels.

Everything is a pure function of the config and of (subject, task, frame): a generator is seeded by a hash of
words, so neither the order of drawing nor the number of processes matters.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from data_builders.synthetic_faces.anatomy import Identity, draw_identity
from piapdf_jax import folds
from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS, DISFA_POSITIVE_INTENSITY, UNKNOWN

AU_KINDS, IDENTITY_KINDS = ("bp4d", "disfa", "afew_va"), ("webface", "lfw")
FRAMES = 12  # of a BP4D sequence; the first and last two are uncoded
CODED = range(2, 10)
DISFA_FRAMES, AFEW_FRAMES, AFEW_ACTORS = 20, 10, 48
_BLOCKS = 10
#: People beside BP4D's 41, of either sex in about the same shares, drawn by the same rules.
NEW_PEOPLE = tuple([f"F{k}" for k in range(101, 157)] + [f"M{k}" for k in range(101, 145)])
IDENTITIES = {"webface": (80, 12), "lfw": (60, 6)}  # people, pictures of each

#: Share of frames that show each AU: BP4D's published base rates (ME-GraphAU's lists, whole set).
BP4D_RATES = {
    1: 0.211, 2: 0.171, 4: 0.203, 6: 0.461, 7: 0.549, 10: 0.594, 12: 0.562, 14: 0.466, 15: 0.169, 17: 0.343,
    23: 0.165, 24: 0.151,
}  # fmt: skip
#: DISFA's, at intensity 2 and above; at least a tenth, so that a few hundred frames hold some of each.
DISFA_RATES = {1: 0.1, 2: 0.1, 4: 0.152, 6: 0.1, 9: 0.1, 12: 0.129, 25: 0.277, 26: 0.1}

#: What the tasks call forth: happy, sad, startle, embarrassment, fear, pain, anger, disgust.
_TASK_EFFECTS = np.array((
    (-.3, -.3, -.8, 1., .6, .7, 1.2, .5, -.8, -.6, -.5, -.7),
    (.6, 0., .7, -.6, -.2, -.5, -.9, -.2, .9, .8, .2, .4),
    (1., 1.1, -.3, -.2, -.4, -.1, .1, -.5, -.4, -.5, -.4, -.6),
    (-.1, 0., -.5, .5, .1, .4, .8, .6, .1, .1, .2, .2),
    (.8, .5, .6, -.3, .1, -.2, -.2, -.4, 0., -.3, -.1, -.3),
    (-.2, -.5, .7, .6, .8, .6, 0., .1, -.1, .2, .2, .1),
    (-.4, -.3, .7, -.5, .1, -.6, -.8, -.1, .2, .5, .7, .8),
    (-.5, -.5, .4, .3, .6, .8, .2, 0., .3, .5, .1, .1),
))  # fmt: skip
_TASK_WEIGHT, _SEQUENCE, _WAVE = 0.75, 0.75, 0.75
_PERSON = 0.25  # how much people differ even without habits
_OTHER_AUS = (9, 25, 26)  # drawn as well, but not among BP4D's labels


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the two switches of the method, and the size of a data set, say.

    Attributes:
        kind: one of ``AU_KINDS`` or ``IDENTITY_KINDS``.
        wrong_labels: share of published cells that are flipped.
        unknown: share of published cells that nobody coded.
        habits: whether people have their own: some AUs at rest, or more or less often than others.
    """

    kind: str
    wrong_labels: float = 0.04
    unknown: float = 0.01
    habits: bool = True


@dataclasses.dataclass(frozen=True)
class Clip:
    """One subject in one task.

    Attributes:
        subject, task: ids.
        frames: [N] frame numbers.
        coded: [N] bool.
        strengths: [N] of {AU: 0..1}.
        clean: {AU: [N] int8}, true labels (0/1, for DISFA intensities 0..5).
        published: {AU: [N] int8}, as a coder wrote them down (-1 unknown).
    """

    subject: str
    task: str
    frames: np.ndarray
    coded: np.ndarray
    strengths: list[dict[int, float]]
    clean: dict[int, np.ndarray]
    published: dict[int, np.ndarray]


def generator(*words: object) -> np.random.Generator:
    """Returns a generator seeded by the hash of words."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def subjects(kind: str) -> tuple[str, ...]:
    """Returns ids of the people of a data set, in order."""
    if kind == "bp4d":
        return folds.BP4D_SUBJECTS
    if kind == "disfa":
        return folds.DISFA_SUBJECTS
    if kind == "afew_va":
        return tuple(f"actor{k:03d}" for k in range(AFEW_ACTORS))
    count = IDENTITIES[kind][0]
    if kind == "lfw":
        return _names(count)
    return tuple(f"{17 + 37 * k:07d}" for k in range(count))


def _names(count: int) -> tuple[str, ...]:
    """Given and family names of nobody."""
    rng = generator("names")
    first, second = "bdfghklmnprstv", ("a", "e", "i", "o", "an", "el", "in", "or")
    parts = [letter + rest for letter in first for rest in second]
    names: dict[str, None] = {}
    while len(names) < count:
        words = ["".join(rng.choice(parts, size)).capitalize() for size in rng.integers(2, 4, 2)]
        names["_".join(words)] = None
    return tuple(names)


@functools.lru_cache(maxsize=512)
def person(kind: str, subject: str) -> Identity:
    """Draws the face of a subject; no two data sets share one."""
    sex = subject[0] if kind == "bp4d" else None
    return draw_identity(generator("person", kind, subject), sex)


def tasks(kind: str) -> tuple[str, ...]:
    """Returns task ids of a data set with action units; one empty id where it has none."""
    return folds.BP4D_TASKS if kind == "bp4d" else ("",)


def label_units(kind: str) -> tuple[int, ...]:
    """Returns the action units that the labels of a kind are about."""
    return DISFA_AUS if kind == "disfa" else BP4D_AUS


def _length(kind: str) -> int:
    return {"bp4d": FRAMES, "disfa": DISFA_FRAMES, "afew_va": AFEW_FRAMES}[kind]


@functools.lru_cache(maxsize=512)
def habits(kind: str, subject: str) -> np.ndarray:
    """Draws how much more than others a subject shows each AU; in standard deviations of what frames differ by."""
    rng = generator("habits", kind, subject)
    count = len(label_units(kind))
    often = rng.choice((0.0, 0.9, -0.8), count, p=(0.5, 0.25, 0.25))
    at_rest = np.where(rng.random(count) < 0.09, 2.2, 0.0)
    return np.where(at_rest > 0, at_rest, often)


@functools.lru_cache(maxsize=2048)
def _drive(rules: Rules, subject: str, task: str) -> np.ndarray:
    """[frames, AUs], how strongly each AU is called for; above the AU's threshold it shows."""
    kind, aus = rules.kind, label_units(rules.kind)
    rng = generator("drive", kind, subject, task)
    level = _PERSON * generator("level", kind, subject).standard_normal(len(aus))
    if rules.habits:
        level = level + habits(kind, subject)
    if kind == "bp4d":
        level = level + _TASK_WEIGHT * _TASK_EFFECTS[folds.BP4D_TASKS.index(task)]
    # Muscles of the same movement go together.
    own = rng.standard_normal(len(aus))
    smile, brow, press = rng.standard_normal(3)
    shared = {6: smile, 12: smile, 10: 0.7 * smile, 1: brow, 2: brow, 23: press, 24: 0.6 * press}
    own += 0.8 * np.array([shared.get(au, 0.0) for au in aus])
    time = np.linspace(0, 1, _length(kind))[:, None]
    phase, pace = rng.uniform(0, 2 * np.pi, len(aus)), rng.uniform(0.4, 1.3, len(aus))
    wave = np.sin(2 * np.pi * pace * time + phase) * np.sqrt(2)
    return level + _SEQUENCE * own + _WAVE * wave * rng.uniform(0.5, 1.4, len(aus))


@functools.lru_cache(maxsize=16)
def _thresholds(rules: Rules) -> np.ndarray:
    """The drive above which each AU shows, so that the whole population meets the base rates."""
    rates = DISFA_RATES if rules.kind == "disfa" else BP4D_RATES
    kind = rules.kind
    drive = np.concatenate([_drive(rules, s, t) for s in subjects(kind) for t in tasks(kind)])
    return np.array(
        [np.quantile(drive[:, k], 1 - rates[au]) for k, au in enumerate(label_units(kind))]
    )


def sequence(rules: Rules, subject: str, task: str) -> Clip:
    """Draws what one subject does in one task, and what is published about it.

    Args:
        rules: of the data set.
        subject: id.
        task: id, "" where there are none.

    Returns:
        The sequence.
    """
    kind, aus, length = rules.kind, label_units(rules.kind), _length(rules.kind)
    excess = _drive(rules, subject, task) - _thresholds(rules)
    # A weak trace just below the threshold; full strength well above it.
    strength = np.where(excess > 0, 0.45 + 0.4 * excess, 0.35 * np.exp(-((excess / 0.12) ** 2)))
    strength = np.clip(strength, 0, 1)
    present = (excess > 0).astype(np.int8)
    if kind == "disfa":
        grade = np.digitize(excess, (-0.25, -0.1, 0.0, 0.45, 0.9, 1.3))
        present = np.clip(grade - 1, 0, 5).astype(np.int8)
    others = _others(kind, subject, task, aus, strength)
    strengths = [
        dict(zip(aus, map(float, row), strict=True)) | other
        for row, other in zip(strength, others, strict=True)
    ]
    start = int(generator("start", kind, subject, task).integers(1, 400)) if kind == "bp4d" else 0
    frames = start + np.arange(length)
    coded = np.isin(np.arange(length), CODED) if kind == "bp4d" else np.ones(length, bool)
    if kind == "afew_va":
        return Clip(subject, task, frames, coded, strengths, {}, {})
    clean = {au: present[:, k] for k, au in enumerate(aus)}
    published = _publish(rules, subject, task, frames, clean)
    return Clip(subject, task, frames, coded, strengths, clean, published)


def _others(kind, subject, task, aus, strength) -> list[dict[int, float]]:
    """Movements nobody codes: the nose wrinkles, lips part, the jaw drops; smoothly over the frames."""
    rng = generator("others", kind, subject, task)
    time = np.linspace(0, 1, len(strength))
    found = []
    for au, odds in zip(_OTHER_AUS, (0.08, 0.35, 0.12), strict=True):
        wave = np.sin(2 * np.pi * (rng.uniform(0.3, 1) * time + rng.random()))
        peak = rng.uniform(0.3, 0.9) * (rng.random() < odds)
        found.append(np.clip(peak * (0.6 + 0.6 * wave), 0, 1) * (au not in aus))
    if 24 in aus:  # pressed lips stay shut
        shut = 1 - np.minimum(
            1, 2 * np.maximum(strength[:, aus.index(24)], strength[:, aus.index(23)])
        )
        found[1], found[2] = found[1] * shut, found[2] * shut
    rows = np.stack(found, 1)
    return [{au: float(v) for au, v in zip(_OTHER_AUS, row, strict=True) if v > 0} for row in rows]


def _publish(rules: Rules, subject, task, frames, clean) -> dict[int, np.ndarray]:
    """Labels as published: some wrong, some unknown; each cell's fate hangs on its frame alone."""
    published = {}
    for au, values in clean.items():
        written = values.copy()
        for k, frame in enumerate(frames):
            rng = generator("label", rules.kind, subject, task, int(frame), au)
            wrong, unknown, other = rng.random(3)
            if wrong < rules.wrong_labels:
                written[k] = _wrong(rules.kind, int(values[k]), other)
            if unknown < rules.unknown:
                written[k] = UNKNOWN
        published[au] = written
    return published


def _wrong(kind: str, value: int, draw: float) -> int:
    if kind != "disfa":
        return 1 - value
    high = range(DISFA_POSITIVE_INTENSITY, 6) if value < DISFA_POSITIVE_INTENSITY else range(2)
    return high[int(draw * len(high))]


def loose_expression(rng: np.random.Generator) -> dict[int, float]:
    """Draws what a face does in a picture that was taken for its owner's sake."""
    strengths: dict[int, float] = {}
    if rng.random() < 0.5:
        smile = float(rng.uniform(0.3, 1))
        strengths |= {
            12: smile,
            6: smile * float(rng.random()),
            25: float(rng.random() < 0.5) * smile,
        }
    for au in rng.choice((1, 2, 4, 7, 10, 14, 15, 17, 24, 26), rng.integers(0, 3), replace=False):
        strengths[int(au)] = float(rng.uniform(0.2, 0.9))
    return strengths


def pairs(people: Sequence[str] | None = None, *, size: int = 30) -> list[tuple]:
    """Draws pairs for verification, LFW's protocol: blocks that share no person, half of each the same person.

    Args:
        people: names, None for all of ``lfw``; every six of them make a block, at most ten.
        size: same-person pairs of a block, and different-person pairs.

    Returns:
        Rows (name, number, name, number, 1 if the same person, block); numbers from 1. Empty below two people.
    """
    people = subjects("lfw") if people is None else people
    blocks = min(_BLOCKS, max(1, len(people) * _BLOCKS // IDENTITIES["lfw"][0]))
    share = len(people) // blocks
    rows: list[tuple] = []
    for block in range(blocks if len(people) > 1 else 0):
        rng = generator("lfw pairs", block)
        group = people[block * share : (block + 1) * share]
        shots = [(name, k) for name in group for k in range(1, IDENTITIES["lfw"][1] + 1)]
        couples = [(a, b) for i, a in enumerate(shots) for b in shots[i + 1 :]]
        for same in (1, 0):
            fitting = [(a, b) for a, b in couples if (a[0] == b[0]) == bool(same)]
            for k in rng.choice(len(fitting), size, replace=False):
                rows.append((*fitting[k][0], *fitting[k][1], same, block))
    return rows
