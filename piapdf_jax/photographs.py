"""Picture files as a person sees them: turned upright, whatever their kind; for builders' pictures see ``pictures``.

OpenCV and pillow-heif are imported inside the functions that use them; JAX never is.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax import commands, pictures

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
_HEAD = 2**17  # where a JPEG's marks of its camera stand
_PNG = b"\x89PNG\r\n\x1a\n"
#: Kinds whose pictures hide nothing: OpenCV turns them upright. The others may have transparent parts.
_OPAQUE = (b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_STARTS = (*pictures.STARTS, b"GIF8", *_OPAQUE)
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class Listed(NamedTuple):
    """What a folder holds: pictures and films in order of their paths, and what could not be looked into."""

    pictures: list[pathlib.Path]
    films: list[pathlib.Path]
    faults: list[str]


def is_photograph(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is a picture: by its first bytes, and where those say nothing, by its name."""
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        head = b""
    if head.startswith(_STARTS) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in (*_HEIF, b"avif", b"avis")
    return path.suffix.lower() in PICTURE_ENDINGS


def pictures_and_films(folder: str | os.PathLike[str], *, recursive: bool) -> Listed:
    """Lists the pictures and films of a folder, by the endings of their names.

    Args:
        folder: searched.
        recursive: whether folders below it are searched as well; links to folders are not followed.
    """
    listed = Listed([], [], [])

    def tell(error: OSError) -> None:
        listed.faults.append(f"{error.filename} cannot be looked into ({error.strerror})")

    for place, below, files in os.walk(folder, onerror=tell):
        below[:] = sorted(name for name in below if recursive and not name.startswith("."))
        for name in sorted(files):
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if ending in PICTURE_ENDINGS:
                listed.pictures.append(pathlib.Path(place, name))
            elif ending in FILM_ENDINGS:
                listed.films.append(pathlib.Path(place, name))
    listed.pictures.sort()
    listed.films.sort()
    return listed


def read_photograph(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture file.

    Marks of the camera turn it upright, transparent parts of PNG, WebP and GIF are white, of 16 bits a value the upper
    eight are taken, of several pictures in a file the first. Color profiles are not followed.

    Args:
        path: JPEG, PNG, BMP, WebP, TIFF, GIF and what else this OpenCV reads; HEIC with pillow-heif.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ValueError: for what is no picture, is damaged, or is larger than ``pictures.MAX_PIXELS``; in one line.
        OSError: where the file cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path} {'is no file' if path.exists() else 'is not there'}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} cannot be read as a picture: it has more than a gigabyte")
    data = path.read_bytes()
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return _heif(path)
    return _decoded(data, str(path))


def _decoded(data: bytes, name: str) -> np.ndarray:
    """The picture of a file's content; JPEG, PNG and BMP as strictly as builders take them."""
    import cv2

    if data.startswith(pictures.STARTS):
        image = pictures.decode(data, name)
        clear = _is_clear(data)
        if not clear and not _has_marks(data):
            return image
    else:
        clear = not data.startswith(_OPAQUE)
    reason = (
        f"its {len(data):,} bytes are no picture, damaged or cut off" if data else "it is empty"
    )
    buffer = np.frombuffer(data, np.uint8)
    try:
        flags = cv2.IMREAD_UNCHANGED if clear else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(buffer, flags) if data else None
        if image is not None:
            image = pictures.to_8_bits(image)
            image = _over_white(image) if clear else image
    except (cv2.error, ValueError) as error:
        image, reason = None, " ".join(str(error).split())[:200]
    if image is None or image.dtype != np.uint8 or image.size > 3 * pictures.MAX_PIXELS:
        raise ValueError(f"{name} cannot be read as a picture: {reason}")
    return image


def _is_clear(data: bytes) -> bool:
    """Whether parts of a PNG are transparent: its color type or a chunk says so."""
    return data.startswith(_PNG) and (data[25] in (4, 6) or b"tRNS" in data[:_HEAD])


def _has_marks(data: bytes) -> bool:
    """Whether a camera may have said how to turn a picture; OpenCV then reads and follows it."""
    return b"Exif\0\0" in data[:_HEAD] or (data.startswith(_PNG) and b"eXIf" in data)


def _over_white(image: np.ndarray) -> np.ndarray:
    """A picture as OpenCV leaves it unchanged, in RGB; transparent parts are white."""
    import cv2

    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    colors = cv2.cvtColor(image[..., :3].copy(), cv2.COLOR_BGR2RGB)
    if image.shape[2] == 3:
        return colors
    share = image[..., 3:].astype(np.float32) / 255
    return np.rint(colors * share + 255 * (1 - share)).astype(np.uint8)


def _heif(path: pathlib.Path) -> np.ndarray:
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(f"{path} is a HEIC picture: {commands.install('heic')}") from error
    try:
        picture = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
        # It is turned upright already.
        image = np.asarray(picture.to_pillow().convert("RGB"))
    except Exception as error:  # of its own kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as a picture: {reason}") from error
    return np.ascontiguousarray(image)
