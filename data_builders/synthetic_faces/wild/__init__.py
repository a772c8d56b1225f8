"""Faces for training a general detector: hundreds of people with varied muscles, light and cameras."""
