"""The camera, of which Chromium plays one from a film: a drawn face that smiles and stops."""

import re
import time
from collections.abc import Iterator

import checks
import cv2
import numpy as np
import pytest
import web_pages
from browser import Browser
from drawn_people import portrait

from piapdf_jax.faces import cropping

pytestmark = pytest.mark.web
SIDE, FILM = 64, 240


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return [
        portrait(5, size=FILM, side=3.4, seed=1, strengths=strengths).image
        for strengths in ({}, {6: 1.0, 12: 1.0, 25: 1.0})
    ]


@pytest.fixture(scope="module")
def camera(faces, tmp_path_factory) -> Iterator[Browser]:
    """A browser that has a camera and lets every page use it."""
    film = tmp_path_factory.mktemp("film") / "face.y4m"
    with film.open("wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\n" % (FILM, FILM))
        for image in [faces[0]] * 5 + [faces[1]] * 5:
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes())
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with Browser(*flags, f"--use-file-for-fake-video-capture={film}") as browser:
        yield browser


def test_a_camera_moves_the_bars(written, camera, faces):
    page = web_pages.ready(camera, written.pages["uint8"])
    page.click("document.getElementById('camera')")
    web_pages.wait(
        page, "/^[0-9.]+ frames\\/s, \\d+ ms/.test(document.getElementById('rate').textContent)"
    )
    assert page.evaluate("document.getElementById('camera').textContent") == "Stop the camera"
    frames, widths = [], set()
    deadline = time.monotonic() + web_pages.PATIENCE
    expected = [cropping.shrink_crops(cv2.resize(f, (256, 256))[None], SIDE)[0] for f in faces]
    nearest = [99.0, 99.0]
    while max(nearest) > 4 or len(widths) < 2:
        assert time.monotonic() < deadline, (nearest, widths)
        seen = page.evaluate("piapdf.seen()")
        frames.append(web_pages.frame(seen, SIDE))
        apart = [np.abs(frames[-1].astype(int) - face).mean() for face in expected]
        nearest = [min(pair) for pair in zip(nearest, apart, strict=True)]
        widths.add(page.evaluate("document.querySelector('#units .fill').style.width"))
    # Both faces came by, as they are and not as a mirror shows them.
    print("mean difference of a byte to both faces of the film:", np.round(nearest, 2))
    web_pages.wait(page, "/^(Present|No unit)/.test(document.getElementById('status').textContent)")
    assert checks.quiet(page) == []


def test_it_stops(written, camera):
    page = web_pages.ready(camera, written.pages["uint8"])
    page.click("document.getElementById('camera')")
    web_pages.wait(page, "piapdf.seen() !== null")
    page.evaluate("window.track = stream.getVideoTracks()[0], 0")
    assert page.evaluate("track.readyState") == "live"
    page.click("document.getElementById('camera')")
    # What the light beside a camera shows.
    assert page.evaluate("track.readyState") == "ended"
    assert page.evaluate("document.getElementById('camera').textContent") == "Use the camera"
    before = web_pages.settled(page)
    time.sleep(1)
    assert page.evaluate("piapdf.seen()") == before
    # The picture that it ended with may still be moved.
    page.evaluate("document.querySelector('[data-key=\"+\"]').click()")
    web_pages.wait(page, f"piapdf.seen().view.scale > 1.03 * {before['view']['scale']}")
    rate = page.evaluate("document.getElementById('rate').textContent")
    assert re.fullmatch(r"\d+ ms a frame in the network", rate)


def test_what_is_shown_is_a_mirror(written, camera, faces):
    """Half of a marked face is told from the other by its brightness on the stage and in the crop."""
    page = web_pages.ready(camera, written.pages["uint8"])
    page.click("document.getElementById('camera')")
    web_pages.wait(page, "piapdf.seen() !== null")
    shown = page.evaluate(
        "(s => { const c = document.createElement('canvas'); c.width = c.height = 64;"
        "const side = s.width / 1.28, edge = (s.width - side) / 2; const x = c.getContext('2d');"
        "x.drawImage(s, edge, edge, side, side, 0, 0, 64, 64);"
        "return [...x.getImageData(0, 0, 64, 64).data]; })(document.getElementById('stage'))"
    )
    stage = np.array(shown, int).reshape(SIDE, SIDE, 4)[..., :3]
    face = cv2.resize(faces[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int)
    straight, mirrored = (np.abs(stage - other).mean() for other in (face, face[:, ::-1]))
    assert mirrored < straight
