"""Stages: one kind of training a file. They share exports, and no code but ``base`` and helpers."""
