"""Identity of a face: the parameters of a person, and the positions of the 68 landmarks at rest.

Head coordinates: x toward the right of the picture, y toward the chin, z toward the camera; the origin lies between
the eyes and 1 is the distance between the outer eye corners of the average face.
"""

import dataclasses

import numpy as np

from piapdf_jax.pi_maps import MIRROR

JAW, BROWS, NOSE, EYES, MOUTH = (
    slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 68),
)  # fmt: skip
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)

#: The average face: landmarks on the midline and on the image-right half; the other half mirrors them.
_RIGHT_HALF = {
    8: (0, 1.27), 9: (0.19, 1.245), 10: (0.365, 1.16), 11: (0.505, 1.005), 12: (0.605, 0.815),
    13: (0.675, 0.61), 14: (0.72, 0.4), 15: (0.745, 0.19), 16: (0.755, -0.02),
    22: (0.13, -0.195), 23: (0.265, -0.25), 24: (0.415, -0.265), 25: (0.56, -0.235),
    26: (0.665, -0.15),
    27: (0, -0.02), 28: (0, 0.12), 29: (0, 0.26), 30: (0, 0.4),
    33: (0, 0.555), 34: (0.085, 0.535), 35: (0.165, 0.505),
    42: (0.205, 0.012), 43: (0.3, -0.058), 44: (0.41, -0.055), 45: (0.5, 0),
    46: (0.41, 0.045), 47: (0.305, 0.046),
    51: (0, 0.722), 52: (0.08, 0.706), 53: (0.19, 0.73), 54: (0.3, 0.778),
    55: (0.195, 0.852), 56: (0.085, 0.884), 57: (0, 0.892),
    62: (0, 0.785), 63: (0.08, 0.781), 64: (0.25, 0.78), 65: (0.08, 0.789), 66: (0, 0.793),
}  # fmt: skip
#: +1 on the image-right half, -1 on the left, 0 on the midline.
SIDE = np.zeros(68, np.float32)
SIDE[list(_RIGHT_HALF)] = [np.sign(x) for x, _ in _RIGHT_HALF.values()]
SIDE -= SIDE[MIRROR]


def both_halves(right_half: dict[int, tuple[float, float]]) -> np.ndarray:
    """Mirrors points or moves of the image-right half (x outward) to [68, 2] float32 of both halves."""
    points = np.zeros((68, 2), np.float32)
    for index, (x, y) in right_half.items():
        points[MIRROR[index]] = (-x, y)
        points[index] = (x, y)
    return points


AVERAGE = both_halves(_RIGHT_HALF)
AVERAGE.flags.writeable = False

HAIR_STYLES = ("short", "long", "fringe", "parted", "receding", "curly", "tied")


@dataclasses.dataclass(frozen=True)
class Identity:
    """One person.

    Attributes:
        seed: of what is drawn in detail: hair strands, freckles, moles.
        shape: deviations of the proportions named by ``PROPORTIONS``, in their standard deviations.
        asymmetry: seed of the small differences between the two halves.
        skin: melanin, 0 (very light) to 1 (very dark).
        flush: redness of cheeks and nose, 0..1.
        age: 0 (smooth) to 1 (folds at rest).
        freckles: density, 0..1.
        moles: number.
        hair: color, linear RGB.
        style: one of ``HAIR_STYLES``.
        brow_thickness: factor on the average.
        brow_darkness: 0..1.
        iris: color, linear RGB.
        lip_red: 0 (the skin's color) to 1 (lipstick).
        beard: 0 none, 0.3 stubble, 1 full.
        glasses: 0 none, 1 thin metal, 2 thick dark.
        vigor: factor on the strength of every action unit.
        eye_shadow: color of the upper lids, linear RGB; () unpainted.
    """

    seed: int
    shape: tuple[float, ...]
    asymmetry: int
    skin: float
    flush: float
    age: float
    freckles: float
    moles: int
    hair: tuple[float, ...]
    style: str
    brow_thickness: float
    brow_darkness: float
    iris: tuple[float, ...]
    lip_red: float
    beard: float
    glasses: int
    vigor: float
    eye_shadow: tuple[float, ...] = ()


#: Name and standard deviation of each proportion (in head units, or as a factor where it scales a part).
PROPORTIONS = {
    "face_width": 0.035, "jaw_width": 0.055, "chin": 0.045, "eye_spacing": 0.014,
    "eye_width": 0.045, "eye_height": 0.13, "eye_slant": 0.016, "brow_height": 0.022,
    "brow_slant": 0.018, "brow_arch": 0.014, "nose_length": 0.035, "nose_width": 0.11,
    "mouth_width": 0.07, "upper_lip": 0.2, "lower_lip": 0.2, "mouth_height": 0.018,
    "nose_relief": 0.13, "cheeks": 0.3, "brow_ridge": 0.3,
}  # fmt: skip

_HAIR_COLORS = (
    (0.012, 0.01, 0.009), (0.035, 0.02, 0.013), (0.085, 0.045, 0.022), (0.2, 0.11, 0.05),
    (0.45, 0.3, 0.14), (0.28, 0.08, 0.03), (0.38, 0.37, 0.36),
)  # fmt: skip
_IRIS_COLORS = ((0.05, 0.022, 0.01), (0.1, 0.055, 0.02), (0.12, 0.14, 0.07), (0.09, 0.17, 0.27))


