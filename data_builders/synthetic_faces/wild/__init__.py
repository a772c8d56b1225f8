"""Faces that teach: hundreds of people whose muscles, light and cameras differ as those of strangers do."""
