"""Embeds pictures that runs have drawn in the page."""

import base64
import pathlib
from collections.abc import Sequence

from experiments.page.markup import Markup, join, tag
from experiments.report_types import Group

#: File in a run's folder, and what it shows.
PICTURES = {
    "figure1.png": "Figure 1. (a) AU6: a bounding patch in red, the PI region in blue. (b) AU2 and AU6,"
    " translucent: predefined, binary and heat view of PI Generator 1; then all twelve units.",
    "pi_maps.png": "PI maps of a test face: predefined, and what the networks say.",
}
#: Pixels across, at most, and bytes of all pictures together.
WIDTH, BUDGET = 1280, 2_600_000
_QUALITIES = (86, 74, 60, 45)


def section(groups: Sequence[Group]) -> Markup:
    """Shows each group's pictures, those of its first run that has them."""
    found = [
        (group, path, words)
        for group in groups
        for name, words in PICTURES.items()
        for path in _first(group, name)
    ]
    parts = []
    for group, path, words in found:
        where = f"{group.title}, {path.parent.name}"
        data = jpeg(path, most=BUDGET // len(found))
        if data is None:
            parts.append(tag("p", f"{path.name} of {where} cannot be shown.", cls="lead"))
            continue
        source = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        image = tag("img", src=source, alt=f"{words} {where}")
        parts.append(tag("figure", image, tag("figcaption", f"{words} ({where})")))
    missing = [name for name in PICTURES if not any(path.name == name for _, path, _ in found)]
    if missing:
        parts.append(tag("p", f"No run has {' or '.join(missing)}.", cls="lead"))
    return join(*parts)


def _first(group: Group, name: str) -> list[pathlib.Path]:
    paths = [run.folder / name for run in group.runs]
    return [path for path in paths if path.is_file()][:1]


def jpeg(path: pathlib.Path, *, most: int) -> bytes | None:
    """Reads a picture and makes it small enough; None where it cannot be read, or stays too large.

    Args:
        path: of any format that OpenCV reads.
        most: bytes, once written as base64.
    """
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return None
    for width in (WIDTH, WIDTH * 3 // 4, WIDTH // 2):
        scale = min(1.0, width / image.shape[1])
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for quality in _QUALITIES:
            ok, data = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if ok and 4 * ((data.size + 2) // 3) <= most:
                return data.tobytes()
    return None
