"""Components of ``experiments.detect``: inputs to rows, rows to tables and overlays."""
