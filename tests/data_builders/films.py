"""Writes films by hand, box by box, so that what is said of their times is known; each picture shows its number."""

import base64
import pathlib
import struct
import zlib

import cv2
import numpy as np

from piapdf_jax.action_units import DISFA_AUS

SIDE = 64
_STEP, _DARKEST = 10, 5  # gray values


def picture(number: int) -> bytes:
    """A JPEG file whose gray value is its number, up to 25."""
    gray = np.full((SIDE, SIDE, 3), _STEP * number + _DARKEST, np.uint8)
    return cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def shown(image: np.ndarray) -> int:
    """The number that a picture shows; its edges may be beyond what was filmed."""
    return round((float(np.median(image)) - _DARKEST) / _STEP)


class AnyFace:
    """Finds the same face in every picture."""

    digest = "any-face-1"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        points = np.random.default_rng(5).uniform(25, 40, (68, 2))
        points[36:42], points[42:48], points[30] = (26, 28), (38, 28), (32, 34)
        points[48], points[54] = (28, 40), (36, 40)
        return points.astype(np.float32)


def _chunk(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def write_avi(
    path: pathlib.Path, chunks: list[bytes], *, rate: tuple[int, int] = (20, 1), start: int = 0
) -> pathlib.Path:
    """An AVI of Motion JPEG; a chunk without content stands for a frame that was dropped.

    Args:
        path: of the film.
        chunks: JPEG files, or b"".
        rate: frames in so many seconds.
        start: frames before the first chunk, as the header says.
    """
    count, (frames, seconds) = len(chunks), rate
    file = _chunk(
        b"avih",
        struct.pack("<14I", 10**6 * seconds // frames, 0, 0, 16, count, 0, 1, 0, SIDE, SIDE, *4 * [0]),
    )  # fmt: skip
    stream = _chunk(
        b"strh",
        b"vidsMJPG",
        struct.pack("<IHH8I4H", 0, 0, 0, 0, seconds, frames, start, count, 0, 2**32 - 1, 0, 0, 0, SIDE, SIDE),
    )  # fmt: skip
    form = struct.pack("<IiiHH4sIiiII", 40, SIDE, SIDE, 1, 24, b"MJPG", 3 * SIDE**2, 0, 0, 0, 0)
    written = [_chunk(b"00dc", content) for content in chunks]
    index, place = b"", 4
    for content, chunk in zip(chunks, written, strict=True):
        index += b"00dc" + struct.pack("<3I", 16, place, len(content))
        place += len(chunk)
    streams = _chunk(b"LIST", b"strl", stream, _chunk(b"strf", form))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        _chunk(
            b"RIFF",
            b"AVI ",
            _chunk(b"LIST", b"hdrl", file, streams),
            _chunk(b"LIST", b"movi", *written),
            _chunk(b"idx1", index),
        )
    )
    return path


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an MP4 file."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", flags), *parts)


def _table(kind: bytes, form: str, rows: list[tuple[int, ...]]) -> bytes:
    return _full(kind, struct.pack(">I", len(rows)), *(struct.pack(form, *row) for row in rows))


def write_mp4(
    path: pathlib.Path,
    frames: list[bytes],
    ticks: list[int],
    *,
    late: list[int] | None = None,
    edits: list[tuple[int, int]] | None = None,
) -> pathlib.Path:
    """An MP4 of Motion JPEG, of 600 ticks a second.

    Args:
        path: of the film.
        frames: JPEG files.
        ticks: how long each is shown.
        late: ticks by which each is shown later than it is decoded.
        edits: (ticks, first tick of the film or -1 for nothing).
    """
    scale, total = 600, sum(ticks)
    matrix = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = box(b"ftyp", b"isom", bytes(4), b"isommp41")
    entry = struct.pack(">6xH16x2H2I4xH32sHh", 1, SIDE, SIDE, 72 << 16, 72 << 16, 1, b"", 24, -1)
    tables = [
        _full(b"stsd", struct.pack(">I", 1), box(b"jpeg", entry)),
        _table(b"stts", ">2I", [(1, tick) for tick in ticks]),
        _table(b"ctts", ">2I", [(1, tick) for tick in late]) if late else b"",
        _table(b"stsc", ">3I", [(1, len(frames), 1)]),
        _full(b"stsz", struct.pack(f">{2 + len(frames)}I", 0, len(frames), *map(len, frames))),
        _table(b"stco", ">I", [(len(start) + 8,)]),
    ]
    data = box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1)))
    media = [
        _full(b"mdhd", struct.pack(">4I2H", 0, 0, scale, total, 0x55C4, 0)),
        _full(b"hdlr", struct.pack(">4x4s12x", b"vide"), b"\0"),
        box(b"minf", _full(b"vmhd", bytes(8), flags=1), data, box(b"stbl", *tables)),
    ]
    track = [
        _full(b"tkhd", struct.pack(">5I16x", 0, 0, 1, 0, total), matrix,
              struct.pack(">2I", SIDE << 16, SIDE << 16), flags=3),
        box(b"edts", _table(b"elst", ">IiI", [(*edit, 1 << 16) for edit in edits])) if edits else b"",
        box(b"mdia", *media),
    ]  # fmt: skip
    movie = _full(b"mvhd", struct.pack(">4IIH10x", 0, 0, scale, total, 1 << 16, 256), matrix,
                  bytes(24), struct.pack(">I", 2))  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(start + box(b"mdat", *frames) + box(b"moov", movie, box(b"trak", *track)))
    return path


