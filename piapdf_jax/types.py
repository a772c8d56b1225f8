"""Types shared by the whole package."""

from typing import Any, NamedTuple

#: Dicts, lists, tuples and dataclasses of arrays, nested in each other; JAX has no narrower static type for them.
PyTree = Any
#: What JSON holds: numbers, text, true, false, null, lists and objects of them.
Json = Any
JsonObject = dict[str, Json]
#: Parameters of a network, by module and name.
Params = PyTree
#: Running statistics of a network's normalizations, by module and name.
BatchStats = PyTree
#: What an optimizer remembers.
OptState = PyTree


class Part(NamedTuple):
    """Variables of one network.

    Attributes:
        params: what an optimizer moves, float32.
        batch_stats: running statistics, float32; {} for a network without normalization.
    """

    params: Params
    batch_stats: BatchStats


#: Parts by name, such as ``generator``, ``encoder``, ``head`` and ``decoder``: what a training hands on.
Parts = dict[str, Part]
