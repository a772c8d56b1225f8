"""DISFA as a TFDS builder, and the reader of its distributed layout."""
