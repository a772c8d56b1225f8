"""Decodes pictures to arrays; those that are damaged, too large or of an unknown range are refused.

OpenCV and simplejpeg are imported inside the functions that use them; JAX never is.
"""

import functools
import hashlib
import pathlib
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

#: Most pixels of a picture (400 MB of RGB), and its longest side: OpenCV's warps take no longer one.
MAX_PIXELS = 2**27
MAX_SIDE = 2**15 - 2

_JPEG, _PNG, _BMP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers SOF0 ... SOF15
_BARE = {0x01, *range(0xD0, 0xD8)}  # JPEG's markers without a length
_SEQUENTIAL, _TABLES, _SCAN, _END = (0xC0, 0xC1), 0xC4, 0xDA, 0xD9
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_AC = 0x10  # class of the Huffman tables of a block's coefficients behind the first
_HOLE = bytes(64)  # longer than a block of one repeated short code


class UnknownRangeError(ValueError):
    """Says that a picture has 16 bits a value and may use fewer."""


def decode(data: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG, PNG or BMP.

    A JPEG is refused where libjpeg warns: some of its pixels are made up, and OpenCV does not tell. So is
    one with a hole of zeros in its data, of which libjpeg does not always warn. Bytes
    behind the end of a picture are ignored. Of 16-bit values the upper 8 bits are taken; a picture that leaves
    the highest bit unused is refused, for it may hold 10, 12 or 14 bits and would come out near black.
    Transparency is ignored, and of several pictures in a file the first is taken.

    Args:
        data: content of a picture file.
        name: what messages call it.

    Returns:
        [H, W, 3] uint8 RGB, as stored: orientation marks of cameras are not followed.

    Raises:
        UnknownRangeError: for a 16-bit picture whose values are all below 32,768.
        ValueError: for other content that is not wholly such a picture, or a picture beyond ``MAX_PIXELS`` or
            ``MAX_SIDE``, which is found before any pixel is decoded.
        MemoryError: where there is no room for the picture.
    """
    import cv2

    try:
        return _decoded(data)
    except (ValueError, MemoryError, cv2.error) as error:
        kind = ValueError
        if isinstance(error, UnknownRangeError):
            kind = UnknownRangeError
        elif isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem:
            kind = MemoryError
        reason = " ".join(str(error).split()) or "not enough memory"
        raise kind(f"{name} cannot be read as a picture: {reason}") from error
    except (IndexError, struct.error) as error:
        raise ValueError(f"{name} cannot be read as a picture: its header is cut off") from error


@functools.lru_cache(maxsize=1)
def digest() -> str:
    """Returns a digest of the code that reads pictures: this module and the decoder of JPEGs."""
    import simplejpeg

    source = pathlib.Path(__file__).read_bytes()
    return hashlib.sha256(source + simplejpeg.__version__.encode()).hexdigest()[:12]


def _decoded(data: bytes) -> np.ndarray:
    _check_size(data)
    image = _jpeg(data) if data.startswith(_JPEG) else _opencv(data)
    if image is None:
        raise ValueError(f"its {len(data):,} bytes are damaged or cut off")
    return to_8_bits(image)


def to_8_bits(image: np.ndarray) -> np.ndarray:
    """Returns the upper 8 bits of a picture of 16 bits a value, and one of 8 bits as it is.

    Raises:
        UnknownRangeError: for a 16-bit picture whose values are all below 32,768.
    """
    if image.dtype != np.uint16:
        return image
    # A broken pixel of a sensor says nothing of its range.
    brightest = np.partition(image.ravel(), -1 - image.size // 5000)[-1 - image.size // 5000]
    if brightest < 2**15:
        raise UnknownRangeError(
            f"it has 16 bits a value but hardly one above {brightest:,}, which may be near black or"
            " white: scale the values to 0 ... 65,535, or store 8 bits"
        )
    return (image >> 8).astype(np.uint8)


def _jpeg(data: bytes) -> np.ndarray:
    import simplejpeg

    image = simplejpeg.decode_jpeg(data, strict=True)
    if _HOLE in data:
        _check_holes(data)
    return image


def _opencv(data: bytes) -> np.ndarray | None:
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def _check_size(data: bytes) -> None:
    """Refuses by the header alone what is no picture or too large a one."""
    known = {_JPEG: _jpeg_size, _PNG: _png_size, _BMP: _bmp_size}
    start = next((start for start in known if data.startswith(start)), None)
    if start is None:
        told = f"it begins with {data[:12]!r}, which no JPEG, PNG or BMP does"
        raise ValueError(told if data else "it is empty")
    check_size(*known[start](data))


def check_size(height: int, width: int) -> None:
    """Raises ValueError for a picture of more than ``MAX_PIXELS`` or a side beyond ``MAX_SIDE``, or of none."""
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE or min(height, width) < 1:
        raise ValueError(
            f"its header says {width:,} x {height:,} pixels; the limits are {MAX_PIXELS:,} in all"
            f" and {MAX_SIDE:,} per side"
        )


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in segments(data):
        if marker in _FRAME_HEADERS:
            return struct.unpack_from(">HH", data, start + 1)
    raise ValueError("its header is damaged")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields marker, start and end of the segments of a JPEG; that of a scan holds its data too."""
    place = 2
    while data[place] == 0xFF and data[place + 1] != _END:
        marker = data[place + 1]
        if marker == 0xFF:  # fill bytes before a marker
            place += 1
        elif marker in _BARE:
            place += 2
        else:
            start, place = place + 4, place + 2 + struct.unpack_from(">H", data, place + 2)[0]
            if marker == _SCAN:
                behind = _NEXT_MARKER.search(data, place)
                place = behind.start() if behind else len(data)
            yield marker, start, place


def _check_holes(data: bytes) -> None:
    """Refuses a JPEG with zeros in its scan that no encoder writes, as disks and downloads leave them.

    libjpeg takes zeros for codes and warns only where the picture then ends elsewhere. Where the code of zeros alone
    stands for a coefficient, as in the standard tables, so many fill whole blocks with it. Where it ends a block, they
    are an even surface. Scans that are not sequential are left to libjpeg.
    """
    frame, first_codes = 0, {}
    for marker, start, end in segments(data):
        if marker in _FRAME_HEADERS:
            frame = marker
        while marker == _TABLES and start < end:
            count = sum(data[start + 1 : start + 17])
            first_codes[data[start]] = data[start + 17]
            start += 17 + count
        if marker == _SCAN and frame in _SEQUENTIAL:
            tables = [data[start + 2 + 2 * k] for k in range(data[start])]
            if any(first_codes.get(_AC | table & 15) for table in tables):
                behind = start + 4 + 2 * data[start]
                if data.find(_HOLE, behind, end) >= 0:
                    raise ValueError(f"{len(_HOLE)} zeros in a row stand in its compressed data")


def _png_size(data: bytes) -> tuple[int, int]:
    _check_chunks(data)
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _check_chunks(data: bytes) -> None:
    """Refuses a PNG with a damaged chunk: OpenCV makes room for whatever length a chunk claims."""
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        found = zlib.crc32(memoryview(data)[place + 4 : place + 8 + length])
        if kind[:1].isupper() and found != checksum:  # the others hold no pixels
            raise ValueError(f"its chunk {kind.decode('ascii', 'replace')} is damaged")
        place += 12 + length


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(height), width  # rows from top to bottom have a negative height
