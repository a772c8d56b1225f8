"""TFDS builders of the data sets, without JAX."""
