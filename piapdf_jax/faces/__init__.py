"""Faces in pictures: read, searched for 68 landmarks, and cut out in the one way that builders and inference share.

dlib and OpenCV are imported inside the functions that use them; JAX never is.
"""

from piapdf_jax.faces.cropping import (
    BOX_LIFT,
    BOX_SCALE,
    crop,
    crop_matrix,
    shrink_crops,
    transform,
)
from piapdf_jax.faces.dlib_finder import (
    PREDICTOR_FILE,
    PREDICTOR_LICENSE,
    PREDICTOR_SHA256,
    PREDICTOR_VARIABLE,
    DlibDetector,
    DlibFinder,
    find_predictor,
)
from piapdf_jax.faces.face import (
    NO_FACE,
    TILTED,
    TOO_SMALL,
    Face,
    FaceFinder,
    Found,
    LandmarkDetector,
)
from piapdf_jax.faces.finders import DEFAULT_FINDER, FINDERS, check_finder, make_finder
from piapdf_jax.faces.reading import read_image

__all__ = [
    "BOX_LIFT",
    "BOX_SCALE",
    "DEFAULT_FINDER",
    "FINDERS",
    "NO_FACE",
    "PREDICTOR_FILE",
    "PREDICTOR_LICENSE",
    "PREDICTOR_SHA256",
    "PREDICTOR_VARIABLE",
    "TILTED",
    "TOO_SMALL",
    "DlibDetector",
    "DlibFinder",
    "Face",
    "FaceFinder",
    "Found",
    "LandmarkDetector",
    "check_finder",
    "crop",
    "crop_matrix",
    "find_predictor",
    "make_finder",
    "read_image",
    "shrink_crops",
    "transform",
]
