"""Initialization of a module's variables with as little compilation as its initializers allow."""

import hashlib
from typing import Any, TypeGuard

import flax.linen as nn
import jax
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.tree_util import KeyPath

from piapdf_jax.models.initializers import initializer_p
from piapdf_jax.types import PyTree

_Atom = Var | Literal
#: What makes a value: nothing that is known for an input.
_Source = JaxprEqn | Literal | None
#: What the arguments of a called jaxpr are where it is called.
_Arguments = dict[Var, tuple[_Atom, "_Scope"]]


def initialize(
    module: nn.Module, key: jax.Array, *inputs: PyTree, **kwargs: Any
) -> dict[str, PyTree]:
    """Returns start values of a module's variables, each by the initializer that its module names.

    Compiling an initialization costs more time than a training step. So what starts by
    ``initializers.VarianceScaling`` is drawn by NumPy, a stream for each leaf, and constants are
    filled in: the laws of ``module.init``, but other numbers than with the same key. What starts in
    any other way has the numbers of ``jax.jit(module.init)``, compiled for these leaves alone.

    Args:
        module: a Flax module.
        key: typed key, a concrete one.
        *inputs: arrays or ``jax.ShapeDtypeStruct``; the latter count as zeros where an initializer
            reads its input.
        **kwargs: static keyword arguments of the module's call.

    Returns:
        The variables, such as ``{"params": ..., "batch_stats": ...}``.
    """

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        return module.init(key, *inputs, **kwargs)

    traced, shapes = jax.make_jaxpr(init, return_shape=True)(key, *inputs)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    host, top = _HostValues(key), _Scope(traced.jaxpr, {})
    values = [
        host.value(path, leaf, *top.source(output))
        for (path, leaf), output in zip(leaves, traced.jaxpr.outvars, strict=True)
    ]
    missing = [i for i, value in enumerate(values) if value is None]
    if missing:

        def rest(key: jax.Array, *inputs: PyTree) -> list[PyTree]:
            found = jax.tree.leaves(init(key, *inputs))
            return [found[i] for i in missing]

        for i, value in zip(missing, jax.jit(rest)(key, *_filled(inputs)), strict=True):
            values[i] = value
    return jax.tree.unflatten(structure, values)


def _filled(inputs: PyTree) -> PyTree:
    """Zeros for what has a shape alone."""
    return jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, inputs
    )


class _HostValues:
    """Values of the leaves that need no compiler."""

    def __init__(self, key: jax.Array) -> None:
        self.words = [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()]
        self.drawn: dict[tuple[_Scope, int], np.ndarray] = {}

    def value(
        self, path: KeyPath, leaf: jax.ShapeDtypeStruct, source: _Source, scope: "_Scope"
    ) -> jax.Array | None:
        """Returns one leaf from what makes it, None if that is neither a law nor a constant."""
        # ``jnp.asarray`` would compile a copy for each shape.
        if _is(source, initializer_p.name):
            # What one equation makes is one parameter, even where two leaves hold it.
            place = (scope, id(source))
            if place not in self.drawn:
                drawn = source.params["law"].on_host(self._stream(path), leaf.shape)
                self.drawn[place] = drawn.astype(leaf.dtype)
            return jax.device_put(self.drawn[place])
        if _is(source, "broadcast_in_dim"):
            source, _ = scope.source(source.invars[0])
        if isinstance(source, Literal) and np.ndim(source.val) == 0:
            return jax.device_put(np.full(leaf.shape, source.val, leaf.dtype))
        return None

    def _stream(self, path: KeyPath) -> np.random.Generator:
        digest = hashlib.sha256(jax.tree_util.keystr(path).encode()).digest()
        return np.random.default_rng([*self.words, int.from_bytes(digest[:8], "little")])


#: Equations that hand on what their inner jaxpr computes, as JAX has called them from 0.10 on and
#: before. One that is missing here costs a compilation, no number.
_CALLS = ("jit", "pjit", "remat2", "checkpoint")


def _is(source: object, *names: str) -> TypeGuard[JaxprEqn]:
    return isinstance(source, JaxprEqn) and source.primitive.name in names


class _Scope:
    """A jaxpr where it is called: the equations of its variables, and what its arguments are."""

    def __init__(self, jaxpr: Jaxpr, arguments: _Arguments) -> None:
        self.equations: dict[_Atom, tuple[JaxprEqn, int]] = {
            output: (equation, i)
            for equation in jaxpr.eqns
            for i, output in enumerate(equation.outvars)
        }
        self.arguments = arguments
        self.outputs = jaxpr.outvars
        self.called: dict[int, _Scope] = {}

    def source(self, atom: _Atom) -> tuple[_Source, "_Scope"]:
        """Follows a value through calls back to what makes it.

        Returns:
            (the literal or equation, None for an input; the scope it stands in).
        """
        scope: _Scope = self
        while not isinstance(atom, Literal):
            if atom in scope.arguments:
                atom, scope = scope.arguments[atom]
                continue
            equation, i = scope.equations.get(atom, (None, 0))
            if not _is(equation, *_CALLS):
                return equation, scope
            scope = scope._call(equation)
            atom = scope.outputs[i]
        return atom, scope

    def _call(self, equation: JaxprEqn) -> "_Scope":
        if id(equation) not in self.called:
            jaxpr = equation.params["jaxpr"]
            jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
            given = ((atom, self) for atom in equation.invars)
            arguments: _Arguments = dict(zip(jaxpr.invars, given, strict=True))
            self.called[id(equation)] = _Scope(jaxpr, arguments)
        return self.called[id(equation)]
