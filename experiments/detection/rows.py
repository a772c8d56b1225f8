"""One row of a table of detections: a face of a frame, or a frame without a face and the reason."""

from typing import NamedTuple

#: Reason of a frame that cannot be decoded; those of a frame without a face are ``piapdf_jax.faces``'.
UNREADABLE = "unreadable"


class Row(NamedTuple):
    """A face of a frame; a frame without a face has one row as well. Numbers are rounded as tables have them.

    Attributes:
        input: the input as the user named it; of a picture in a folder, folder and path in it.
        frame: number of the frame in its film, from 0; of a picture in a folder, its place by name.
        timestamp: presentation time in seconds, six digits; None for a picture.
        face_id: from 0 within an input, the same while boxes overlap; None without a face.
        confidence: of the face finder, 0 to 1; 0 without a face.
        reason: "", or why there is no face: ``no_face``, ``tilted``, ``too_small``, ``unreadable``.
        box: x, y, width and height in pixels of the frame, two digits; None without a face.
        roll: degrees, clockwise, two digits; None without a face.
        crop: a, b, x, y of the similarity that leads from the frame to the aligned crop,
            ``[[a, -b, x], [b, a, y]]`` of ``faces.crop_matrix``; None without a face. In no table.
        probabilities: of the model's units in their order, six digits; None without a face.
    """

    input: str
    frame: int
    timestamp: float | None = None
    face_id: int | None = None
    confidence: float = 0.0
    reason: str = ""
    box: tuple[float, float, float, float] | None = None
    roll: float | None = None
    crop: tuple[float, float, float, float] | None = None
    probabilities: tuple[float, ...] | None = None

    @property
    def success(self) -> int:
        """1 with a face, else 0."""
        return int(self.probabilities is not None)
