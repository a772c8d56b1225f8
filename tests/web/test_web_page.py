"""The page as somebody uses it: files, keys, fingers, a phone. It asks for nothing, and what it is told stays text."""

import functools
import http.server
import re
import threading

import checks
import cv2
import numpy as np
import pytest
import web_pages
from browser import Browser, Page
from drawn_people import portrait

from piapdf_jax import drawn_detector
from piapdf_jax.export.detector_file import read_light
from piapdf_jax.model_json import Data, License

pytestmark = pytest.mark.web
NASTY = (
    "</script><script>window.ran = 1</script><b onclick='window.ran = 2'>b</b>"
    "<img src=x onerror='window.ran = 3'><!-- {{wasm}} & \\u003c \u2028 ']]>"
)


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "face.png"
    image = portrait(7, size=480, side=4.2, seed=3, strengths={6: 1.0, 12: 1.0}).image
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def opened(browser, written, face, **size):
    page = web_pages.ready(browser, written.pages["uint8"], **size)
    web_pages.give(page, face)
    web_pages.settled(page)
    return page


def test_the_bars_say_what_the_network_says(written, browser: Browser, face):
    page = opened(browser, written, face)
    said = page.evaluate("piapdf.seen().probabilities")
    rows = page.evaluate("[...document.querySelectorAll('#units li')].map(e => e.innerText)")
    names = ["inner brow raiser", "cheek raiser", "lip corner puller"]
    cuts = written.light.model.cuts
    fills = page.evaluate(
        "[...document.querySelectorAll('#units .bar')].map(bar => [bar.querySelector('.fill').getBoundingClientRect()"
        ".width / bar.getBoundingClientRect().width, bar.querySelector('.cut')?.style.left ?? null])"
    )
    for row, au, name, p, (fill, mark) in zip(rows, cuts, names, said, fills, strict=True):
        word = "no cut" if cuts[au] is None else "present" if p >= cuts[au] else "absent"
        assert re.sub(r"\s+", " ", row).strip() == f"AU{au} {name} {word} {p:.2f}"
        assert fill == pytest.approx(p, abs=0.01)
        assert mark == (None if cuts[au] is None else f"{100 * cuts[au]:g}%")
    present = [n for n, au, p in zip(names, cuts, said, strict=True) if p >= (cuts[au] or 2)]
    words = f"Present: {', '.join(present)}." if present else "No unit reaches its cut."
    assert web_pages.status(page) == words
    assert re.fullmatch(
        r"\d+ ms a frame in the network",
        page.evaluate("document.getElementById('rate').textContent"),
    )
    assert checks.quiet(page) == []


def test_it_says_what_it_learned_from(written, browser: Browser):
    page = web_pages.ready(browser, written.pages["uint8"])
    text = re.sub(r"\s+", " ", page.evaluate("document.body.textContent"))
    for words in (
        "PIAP (training piap, export 0123456789abcdef, weights float32): 8 labeled frames",
        "piapsynthetic_faces/bp4d 1.0.0part1+part228read",
        "AU6 (cheek raiser) has no cut: no training frame shows it",
        "data set synthetic_faces \u2013 drawn, free of terms",
        "no picture leaves it",
        "Permission is hereby granted, free of charge",
        "onnxruntime-web@1.30.0",
    ):
        assert words in text


def test_weak_units_are_marked_in_their_row_and_named_below(written, browser: Browser, tmp_path):
    path, model = tmp_path / "weak.html", written.light.model._replace(weak_units=(12,))
    web_pages.write(path, written.light, model=model)
    for place, weak in ((path, ["AU12"]), (written.pages["uint8"], [])):
        page = web_pages.ready(browser, place)
        marked = page.evaluate(
            "[...document.querySelectorAll('#units .weak')].map(e => e.parentNode.querySelector('b').innerText)"
        )
        assert marked == weak
        notes = page.evaluate("document.getElementById('notes').textContent")
        assert ("Weak, to be read with care: AU12." in notes) == bool(weak)


def test_the_detector_of_the_package_has_a_page_that_names_its_weak_units(browser, tmp_path):
    path = tmp_path / "drawn.html"
    web_pages.write(path, read_light(drawn_detector.FOLDER), dtype="float16")
    page = web_pages.ready(browser, path)
    notes = page.evaluate("document.getElementById('notes').textContent")
    assert "Weak, to be read with care: AU14, AU17." in notes
    terms = page.evaluate("document.getElementById('licenses').textContent")
    assert "weights of this detector \u2013 Apache-2.0" in terms


