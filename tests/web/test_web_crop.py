"""The crop that the page makes is the one that training makes, and the marks lie where faces of training lie."""

import cv2
import numpy as np
import pytest
import web_pages
from browser import Browser
from drawn_people import portrait

from piapdf_jax import faces
from piapdf_jax.export import detector_file
from piapdf_jax.faces import cropping

pytestmark = pytest.mark.web
SIDE = 64


def picture(path, image):
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def matrix(view):
    """[2, 3] of a view, in complex numbers: a similarity is a multiplication."""
    turn = view["scale"] * np.exp(1j * view["angle"])
    shift = 127.5 * (1 + 1j) - turn * (view["x"] + 1j * view["y"])
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def wanted(image, view):
    """Averages with OpenCV to nearly the size, as it says itself where its pixels come from, then cuts out."""
    moved, scale = matrix(view), view["scale"]
    if scale < 0.75:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        back = np.array(
            [[1 / scale, 0, 0.5 / scale - 0.5], [0, 1 / scale, 0.5 / scale - 0.5], [0, 0, 1]]
        )
        moved = moved @ back
    crop = cv2.warpAffine(
        image, moved, (256, 256), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def packaged(image, view):
    """What the package makes of a picture by the same view: [64, 64, 3]."""
    crop = cropping.cut_out(image, matrix(view), 256)
    return cropping.shrink_crops(crop[None], SIDE)[0]


def differences(found, expected):
    apart = np.abs(found.astype(int) - expected)
    return apart.mean(), apart.max()


def test_a_crop_of_training_goes_through_to_the_byte(written, browser: Browser, tmp_path):
    drawn = portrait(1, size=480, seed=3, strengths={12: 1.0})
    crop, _ = faces.crop(drawn.image, drawn.landmarks)
    page = web_pages.ready(browser, written.pages["uint8"])
    web_pages.give(page, picture(tmp_path / "crop.png", crop))
    seen = web_pages.settled(page)
    frame = web_pages.frame(seen, SIDE)
    np.testing.assert_array_equal(frame, cropping.shrink_crops(crop[None], SIDE)[0])
    said = detector_file.golden_probabilities(written.light, frame[None])[0]
    np.testing.assert_allclose(seen["probabilities"], said, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(480, 480), (320, 368), (90, 120)])
def test_moved_pictures_are_cut_as_the_package_cuts_them(written, browser, tmp_path, size):
    drawn = portrait(2, size=480, seed=4)
    image = cv2.resize(drawn.image, size[::-1], interpolation=cv2.INTER_AREA)
    page = web_pages.ready(browser, written.pages["uint8"])
    web_pages.give(page, picture(tmp_path / "moved.png", image))
    first = web_pages.settled(page)
    expected = {
        "x": (size[1] - 1) / 2,
        "y": (size[0] - 1) / 2,
        "scale": 256 / min(size),
        "angle": 0,
    }
    assert first["view"] == pytest.approx(expected)
    found = [differences(web_pages.frame(first, SIDE), wanted(image, first["view"]))]
    # Smaller than the crop, so that the edge is repeated around it, and turned.
    for key, times in (("-", 6), (".", 4)):
        for _ in range(times):
            page.evaluate(f"document.querySelector('[data-key=\"{key}\"]').click()")
    then = web_pages.settled(page)
    assert then["view"]["scale"] == pytest.approx(first["view"]["scale"] / 1.04**6)
    assert then["view"]["angle"] == pytest.approx(0.12)
    found.append(differences(web_pages.frame(then, SIDE), wanted(image, then["view"])))
    print(size, "mean and largest difference of a byte:", found)
    # OpenCV rounds places to a 32nd of a pixel, and bytes between its two steps.
    assert all(mean < 0.2 and largest <= 3 for mean, largest in found)
    # Where the sides of the averaged picture would not be whole, the package takes its pixels for a little larger
    # or smaller than they are.
    for seen in (first, then):
        mean, _ = differences(web_pages.frame(seen, SIDE), packaged(image, seen["view"]))
        print(size, "to the package:", mean)
        assert mean < 0.6
    assert differences(web_pages.frame(first, SIDE), web_pages.frame(then, SIDE))[0] > 5


def test_the_marks_lie_where_faces_of_training_lie(written, browser: Browser):
    people = [
        portrait(who, size=480, seed=who, strengths={12: 1.0 * (who % 2)}) for who in range(8)
    ]
    points = np.stack([faces.crop(p.image, p.landmarks)[1] for p in people])
    guides = web_pages.ready(browser, written.pages["uint8"]).evaluate("piapdf.guides()")
    eyes = np.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1)
    np.testing.assert_allclose(guides["eyes"], eyes.mean(0), atol=4)
    np.testing.assert_allclose(guides["mouth"], points[:, [48, 54]].mean(0), atol=4)
    oval = guides["oval"]
    half = np.array([oval["width"], oval["height"]])
    # From ear to ear, and down to the chin: there the outline of the mean face runs along the oval.
    outline = (points[:, :17].mean(0) - oval["middle"]) / half
    radii = np.hypot(*outline.T)
    print("outline of the mean face in radii of the oval:", radii.round(2))
    assert abs(radii[[0, 8, 16]] - 1).max() < 0.06 and radii.min() > 0.85 and radii.max() < 1.06
    # All of it is within the crop, the brows within the oval.
    assert (np.array(oval["middle"]) - half > 0).all()
    assert (np.array(oval["middle"]) + half < 255).all()
    brows = (points[:, 17:27].reshape(-1, 2) - oval["middle"]) / half
    assert np.hypot(*brows.T).max() < 1.1
