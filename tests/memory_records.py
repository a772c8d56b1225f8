"""Records in memory, for tests of streams: what a batch should hold can be told from a row's number."""

import cv2
import numpy as np

from piapdf_jax.action_units import BP4D_AUS, RECORD_AUS
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.records import IMAGE_SIZE, pack_planes


class MemoryRecords:
    """Records whose image says in its blue channel where its first PI map is, and whose labels say its row."""

    def __init__(self, size: int, seed: int = 0):
        self.size, self.seed = size, seed

    def __len__(self) -> int:
        return self.size

    def shard_of(self, row: int) -> str:
        return "memory"

    def __getitem__(self, row: int) -> dict:
        rng = np.random.default_rng([self.seed, int(row)])
        planes = np.zeros((IMAGE_SIZE, IMAGE_SIZE, len(RECORD_AUS)), np.uint8)
        x, y = rng.integers(40, 150, 2)
        planes[y : y + 60, x : x + 50, 0] = 1
        image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 60, np.uint8)
        image[..., 2] = 255 * planes[..., 0]
        labels = np.array([(int(row) >> bit) & 1 for bit in range(len(RECORD_AUS))], np.int8)
        return {
            "image": cv2.imencode(".png", image[..., ::-1])[1].tobytes(),
            "pi_maps": cv2.imencode(".png", pack_planes(planes))[1].tobytes(),
            "labels": labels,
            "subject": f"F{self.seed:03d}".encode(),
            "task": b"T1",
            "frame": int(row),
        }


def reading(**more) -> ReaderConfig:
    return ReaderConfig(
        **{"image_size": 64, "batch_size": 4, "aus": BP4D_AUS, "maps": BP4D_AUS, **more}
    )
