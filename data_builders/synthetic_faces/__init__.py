"""Synthetic faces, drawn by the project's own code: TFDS builder, drawing, population, raw layouts."""

from data_builders.synthetic_faces.truth import truth_path

__all__ = ["truth_path"]
