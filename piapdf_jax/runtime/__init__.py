"""The training loop, checkpoints, exports, evaluation; knows stages, no model and no loss."""
