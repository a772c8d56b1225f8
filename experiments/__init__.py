"""The launcher and what it runs."""
