"""Detects films by their first bytes, because OpenCV would also open the files that a play list names."""

import pathlib

from piapdf_jax import video

#: First bytes of Matroska and WebM, Windows Media, Flash, Ogg, Real, MXF, DV, YUV4MPEG and IVF.
_STARTS = (
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"FLV", b"OggS", b".RMF"),
    *(b"\x06\x0e\x2b\x34", b"\x1f\x07\x00", b"YUV4MPEG2 ", b"DKIF"),
)
#: Kinds of the first part of an MP4 or QuickTime file, beside those of ``video``.
_PARTS = (b"pnot", b"uuid", b"styp", b"moof", b"sidx")
#: What follows a start code: packs and sequences of MPEG-1, -2 and -4, parameters of H.264 and H.265.
_CODES = frozenset(b"\xba\xb3\xb0\x00\x67\x27\x09\x40\x46")
_SYNC, _PACKETS = (
    0x47,
    (188, 192, 204),
)  # of MPEG transport streams: the byte that begins a packet, and its length
_LOOKED_AT = 1024


def fault(path: pathlib.Path) -> str | None:
    """Returns why a file is not a film, to follow its name in a message; None if it begins like a known film format."""
    try:
        if path.exists() and not path.is_file():
            return "is not a file"
        if video.is_film(path):
            return None
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is empty"
    if head.startswith(_STARTS) or head[4:8] in _PARTS or _is_stream(head) or _is_transport(head):
        return None
    return f"is not a film: it begins with {head[:12]!r}, as no known film format does"


def _is_stream(head: bytes) -> bool:
    """Whether an MPEG stream begins with a start code: zeros, a one, and what follows."""
    code = head.lstrip(b"\0")
    return len(head) - len(code) >= 2 and code[:1] == b"\1" and code[1] in _CODES


def _is_transport(head: bytes) -> bool:
    """Whether packets of a transport stream follow one another; it may begin within one."""
    return any(
        len(head) > 3 * size and set(head[place : place + 3 * size + 1 : size]) == {_SYNC}
        for size in _PACKETS
        for place in range(size)
    )
