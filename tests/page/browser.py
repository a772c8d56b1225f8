"""A page in headless Chromium, used with mouse and keyboard, and how it looks.

As a program it makes a picture of a page or of one section:

    python tests/page/browser.py PAGE OUT.jpg --width=1280 --section=ID
"""

import argparse
import base64
import json
import os
import pathlib
import sys

from piapdf_jax.export import chromium
from piapdf_jax.export.chromium import Browser, BrowserError

#: Name of a key -> what it types, and its code on Windows, by which the protocol goes.
_KEYS = {
    **{"Enter": ("\r", 13), "Space": (" ", 32), "Tab": ("", 9)},
    **{"ArrowRight": ("", 39), "ArrowDown": ("", 40)},
}


class Page(chromium.Page):
    """A page that is clicked on, typed into and looked at."""

    def click(self, element: str) -> None:
        """Clicks, as a mouse does, at the middle of the element that a JavaScript expression gives."""
        x, y = self.evaluate(
            f"(() => {{ const e = {element};"
            "e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for event in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=event, **mouse)

    def press(self, key: str) -> None:
        """Presses a key of ``_KEYS`` wherever the focus is."""
        text, code = _KEYS[key]
        press = {"key": text if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **press)
        self.call("Input.dispatchKeyEvent", type="keyUp", **press)

    def picture(
        self,
        path: str | os.PathLike[str],
        section: str | None = None,
        *,
        quality: int = 85,
        margin: int = 0,
    ) -> None:
        """Writes a PNG or a JPEG of the whole page, or of the element with an id and a margin around it."""
        element = "document.documentElement"
        if section is not None:
            element = f"document.getElementById({json.dumps(section)})"
            if self.evaluate(f"{element} === null"):
                raise BrowserError(f"{self.address} has no element with the id {section}")
        box = self.evaluate(
            f"(() => {{ const b = {element}.getBoundingClientRect(); return {{x: b.x + scrollX,"
            " y: b.y + scrollY, width: b.width, height: b.height, scale: 1}; })()"
        )
        if section is not None:
            left, top = min(margin, box["x"]), min(margin, box["y"])
            box |= {"x": box["x"] - left, "y": box["y"] - top}
            box |= {"width": box["width"] + 2 * left, "height": box["height"] + 2 * top}
        jpeg = pathlib.Path(path).suffix in (".jpg", ".jpeg")
        kind = {"format": "jpeg", "quality": quality} if jpeg else {"format": "png"}
        shot = self.call("Page.captureScreenshot", clip=box, captureBeyondViewport=True, **kind)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))


def main(arguments: list[str] | None = None) -> None:
    """Makes a picture of a page or of one section."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path, help="a .png or .jpg")
    parser.add_argument("--width", type=int, default=1280, help="of the view, in CSS pixels")
    parser.add_argument("--section", help="id of the element; the whole page without")
    parser.add_argument("--margin", type=int, default=16, help="around a section")
    parser.add_argument("--dark", action="store_true", help="as those see it who prefer dark")
    parser.add_argument("--quality", type=int, default=85, help="of a .jpg, up to 100")
    given = parser.parse_args(arguments)
    if not given.page.is_file():
        parser.error(f"{given.page}: no such page")
    with Browser() as browser:
        page = Page(browser, given.page)
        page.color_scheme("dark" if given.dark else "light")
        page.load(width=given.width)
        page.picture(given.picture, given.section, quality=given.quality, margin=given.margin)


if __name__ == "__main__":
    try:
        main()
    except BrowserError as error:
        sys.exit(f"browser.py: {error}")
