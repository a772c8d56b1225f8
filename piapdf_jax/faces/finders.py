"""Face finders by name."""

from collections.abc import Callable

from piapdf_jax.faces.dlib_finder import DlibFinder
from piapdf_jax.faces.face import FaceFinder
from piapdf_jax.faces.mesh_finder import MeshFinder

FINDERS: dict[str, Callable[[], FaceFinder]] = {"dlib": DlibFinder, "mesh": MeshFinder}
DEFAULT_FINDER = "dlib"


def make_finder(name: str) -> FaceFinder:
    """Makes a face finder.

    Args:
        name: a key of ``FINDERS``.

    Raises:
        ValueError: for another name.
        FileNotFoundError: where its models are missing; the message says where to get them.
    """
    check_finder(name)
    return FINDERS[name]()


def check_finder(name: str) -> None:
    """Raises ``ValueError`` for a name that is no key of ``FINDERS``."""
    if name not in FINDERS:
        raise ValueError(f"face finder {name!r} is not one of {', '.join(FINDERS)}")
