"""Benchmarks against what a user would run instead; run from the checkout, not installed."""
