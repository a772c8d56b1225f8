"""Stages: one kind of training per file. They share exports, and no code but ``base`` and helpers."""
