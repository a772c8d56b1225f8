"""CASIA-WebFace as a TFDS builder."""
