"""Reads the headers of picture files without decoding: size and orientation."""

import struct
from collections.abc import Iterator

import numpy as np

from piapdf_jax import pictures

PNG, GIF, JP2 = b"\x89PNG\r\n\x1a\n", b"GIF8", b"\0\0\0\x0cjP  "
TIFFS = {b"II*\0": "<", b"MM\0*": ">"}
_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_BOXES = 2**16  # bytes in which an AVIF or JPEG 2000 says its size
_WIDTH, _LENGTH, _ORIENTATION = 256, 257, 274  # tags of TIFF, and so of EXIF
_EXIF = b"Exif\0\0"
_APP1 = 0xE1


def kind(head: bytes) -> str | None:
    """Returns the kind of a picture by its first 12 bytes, as ``jpeg``; None for a kind that is not read."""
    starts = {b"\xff\xd8": "jpeg", PNG: "png", b"BM": "bmp", GIF: "gif", JP2: "jp2"}
    starts |= dict.fromkeys(TIFFS, "tiff")
    if head[4:8] == b"ftyp":
        return "avif" if head[8:12] in _AVIF else "heif" if head[8:12] in _HEIF else None
    if (head[:4], head[8:12]) == (b"RIFF", b"WEBP"):
        return "webp"
    return next((name for start, name in starts.items() if head.startswith(start)), None)


def size(data: bytes) -> tuple[int, int]:
    """Returns height and width of a GIF, WebP, TIFF, JPEG 2000 or AVIF, as stored.

    Raises:
        ValueError: where the header does not say them.
    """
    try:
        return _SIZES[kind(data[:12]) or ""](data)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise ValueError("its header is damaged or cut off") from error


def turned(image: np.ndarray, data: bytes) -> np.ndarray:
    """Turns a picture upright by the orientation in its file; without a readable one it stays.

    Args:
        image: [H, W, C], as stored.
        data: content of a JPEG, PNG, WebP or AVIF.
    """
    try:
        if kind(data[:12]) == "avif":
            return _by_boxes(image, data)
        exif = _EXIFS.get(kind(data[:12]) or "", lambda data: b"")(data).removeprefix(_EXIF)
        mark = _tags(exif).get(_ORIENTATION, 1)
    except (IndexError, struct.error):
        mark = 1
    if not 1 < mark <= 8:
        return image
    image = image.swapaxes(0, 1) if mark >= 5 else image
    # Marks 1 ... 4, and 5 ... 8 of a picture whose rows are columns: nothing, columns, both, rows in the other order.
    rows, columns = (mark - 1) % 4 >= 2, (mark - 1) % 4 in (1, 2)
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def _by_boxes(image: np.ndarray, data: bytes) -> np.ndarray:
    """An AVIF turned: quarters against the clock, then mirrored; its EXIF says nothing."""
    turn, mirror = (data.find(b"\0\0\0\x09" + name, 0, _BOXES) for name in (b"irot", b"imir"))
    if turn >= 0:
        image = np.rot90(image, data[turn + 8] & 3)
    if mirror >= 0:
        image = image[:, ::-1] if data[mirror + 8] & 1 else image[::-1]
    return np.ascontiguousarray(image)


def _tags(data: bytes) -> dict[int, int]:
    """The single numbers in the first directory of a TIFF, which is what EXIF is as well."""
    order = TIFFS.get(data[:4])
    if order is None:
        return {}
    (place,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, place)
    found = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, form, length = struct.unpack_from(order + "HHI", data, entry)
        if length == 1 and form in (1, 3, 4):
            (found[tag],) = struct.unpack_from(
                order + {1: "B", 3: "H", 4: "I"}[form], data, entry + 8
            )
    return found


def _tiff_size(data: bytes) -> tuple[int, int]:
    tags = _tags(data)
    return tags[_LENGTH], tags[_WIDTH]


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
        return height + 1, width + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _jp2_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from(">II", data, data.index(b"ihdr", 0, _BOXES) + 4)


def _avif_size(data: bytes) -> tuple[int, int]:
    """The largest of the sizes said, for thumbnails and tiles have theirs."""
    place, found = data.index(b"ispe", 0, _BOXES), []
    while place >= 0:
        width, height = struct.unpack_from(">II", data, place + 8)
        found.append((height, width))
        place = data.find(b"ispe", place + 4, _BOXES)
    return max(found, key=lambda one: one[0] * one[1])


def _jpeg_exif(data: bytes) -> bytes:
    for marker, start, end in pictures.segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            return data[start:end]
    return b""


def _chunks(data: bytes, place: int, form: str, behind: int) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the chunks of a PNG or WebP, whose length and name stand before them."""
    while place + 8 <= len(data):
        first, second = struct.unpack_from(form, data, place)
        length, name = (first, second) if isinstance(first, int) else (second, first)
        yield name, data[place + 8 : place + 8 + length]
        place += 8 + length + (behind or length % 2)


def _png_exif(data: bytes) -> bytes:
    chunks = _chunks(data, len(PNG), ">I4s", 4)
    return next((content for name, content in chunks if name == b"eXIf"), b"")


def _webp_exif(data: bytes) -> bytes:
    chunks = _chunks(data, 12, "<4sI", 0)
    return next((content for name, content in chunks if name == b"EXIF"), b"")


_SIZES = {
    **{"gif": _gif_size, "webp": _webp_size, "tiff": _tiff_size},
    **{"jp2": _jp2_size, "avif": _avif_size},
}
_EXIFS = {"jpeg": _jpeg_exif, "png": _png_exif, "webp": _webp_exif}
