"""Loads and runs a trained detector: pictures in, probabilities of action units out. JAX is optional."""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax import faces, paths
from piapdf_jax.detector_runtimes import Probabilities, choose
from piapdf_jax.drawn_detector import ONNX_FILE, detector_file
from piapdf_jax.faces import Face, FaceFinder
from piapdf_jax.model_json import Model, ModelError

#: Side of the crops that a detector takes, pixels.
CROP_SIZE = 256


class CroppedFace(NamedTuple):
    """A face of a picture and its aligned crop [256, 256, 3] uint8 RGB."""

    face: Face
    crop: np.ndarray


class DetectedFace(NamedTuple):
    """Result of a detector for one face.

    Attributes:
        box: x and y of the upper left corner, width and height, pixels of the picture.
        score: the finder's confidence, 0 to 1.
        landmarks: [68, 2] float32, (x, y) in pixels of the picture.
        roll: degrees, clockwise.
        crop: [256, 256, 3] uint8 RGB, aligned.
        probabilities: {FACS number: 0 to 1}.
        weak_units: FACS numbers of those that the detector does not tell well; None where nobody has judged it.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray
    roll: float
    crop: np.ndarray
    probabilities: dict[int, float]
    weak_units: tuple[int, ...] | None = None


class Detector:
    """Encoder and AU head of a training, with a face finder before them.

    Args:
        model: what ``model.json`` says.
        runtime: name of what runs the network.
        probabilities: of uint8 RGB crops [B, S, S, 3], S being ``model.image_size``; [B, C] float32.
        finder: of ``detect``; None takes the default, and a name makes it on first use.
        file_sha256: of the .onnx file; None where an export is run.

    Raises:
        ModelError: for a model of another crop recipe.
        ValueError: for another name of a finder.
    """

    def __init__(
        self,
        model: Model,
        runtime: str,
        probabilities: Probabilities,
        *,
        finder: FaceFinder | str | None = None,
        file_sha256: str | None = None,
    ):
        own = {"size": CROP_SIZE, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT}
        if model.crop != own:
            raise ModelError(
                f"the model was trained on crops of {model.crop}; this version cuts out {own}"
            )
        if isinstance(finder, str):
            faces.check_finder(finder)
        self.model = model
        self.runtime = runtime
        self.file_sha256 = file_sha256
        self._probabilities = probabilities
        self._finder = finder

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        runtime: str | None = None,
        finder: FaceFinder | str | None = None,
    ) -> "Detector":
        """Loads a detector.

        Args:
            path: folder of an export (runtime ``jax``), or an ``.onnx`` file of ``experiments.export``
                with its ``model.json`` beside it, or their folder (runtimes ``onnx`` and ``opencv``). None
                for the detector that this package ships.
            runtime: ``jax``, ``onnx`` (onnxruntime) or ``opencv`` (``cv2.dnn``); None takes the first
                that is installed and runs such a path.
            finder: face finder of ``detect``, ``dlib`` or ``mesh``, or an object; None takes the default.

        Raises:
            FileNotFoundError: where there is nothing, or the runtime is not installed.
            ValueError: for another runtime or finder; as ``ModelError``, for a file that is not what it
                should be.
        """
        given = detector_file() if path is None else paths.local_path(path, "model")
        place = _model_path(given)
        model, name, probabilities = choose(place, runtime)
        checksum = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else None
        return cls(model, name, probabilities, finder=finder, file_sha256=checksum)

    def __repr__(self) -> str:
        return (
            f"<Detector {self.model.title} {self.model.digest}: {len(self.model.units)} units,"
            f" runtime {self.runtime}>"
        )

    @property
    def finder(self) -> FaceFinder:
        """The face finder, made on first use."""
        if self._finder is None or isinstance(self._finder, str):
            self._finder = faces.make_finder(self._finder or faces.DEFAULT_FINDER)
        return self._finder

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Computes the probabilities of action units.

        Args:
            crops: [B, 256, 256, 3] uint8 RGB, aligned as by ``faces.crop``. Under ``jax`` each number
                of crops B is compiled once.

        Returns:
            [B, C] float32, column c being ``model.units[c]``.

        Raises:
            ValueError: for crops of another shape or type.
        """
        crops = faces.shrink_crops(crops, self.model.image_size)
        if not len(crops):
            return np.zeros((0, len(self.model.units)), np.float32)
        return self._probabilities(crops)

    def detect(self, picture: np.ndarray) -> list[DetectedFace]:
        """Finds the faces of a picture and computes their action units.

        Args:
            picture: [H, W, 3] uint8 RGB, upright, as ``photographs.read_photograph`` reads a file; OpenCV's
                own order is BGR.

        Returns:
            One entry a face, the clearest first; [] where there is none.

        Raises:
            ValueError: for a picture of another shape or type.
            FileNotFoundError: where the models of the face finder are missing.
        """
        _check_picture(picture)
        found, _ = cut_faces(self.finder, picture)
        if not found:
            return []
        scores = self(np.stack([cut.crop for cut in found]))
        return [
            DetectedFace(
                *(cut.face.box, cut.face.score, cut.face.landmarks, cut.face.roll, cut.crop),
                dict(zip(self.model.units, map(float, row), strict=True)),
                self.model.weak_units,
            )
            for cut, row in zip(found, scores, strict=True)
        ]


def cut_faces(
    finder: FaceFinder, picture: np.ndarray, *, most: int | None = None
) -> tuple[list[CroppedFace], str]:
    """Finds the faces of a picture and cuts them out.

    Args:
        finder: of faces.
        picture: [H, W, 3] uint8 RGB.
        most: of the clearest faces so many are kept; None for all.

    Returns:
        Faces and crops, the clearest first, and the reason why there are none, else "".
    """
    found = finder.find(picture)
    cropped = []
    for face in found.faces:
        try:
            crop, _ = faces.crop(picture, face.landmarks, CROP_SIZE)
        except ValueError:  # landmarks that are no face
            continue
        cropped.append(CroppedFace(face, crop))
    return cropped[:most], "" if cropped else found.reason or faces.NO_FACE


def _check_picture(picture: object) -> None:
    """Refuses what a finder would fail at, or would see no face in."""
    if not isinstance(picture, np.ndarray):
        told = f"{type(picture).__name__}: photographs.read_photograph reads a file"
    elif picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        told = f"{picture.dtype} {picture.shape}"
    elif not picture.size:
        told = f"one without pixels, {picture.shape}"
    else:
        return
    raise ValueError(f"expected a picture [H, W, 3] uint8 RGB, got {told}")


def _model_path(place: pathlib.Path) -> pathlib.Path:
    """The .onnx file of a folder that holds one, else the path itself."""
    inside = place / ONNX_FILE
    return inside if inside.is_file() else place
