"""What hostile files are made of: an object whose unpickling leaves a mark, and links out of a folder."""

import os
import pathlib


class Mark:
    """Makes a file where it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def stranger(monkeypatch, path: pathlib.Path) -> None:
    """Lets a file or folder belong to another user than the one who reads it and root."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
