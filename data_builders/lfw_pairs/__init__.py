"""LFW and its pairs for verification as a TFDS builder."""
