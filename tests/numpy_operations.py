"""A list of operations by their definitions, in NumPy and float64."""

import numpy as np

from piapdf_jax.export import operations


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, o):
    """A convolution by its definition, in float64: a sum over the places of the window."""
    x = np.pad(x, ((0, 0), *o.padding, (0, 0)))
    k, length = o.kernel.shape[:2]
    height, width = (
        (n - s) // o.stride + 1 for n, s in zip(x.shape[1:3], (k, length), strict=True)
    )
    out = 0
    for i in range(k):
        for j in range(length):
            rows = slice(i, i + o.stride * (height - 1) + 1, o.stride)
            columns = slice(j, j + o.stride * (width - 1) + 1, o.stride)
            seen = x[:, rows, columns]
            weight = o.kernel[i, j].astype(np.float64)
            out = out + (seen * weight[0] if o.groups > 1 else seen @ weight)
    return out + o.bias


def largest(x, o):
    """Max pooling by its definition: the largest over the places of the window that lie in the picture."""
    height, width = ((n + 2 * o.padding - o.size) // o.stride + 1 for n in x.shape[1:3])
    out = np.empty((len(x), height, width, x.shape[-1]))
    for i, j in np.ndindex(height, width):
        top, left = i * o.stride - o.padding, j * o.stride - o.padding
        seen = x[:, max(top, 0) : top + o.size, max(left, 0) : left + o.size]
        out[:, i, j] = seen.max((1, 2))
    return out


def run(listed, x):
    for o in listed:
        match o:
            case operations.Resize():
                x = np.einsum("oh,bhwc,pw->bopc", o.rows.astype(float), x, o.columns.astype(float))
            case operations.Normalize():
                x = x * o.scale + o.shift
            case operations.Conv():
                x = convolve(x, o)
            case operations.Swish():
                x = x * sigmoid(x)
            case operations.SqueezeExcite():
                gate = convolve(x.mean((1, 2), keepdims=True), o.reduce)
                x = x * sigmoid(convolve(gate * sigmoid(gate), o.expand))
            case operations.Relu():
                x = np.where(x > 0, x, 0)
            case operations.MaxPool():
                x = largest(x, o)
            case operations.Residual():
                x = run(o.shortcut, x) + run(o.branch, x)
            case operations.Mean():
                x = x.mean((1, 2))
            case operations.Dense():
                x = x @ o.kernel.astype(float) + o.bias
            case operations.Sigmoid():
                x = sigmoid(x)
            case _:
                raise AssertionError(o)
    return x


def convolutions(listed):
    """Yields the convolutions of a list, those inside others too."""
    for operation in listed:
        if isinstance(operation, operations.Residual):
            yield from convolutions((*operation.branch, *operation.shortcut))
        elif isinstance(operation, operations.SqueezeExcite):
            yield from operation
        elif isinstance(operation, operations.Conv):
            yield operation
