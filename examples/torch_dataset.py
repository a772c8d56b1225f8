"""A data set of this package in PyTorch: pictures, labels and PI maps by the number of the action unit.

    python -m data_builders.prepare synthetic_faces/bp4d --data_dir=/tmp/faces
    python examples/torch_dataset.py /tmp/faces/synthetic_faces/bp4d/1.0.0 --split=part1

Needs torch beside ``piapdf_jax``; neither TensorFlow nor JAX is loaded.
"""

import argparse
import multiprocessing
import sys

import numpy as np
import torch

from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.data.by_unit import FramesByUnit


class Faces(FramesByUnit, torch.utils.data.Dataset):  # noqa: D101
    def __getitem__(self, row):
        image, labels, maps, *_ = super().__getitem__(row)
        arrays = image, np.array(list(labels.values())), np.stack(list(maps.values()))
        return tuple(map(torch.from_numpy, arrays))


def main() -> None:
    """Reads a split once, and counts."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="of one version, such as DATA_DIR/bp4d/1.0.0")
    parser.add_argument("--split", default="train")
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    if flags.workers < 0:
        parser.error(f"--workers={flags.workers} must be at least 0")
    try:
        faces = Faces(flags.folder, flags.split, BP4D_AUS)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    loader = torch.utils.data.DataLoader(
        faces,
        batch_size=32,
        num_workers=flags.workers,
        # Readers of shards have threads, which a fork does not take along.
        multiprocessing_context=multiprocessing.get_context("spawn") if flags.workers else None,
    )
    present, known, pixels = torch.zeros(3, len(BP4D_AUS), dtype=torch.int64)
    # [B, 256, 256, 3] uint8, [B, 12], [B, 12, 256, 256] bool
    for _, labels, maps in loader:
        present += (labels == 1).sum(0)
        known += (labels >= 0).sum(0)
        pixels += maps.sum((0, 2, 3))
    for au, *counts in zip(BP4D_AUS, present, known, pixels, strict=True):
        told = "AU{}: present in {} of {} known frames, {} pixels of maps"
        print(told.format(au, *map(int, counts)))


if __name__ == "__main__":
    main()
