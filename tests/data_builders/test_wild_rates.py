"""How often strangers do what, and how often cameras do what: docs/drawn.md and the drawing say the same.

Bounds are p -/+ 3.5 sqrt(p (1 - p) / n), by hand, for n independent frames; what is drawn right lies
outside once in 2,000 times.
"""

import pathlib
import re

import numpy as np
import pytest

from data_builders.synthetic_faces.population import generator
from data_builders.synthetic_faces.wild import behavior, circumstances
from piapdf_jax.action_units import BP4D_AUS

PAGE = pathlib.Path(__file__).parents[2] / "docs/drawn.md"
TALK = {16, 18, 20, 22, 25, 26}
LINES = {
    "second light": "a second light",
    "low resolution": "recorded with 52 to 139 pixels a side in place of 256",
    "smear": "smeared by motion",
    "gray": "gray",
    "occluder": "an ellipse before the face",
    "JPEG": "compressed as JPEG",
}


def stated(line: str) -> float:
    """The percentage behind the row of a table of the page that begins so."""
    (found,) = re.findall(
        rf"^\| {re.escape(line)}.*\| ([\d.]+) % \|$", PAGE.read_text(encoding="utf-8"), re.M
    )
    return float(found)


@pytest.fixture(scope="module")
def frames():
    """What everybody does in all 12,960 frames, the coded ones marked."""
    clips = [behavior.clip(name, s) for name in behavior.subjects() for s in behavior.SESSIONS]
    assert sum(len(clip.frames) for clip in clips) == 12_960
    return [pair for clip in clips for pair in zip(clip.strengths, clip.coded, strict=True)]


@pytest.fixture(scope="module")
def recordings():
    """Scene and camera of 4,320 frames, those of the first session."""
    return [
        circumstances.draw(generator("scene", behavior.KIND, name, "S1", k))
        for name in behavior.subjects()
        for k in range(12)
    ]


def test_eyes_shut_and_wide_and_faces_that_do_nothing(frames):
    done = [strengths for strengths, _ in frames]
    assert stated("eyes shut") == 6 and stated("eyes wide") == 5
    assert stated("none of them") == 10 and stated("talking") == 30
    # 0.06, n = 12,960: 0.0073 either way.
    assert 0.0527 < np.mean([43 in s for s in done]) < 0.0673
    # Beside those 5 %: 52 % show units together, of which 4 in 42 have AU 5 by 0.3 and 2 in 42 by 0.6; so 0.0297
    # of all, less one in twenty: 0.0782, 0.0083 either way.
    assert 0.0699 < np.mean([5 in s for s in done]) < 0.0865
    # None of the twelve, no talk to be seen (1 - 0.3 x 0.946), eyes neither shut nor wide (0.94 x 0.95): 0.0640,
    # 0.0075 either way.
    assert 0.0565 < np.mean([not s for s in done]) < 0.0715


def test_three_of_ten_faces_talk(frames):
    silent = [s.keys() for s, _ in frames if not s.keys() & set(BP4D_AUS)]
    assert len(silent) == pytest.approx(1296, abs=120)
    # 0.3 x (1 - 0.3 x 0.5 x 0.8 x 0.75 x 0.75 x 0.8) = 0.2838; of 1,261 frames 0.0444 either way.
    assert 0.239 < np.mean([bool(keys & TALK) for keys in silent]) < 0.329
    # Each by its own odds in those who talk, 0.7 and 0.5 over 0.946, n = 360: 0.081 and 0.092 either way.
    talking = [keys for keys in silent if keys & TALK]
    assert 0.659 < np.mean([25 in keys for keys in talking]) < 0.821
    assert 0.436 < np.mean([26 in keys for keys in talking]) < 0.621


def test_the_page_counts_units_as_they_come_out(frames):
    text = PAGE.read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| % of coded frames \|(.*)\|$", text, re.M)
    shares = [float(cell) for cell in row.split("|")]
    coded = [[s[au] for au in BP4D_AUS if au in s] for s, is_coded in frames if is_coded]
    assert len(coded) == 10_800
    shown = np.minimum([sum(value >= 0.2 for value in values) for values in coded], 5)
    np.testing.assert_allclose(np.bincount(shown) / 108, shares, atol=0.051)
    (traces,) = re.findall(r"drawn in these frames, ([\d.]+) % are traces", text)
    drawn = np.concatenate(coded)
    assert 100 * np.mean(drawn < 0.2) == pytest.approx(float(traces), abs=0.051)


def test_the_same_unit_drawn_again_counts_once():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    (told,) = re.findall(r"so that ([\d, and]+) % of these frames have one to five", text)
    # Two to five of 22 entries, of which the twelve units have 1, 1, 3, 2, 3, 1, 1, 2, 1, 3, 2 and 2: the chance
    # that all draws are of one unit is a quarter of 48/22^2 + 118/22^3 + 312/22^4 + 862/22^5, so 0.0279.
    rng = np.random.default_rng(0)
    count = np.bincount([len(behavior._beside(rng, 2, 6)) for _ in range(10_000)]) / 10_000
    assert 0.0221 < count[1] < 0.0337
    found = [int(share) for share in re.findall(r"\d+", told)]
    np.testing.assert_allclose(100 * count[1:], found, atol=2.2)


def test_cameras_do_what_the_page_says(recordings):
    happened = {
        "second light": [bool(camera.second) for _, camera in recordings],
        "low resolution": [camera.side < 256 for _, camera in recordings],
        "smear": [camera.motion[0] > 0 for _, camera in recordings],
        "gray": [camera.saturation == 0 for _, camera in recordings],
        "occluder": [bool(camera.occluder) for _, camera in recordings],
        "JPEG": [camera.quality < 100 for _, camera in recordings],
    }
    # n = 4,320.
    bounds = {30: (0.276, 0.324), 12: (0.103, 0.137), 60: (0.574, 0.626)}
    for what, seen in happened.items():
        low, high = bounds[int(stated(LINES[what]))]
        assert low < np.mean(seen) < high, what
    sides = [camera.side for _, camera in recordings if camera.side < 256]
    assert (min(sides), max(sides)) == (52, 139)
    for _, camera in recordings:
        if camera.occluder:  # near the rim: beyond 0.36 of the crop's side from its middle
            x, y, *radii = camera.occluder[:4]
            assert 0.36 <= np.hypot(x - 0.5, y - 0.5) <= 0.5
            assert max(radii) <= 0.22


def test_irises_wander_as_far_as_the_page_says(recordings):
    assert "irises off by 0.03 of a head unit across and 0.014 along" in PAGE.read_text(
        encoding="utf-8"
    )
    across, along = np.abs([scene.gaze for scene, _ in recordings]).T
    # Of a normal distribution 0.3173 lie beyond one standard deviation and 0.0455 beyond two.
    assert 0.2925 < np.mean(across > 0.03) < 0.3421 and 0.2925 < np.mean(along > 0.014) < 0.3421
    assert 0.0344 < np.mean(across > 0.06) < 0.0566 and 0.0344 < np.mean(along > 0.028) < 0.0566
