"""What ``experiments.detect`` is made of: inputs to rows, rows to tables and overlays."""
