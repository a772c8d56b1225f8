"""From shards on disk to batches."""
