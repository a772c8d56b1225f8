"""Picture files of any path, read as they are stored."""

import os
import pathlib
import stat

import numpy as np

from piapdf_jax import pictures

#: Longest file that is taken for a picture; phones append films to theirs.
_MAX_BYTES = 2**30


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture file, whatever characters its path holds.

    Args:
        path: a JPEG, PNG or BMP, whatever its name ends with.

    Returns:
        [H, W, 3] uint8 RGB, as ``pictures.decode``.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for what is no file, has more than a gigabyte, or is refused by ``pictures.decode``.
        MemoryError: where there is no room for the picture.
    """
    path = pathlib.Path(path)
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError(f"{path} cannot be read as a picture: it is not a file")
    if state.st_size > _MAX_BYTES:
        raise ValueError(f"{path} cannot be read as a picture: it has {state.st_size:,} bytes")
    try:
        return pictures.decode(path.read_bytes(), str(path))
    except MemoryError as error:
        raise MemoryError(f"{path}: not enough memory for this picture") from error