def test_the_policy_allows_its_own_script_and_worker_alone(written, browser: Browser):
    page = web_pages.ready(browser, written.pages["uint8"])
    policy = page.evaluate("document.querySelector('meta[http-equiv]').content")
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    digest = "'sha256-[A-Za-z0-9+/]{43}='"
    assert re.fullmatch(digest, allowed.pop("style-src"))
    assert re.fullmatch(f"{digest} 'wasm-unsafe-eval'", allowed.pop("script-src"))
    assert allowed.pop("worker-src") == "blob:"
    assert allowed == dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")


@functools.cache
def server():
    """A server on this machine, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{made.server_port}", asked


def send_all(page: Page, address: str) -> None:
    """Tries to send something from the page and from a worker, in every way that scripts have."""
    page.evaluate(
        f"""(async () => {{
        const send = to => fetch(to, {{mode: "no-cors"}}).catch(() => 0);
        const code = `const send = ${{send}}; Promise.all([send("{address}/worker"),
          new Promise(r => {{ try {{ importScripts("{address}/import"); }} catch {{}} r(); }})])
          .then(() => postMessage(0))`;
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        await Promise.all([send("{address}/fetch"), new Promise(r => {{ worker.onmessage = r; }}),
          new Promise(r => {{ const i = new Image(); i.onload = i.onerror = r; i.src = "{address}/image"; }}),
          new Promise(r => {{ const s = document.createElement("script"); s.onload = s.onerror = r;
            s.src = "{address}/script"; document.head.append(s); }})]);
        navigator.sendBeacon("{address}/beacon", "x");
        const frame = document.createElement("iframe"); frame.src = "{address}/frame"; document.body.append(frame);
        await new Promise(r => setTimeout(r, 500));
        }})()"""
    )


def test_nothing_could_be_sent_whatever_got_in(written, browser: Browser, tmp_path):
    address, asked = server()
    page = web_pages.ready(browser, written.pages["uint8"])
    send_all(page, address)
    assert asked == []
    blocked = [text for _, text in page.console if "Content Security Policy" in text]
    assert len(blocked) >= 5
    # Without the policy all of it gets through: the test can fail.
    text, count = re.subn(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", written.pages["uint8"].read_text()
    )
    assert count == 1
    (tmp_path / "open.html").write_text(text)
    page = web_pages.ready(browser, tmp_path / "open.html")
    send_all(page, address)
    assert {"/fetch", "/worker", "/import", "/image", "/script"} <= set(asked)
    assert {request.rpartition("/")[2] for request in page.requests} >= {"fetch", "worker", "image"}


def test_what_the_model_says_stays_text(written, browser: Browser, face, tmp_path):
    tame = written.light.model
    nasty = tame._replace(
        title=NASTY,
        training=NASTY,
        data=(Data(NASTY, NASTY, NASTY, NASTY, 28, True),),
        no_cut={6: NASTY},
        stand_ins={NASTY: NASTY},
        licences=(License(NASTY, NASTY, NASTY),),
    )
    web_pages.write(tmp_path / "nasty.html", written.light, model=nasty)
    named = web_pages.ready(browser, tmp_path / "nasty.html")
    web_pages.give(named, face)
    web_pages.settled(named)
    assert named.evaluate("window.ran === undefined")
    assert checks.harmless(named) == [] and checks.quiet(named) == []
    assert named.evaluate("document.body.textContent").count(NASTY) == 12
    counted = "document.querySelectorAll('*').length"
    assert (
        named.evaluate(counted) == opened(browser, written, face).evaluate(counted) + 1
    )  # a stand-in


def test_a_file_that_is_no_picture(written, browser: Browser, face, tmp_path):
    page = opened(browser, written, face)
    (tmp_path / "text.png").write_text("no picture")
    web_pages.give(page, tmp_path / "text.png")
    web_pages.wait(
        page,
        "document.getElementById('status').textContent.startsWith('text.png is not a picture')",
    )
    assert page.evaluate("document.getElementById('status').classList.contains('bad')")
    web_pages.give(page, face)
    web_pages.wait(page, "/^(Present|No unit)/.test(document.getElementById('status').textContent)")
    assert not page.evaluate("document.getElementById('status').classList.contains('bad')")


def test_no_camera_is_said(written, browser: Browser):
    page = web_pages.ready(browser, written.pages["uint8"])
    page.click("document.getElementById('camera')")
    web_pages.wait(
        page, "document.getElementById('status').textContent.startsWith('There is no camera: ')"
    )
    assert page.evaluate("document.getElementById('camera').textContent") == "Use the camera"


def test_the_keyboard_reaches_and_moves_everything(written, browser: Browser, face):
    page = opened(browser, written, face)
    page.evaluate("document.activeElement.blur()")
    order = []
    for _ in range(12):
        page.press("Tab")
        order.append(
            page.evaluate(
                "(e => e.id || e.dataset.key || e.tagName + ' ' + e.className)(document.activeElement)"
            )
        )
    wanted = ["open", "camera", "stage", "+", "-", ",", ".", "0"]
    assert order[:11] == [*wanted, "DIV scroll", "SUMMARY ", "SUMMARY "]
    assert page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, .scroll')].every(e =>"
        " e.getAttribute('aria-label') || e.textContent.trim())"
    )
    page.evaluate("document.getElementById('stage').focus()")
    before = page.evaluate("piapdf.seen().view")
    page.press("ArrowRight")
    page.press("ArrowDown")
    after = web_pages.settled(page)["view"]
    moved = 4 / before["scale"]
    assert after["x"] == pytest.approx(before["x"] - moved)
    assert after["y"] == pytest.approx(before["y"] - moved)
    page.evaluate("document.querySelector('[data-key=\"+\"]').focus()")
    page.press("Enter")
    page.press("Space")
    larger = web_pages.settled(page)["view"]
    assert larger["scale"] == pytest.approx(1.04**2 * before["scale"])


def test_the_mouse_drags_and_the_wheel_enlarges(written, browser: Browser, face):
    page = opened(browser, written, face)
    before = page.evaluate("piapdf.seen().view")
    left, top, side = page.evaluate(
        "(b => [b.x, b.y, b.width])(document.getElementById('stage').getBoundingClientRect())"
    )
    x, y = left + side / 2, top + side / 2
    for kind, dx in (("mousePressed", 0), ("mouseMoved", 20), ("mouseReleased", 20)):
        page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + dx,
            y=y,
            button="left",
            buttons=1,
            clickCount=1,
        )
    moved = web_pages.settled(page)["view"]
    shown = side / (256 * 1.28)  # CSS pixels of a pixel of the crop
    assert moved["x"] == pytest.approx(before["x"] - 20 / shown / before["scale"])
    assert moved["y"] == pytest.approx(before["y"])
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-100)
    web_pages.wait(page, f"piapdf.seen().view.scale > 1.1 * {before['scale']}")


def test_two_fingers_enlarge_and_turn(written, browser: Browser, face):
    page = opened(browser, written, face, width=360, height=780, phone=True)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    before = page.evaluate("piapdf.seen().view")
    x, y, side = page.evaluate(
        "(b => [b.x + b.width / 2, b.y + b.height / 2, b.width])"
        "(document.getElementById('stage').getBoundingClientRect())"
    )

    def touch(kind, *points):
        touched = [{"x": x + dx, "y": y + dy, "id": k} for k, (dx, dy) in enumerate(points)]
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=touched)

    touch("touchStart", (-40, 0), (40, 0))
    touch("touchMove", (-60, -30), (60, 30))
    touch("touchEnd")
    after = web_pages.settled(page)["view"]
    assert after["scale"] / before["scale"] == pytest.approx(np.hypot(60, 30) / 40, rel=0.02)
    assert after["angle"] == pytest.approx(np.arctan2(30, 60), abs=0.02)
    assert after["x"] == pytest.approx(before["x"], abs=side / 100)
    # Both move down by 20 CSS pixels, and so does the picture: not by the sum of what two fingers moved.
    touch("touchStart", (-40, 0), (40, 0))
    touch("touchMove", (-40, 20), (40, 20))
    touch("touchEnd")
    lower = web_pages.settled(page)["view"]
    apart = np.hypot(lower["x"] - after["x"], lower["y"] - after["y"]) * after["scale"]
    assert apart == pytest.approx(20 * 256 * 1.28 / side, rel=0.1)


@pytest.mark.parametrize(("width", "height"), [(360, 780), (1280, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_touched(written, browser: Browser, face, width, height, scheme):
    page = Page(browser, written.pages["uint8"])
    page.color_scheme(scheme)
    page.load(width=width, height=height, phone=width < 500)
    web_pages.give(page, face)
    web_pages.settled(page)
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    texts = checks.ask(page, "texts()")
    assert len(texts) > 30
    assert checks.narrow(page, texts, width) == [] and checks.legible(texts) == []
    sizes = page.evaluate(
        "[...document.querySelectorAll('button, summary')].map(e => e.getBoundingClientRect())"
        ".map(b => Math.min(b.width, b.height))"
    )
    assert len(sizes) == 9 and min(sizes) >= 44
    lightness = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    )
    assert lightness > 3 * 230 if scheme == "light" else lightness < 3 * 60
