"""The training loop, checkpoints, exports, evaluation; knows stages, no model and no loss."""

from typing import Any

#: Nested containers of arrays, as ``jax.tree`` takes them.
PyTree = Any
#: What JSON holds: numbers, text, lists and objects of them.
Json = Any
JsonObject = dict[str, Json]