def write_disfa(root: pathlib.Path, subject: str, *, rows: int = 20) -> pathlib.Path:
    """Label files of a participant in DISFA's layout: row k has intensity k mod 6 in AU 12, else 0.

    Returns:
        Where the left camera's film goes, but for its suffix.
    """
    folder = root / "ActionUnit_Labels" / subject
    folder.mkdir(parents=True, exist_ok=True)
    for au in DISFA_AUS:
        lines = [f"{row},{row % 6 if au == 12 else 0}" for row in range(1, rows + 1)]
        (folder / f"{subject}_au{au}.txt").write_text("\n".join(lines) + "\n")
    return root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi"


#: Ten frames of MPEG-4 with B-frames in an AVI, of 32 x 32 pixels; frame k has gray value 20 k + 20. Made by FFmpeg
#: 8.1 (through PyAV): ``-c:v mpeg4 -bf 2 -q:v 2 -r 20``.
_REORDERED = (
    "c-"
    "jl{baQKwWMFU%^HlKh3=VlC$iR@1Qk0WemYHF}z`zi2m;nw1I2jnYpln8n2!jHURA9gaAhV_jFfbIC6y*Rh*sQY5"
    "lwvpE025?&Aag{ZY>?T$K>QyFVDbt;2-KgZ0c2}H?NR{ilVAXw#e-"
    "?LSE!%21ki34DBr*!C7EFqjDk@x3P!;w7zLwX6pVsVFbYP&C>RAJ3V_B3SQr@?@>6nifGFd~2o4L-"
    "IE@sL_Vjb}_Y8Im;RA^!mZg~)=@|l%fe|>gelU-wno%$cMrsMMi;00DH@_?sG?Ho$7G>P<5lC!ZDGV9HWmMp}(#y"
    "fHl#zu+L;$FQaWjJeJCNEYkPz6^xLqZ8`+Ek4LvCDbcP4JTzaKmzD-AJcTi^#Ji9@sV9FE<t11e!NSay4YAxw=gR"
    "Lz73F7pj)_`e_gV1J+e!2cR~=D(kx@i+eaVaNXa!4LWO%@6ALF)$?Z&p_e>rGI{gD*gb~TaRMu!~~G39P9@_D9E!"
    "PXsD5AVg#AW@WYOU`N0nX{^kb`b`Vn$e4sSQRIuU?P`waSrJ$w;Cn!mrF?+%T@iLn+?@ngv+~3IdPD-"
    "GKZzh4mh=T*@B4wZhd*qpzjDe;yO4zZmB>WH%1iIc0>Kiy8C@uLJsu-rX9wl}{fU$G<HX?SuVTql|G>M%lREwR=l"
    "nTQI43K#M0S3stfIS0ZUcd*4rIGjr43K#U82=a=Uj~@srI7e`jHvQc(D<(yQO)OLLX}T}@&Rd8Q!@"
)


def write_reordered(path: pathlib.Path) -> pathlib.Path:
    """A film of ten frames whose pictures are not decoded in the order in which they are shown."""
    path.write_bytes(zlib.decompress(base64.b85decode(_REORDERED)))
    return path