def draw_identity(rng: np.random.Generator, sex: str | None = None) -> Identity:
    """Draws a person.

    Args:
        rng: source of randomness.
        sex: ``"F"`` or ``"M"``, which shifts hair, brows, lips and jaw; drawn when left out.

    Returns:
        The person.
    """
    male = rng.random() < 0.5 if sex is None else sex == "M"
    shape = dict(
        zip(PROPORTIONS, np.clip(rng.standard_normal(len(PROPORTIONS)), -2, 2), strict=True)
    )
    for name, shift in (("jaw_width", 0.7), ("brow_ridge", 0.6), ("upper_lip", -0.4)):
        shape[name] += shift if male else -shift
    skin = float(rng.beta(1.1, 1.3))
    age = float(rng.random() ** 1.5)
    light_hair = skin < 0.35
    hair = 6 if age > 0.75 else rng.integers(0, 6 if light_hair else 2)
    iris = rng.integers(0, 4 if light_hair else 2)
    odds = (0.42, 0.05, 0.08, 0.14, 0.16, 0.15, 0) if male else (0.1, 0.34, 0.1, 0.18, 0, 0.1, 0.18)
    beard = rng.random() if male else 1.0
    return Identity(
        seed=int(rng.integers(2**31)),
        shape=tuple(float(value) for value in shape.values()),
        asymmetry=int(rng.integers(2**31)),
        skin=skin,
        flush=float(rng.random()),
        age=age,
        freckles=float(max(0.0, rng.normal(-0.2, 0.5)) * (skin < 0.5)),
        moles=int(rng.poisson(1.2)),
        hair=tuple(float(c) for c in np.array(_HAIR_COLORS[hair]) * rng.uniform(0.75, 1.3)),
        style=str(rng.choice(HAIR_STYLES, p=odds)),
        brow_thickness=float(rng.uniform(0.85, 1.45) if male else rng.uniform(0.65, 1.1)),
        brow_darkness=float(rng.uniform(0.65, 1.0)),
        iris=tuple(float(c) for c in np.array(_IRIS_COLORS[iris]) * rng.uniform(0.8, 1.3)),
        lip_red=float(rng.uniform(0.2, 0.45) if male else rng.uniform(0.3, 0.9)),
        beard=float(rng.uniform(0.6, 1) if beard < 0.1 else 0.35 if beard < 0.35 else 0),
        glasses=int(rng.choice(3, p=(0.8, 0.12, 0.08))),
        vigor=float(rng.uniform(0.85, 1.15)),
    )


def proportions(identity: Identity) -> dict[str, float]:
    """Returns the deviations of ``identity.shape`` by name, in the units of ``PROPORTIONS``."""
    return {
        name: value * deviation
        for (name, deviation), value in zip(PROPORTIONS.items(), identity.shape, strict=True)
    }


def neutral_landmarks(identity: Identity) -> np.ndarray:
    """Computes the person's landmarks at rest.

    Args:
        identity: the person.

    Returns:
        [68, 2] float32, (x, y) in head units, in iBUG order.
    """
    p = proportions(identity)
    points = AVERAGE.copy()
    x, y = points[:, 0], points[:, 1]
    below = np.clip(y[JAW] / 1.27, 0, 1)
    x[JAW] *= 1 + p["face_width"] + p["jaw_width"] * below * (1.3 - below) * 2
    y[JAW] += p["chin"] * below**2 * 1.5
    _move_eyes(points, p)
    x[BROWS] += SIDE[BROWS] * p["eye_spacing"]
    outward = np.abs(AVERAGE[BROWS, 0]) / 0.665
    y[BROWS] -= p["brow_height"] + p["brow_slant"] * (2 * outward - 1)
    y[BROWS] -= p["brow_arch"] * np.sin(np.pi * outward)
    y[NOSE] += p["nose_length"] * np.clip(y[NOSE] / 0.55, 0, 1)
    x[31:36] *= 1 + p["nose_width"]
    _move_mouth(points, p)
    rng = np.random.default_rng(identity.asymmetry)
    tilt = rng.normal(0, 0.006, (4, 2)).astype(np.float32)
    for part, shift in zip((BROWS, EYES, NOSE, MOUTH), tilt, strict=True):
        points[part] += shift * (0.4 + 0.6 * (SIDE[part, None] > 0))
    return points


def _move_eyes(points: np.ndarray, p: dict[str, float]) -> None:
    for eye, sign in ((LEFT_EYE, -1), (RIGHT_EYE, 1)):
        center = points[eye].mean(0)
        offset = points[eye] - center
        offset *= (1 + p["eye_width"], 1 + p["eye_height"])
        offset[:, 1] -= sign * offset[:, 0] * p["eye_slant"] * 8
        points[eye] = center + offset
        points[eye, 0] += sign * p["eye_spacing"]


def _move_mouth(points: np.ndarray, p: dict[str, float]) -> None:
    mouth = points[MOUTH]
    mouth[:, 0] *= 1 + p["mouth_width"]
    line = 0.782
    upper = mouth[:, 1] < line - 0.01
    lower = mouth[:, 1] > line + 0.02
    mouth[upper, 1] = line + (mouth[upper, 1] - line) * (1 + p["upper_lip"])
    mouth[lower, 1] = line + (mouth[lower, 1] - line) * (1 + p["lower_lip"])
    mouth[:, 1] += p["nose_length"] * 0.6 + p["mouth_height"]
