"""Reads picture files of any kind, turned upright; for the pictures of builders see ``pictures``.

OpenCV and pillow-heif are imported inside the functions that use them; JAX never is.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax import commands, opencv_messages, picture_headers, pictures

#: Names of files that are pictures, and films, in a folder.
PICTURE_ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp"),
        *(".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2"),
    )
)
FILM_ENDINGS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".ts", ".mts", ".m2ts", ".ogv", ".vob"),
    )
)
_MAX_BYTES = 2**30
_ROWS = 256  # laid over white at once
_TOLD = 200  # characters of what another library says
#: Kinds read as builders read them; kinds of which no part is transparent, or none is taken to be.
_STRICT, _OPAQUE = ("jpeg", "png", "bmp"), ("tiff", "jp2")


class Listed(NamedTuple):
    """What a folder holds: pictures and films in order of their paths, and what could not be looked into."""

    pictures: list[pathlib.Path]
    films: list[pathlib.Path]
    faults: list[str]


def is_photograph(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is a picture: by its first bytes, and where those say nothing, by its name."""
    path = pathlib.Path(path)
    head = b""
    try:
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(12)
    except OSError:
        pass
    if picture_headers.kind(head):
        return True
    # Another kind of what MP4 is made of is a film, whatever its name.
    return head[4:8] != b"ftyp" and path.suffix.lower() in PICTURE_ENDINGS


def pictures_and_films(folder: str | os.PathLike[str], *, recursive: bool) -> Listed:
    """Lists the pictures and films of a folder, by the endings of their names.

    Args:
        folder: searched.
        recursive: whether folders below it are searched as well; links to folders are not followed.
    """
    listed = Listed([], [], [])

    def tell(error: OSError) -> None:
        listed.faults.append(f"{error.filename} cannot be opened ({error.strerror})")

    for place, below, files in os.walk(folder, onerror=tell):
        below[:] = sorted(name for name in below if recursive and not name.startswith("."))
        for name in sorted(files):
            ending = os.path.splitext(name)[1].lower()
            # A pipe would be waited for; a link to nothing is named as what cannot be read.
            if name.startswith(".") or _is_pipe(pathlib.Path(place, name)):
                continue
            if ending in PICTURE_ENDINGS:
                listed.pictures.append(pathlib.Path(place, name))
            elif ending in FILM_ENDINGS:
                listed.films.append(pathlib.Path(place, name))
    listed.pictures.sort()
    listed.films.sort()
    return listed


def _is_pipe(path: pathlib.Path) -> bool:
    return path.exists() and not path.is_file()


def read_photograph(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture file.

    Marks of the camera turn it upright, transparent parts are white but of TIFF and JPEG 2000, of 16 bits a value the
    upper eight are taken, of several pictures in a file the first. Color profiles are not followed.

    Args:
        path: JPEG, PNG, BMP, WebP, TIFF, GIF, JPEG 2000, AVIF; HEIC with pillow-heif.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ValueError: for what is no picture, is damaged, has 16 bits a value and uses fewer, or is larger than
            ``pictures.check_size`` lets through, which is found before any pixel is decoded; in one line.
        OSError: where the file cannot be read.
        MemoryError: where there is no room for the picture.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} cannot be read as a picture: it has more than a gigabyte")
    data = path.read_bytes()
    kind = picture_headers.kind(data[:12])
    if kind in _STRICT:
        image = pictures.decode(data, str(path))
        if not _is_clear(data):
            return picture_headers.turned(image, data)
        del image
    try:
        if kind is None:
            told = f"it begins with {data[:12]!r}, which no picture does" if data else "it is empty"
            raise ValueError(told)
        return _heif(path) if kind == "heif" else _decoded(data, kind)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as a picture: {' '.join(str(error).split())}"
        ) from error


def _decoded(data: bytes, kind: str) -> np.ndarray:
    """The picture of a file's content, upright; OpenCV turns TIFF by itself, and of the others only some kinds."""
    opencv_messages.silence()
    import cv2

    if kind not in _STRICT:
        pictures.check_size(*picture_headers.size(data))
    plain = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    deep = plain | cv2.IMREAD_ANYDEPTH if kind in _OPAQUE else cv2.IMREAD_UNCHANGED
    buffer = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(buffer, deep)
        if image is not None and image.dtype == np.uint16 and kind == "avif":
            # It has 10 or 12 bits, as its header says: OpenCV makes them 8, but leaves its transparency out.
            image = cv2.imdecode(buffer, plain)
    except cv2.error as error:
        raise ValueError(str(error)[:_TOLD]) from error
    if image is None:
        raise ValueError(
            f"its {len(data):,} bytes are damaged, cut off, or of a kind that is not read"
        )
    image = pictures.to_8_bits(image)
    if image.dtype != np.uint8:
        raise ValueError(f"its values are {image.dtype}, and should have 8 or 16 bits")
    image = _over_white(image)
    return image if kind in _OPAQUE else picture_headers.turned(image, data)


def _is_clear(data: bytes) -> bool:
    """Whether parts of a PNG may be transparent: its color type or a chunk says so."""
    is_png = data.startswith(picture_headers.PNG) and len(data) > 25
    return is_png and (data[25] in (4, 6) or b"tRNS" in data)


def _over_white(image: np.ndarray) -> np.ndarray:
    """A picture as OpenCV leaves it unchanged, in RGB; transparent parts are white."""
    import cv2

    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    found = np.empty((*image.shape[:2], 3), np.uint8)
    for top in range(0, len(image), _ROWS):
        colors, share = np.split(image[top : top + _ROWS].astype(np.uint16), [3], axis=2)
        found[top : top + _ROWS] = (colors[..., ::-1] * share + 255 * (255 - share) + 127) // 255
    return found


def _heif(path: pathlib.Path) -> np.ndarray:
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(
            f"it is a HEIC, which needs pillow-heif: {commands.install('heic')}"
        ) from error
    try:
        picture = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
        width, height = picture.size
        pictures.check_size(height, width)
        # It is turned upright already.
        image = np.asarray(picture.to_pillow().convert("RGBA"))
    except Exception as error:  # of its own kinds
        raise ValueError(str(error)[:_TOLD]) from error
    return _over_white(image[..., [2, 1, 0, 3]])
