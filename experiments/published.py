"""Numbers printed in the paper."""

import functools
import json
import pathlib
from typing import Any


@functools.cache
def published() -> dict[str, Any]:
    """Reads them, with their source."""
    path = pathlib.Path(__file__).with_name("published.json")
    return json.loads(path.read_text(encoding="utf-8"))
