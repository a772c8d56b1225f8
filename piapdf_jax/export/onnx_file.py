"""A list of operations as an .onnx file. The package ``onnx`` is imported inside the functions."""

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from piapdf_jax.detector_runtimes import sealed
from piapdf_jax.export.operations import (
    Conv,
    Dense,
    MaxPool,
    Mean,
    Normalize,
    Operation,
    Relu,
    Residual,
    Resize,
    Sigmoid,
    SqueezeExcite,
    Swish,
)

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "images", "probabilities"


def write_onnx(
    path: pathlib.Path,
    operations: Sequence[Operation],
    *,
    image_size: int,
    units: int,
    dtype: str = "float32",
    input_type: str = "uint8",
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes the file.

    Args:
        path: of the file.
        operations: as ``operations.light_detector`` lists them.
        image_size: side S of the images.
        units: number of probabilities, C.
        dtype: of weights and arithmetic behind the normalization.
        input_type: ``uint8`` for images [B, S, S, 3] of 0 to 255, ``float32`` for 0 to 1.
        metadata: properties to store in the file, by name; the checksum of its content is added.
    """
    import onnx
    from onnx import helper

    graph = _Graph(dtype)
    graph.fill(operations, input_type)
    kinds = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
    sides = ["batch", image_size, image_size, 3]
    entry = helper.make_tensor_value_info(INPUT, kinds[input_type], sides)
    last = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", units])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "light_detector", [entry], [last], graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="piapdf_jax",
    )
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(sealed(model.SerializeToString()))


class _Graph:
    """Nodes and constants; channels come first between the input and the mean over pixels."""

    def __init__(self, dtype: str):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._half = dtype == "float16"
        self._dtype = np.dtype(dtype)

    def fill(self, operations: Sequence[Operation], input_type: str) -> None:
        """Adds all, from the input to the output."""
        made = self.add_input(input_type)
        for operation in operations:
            made = self.add(operation, made)
        self.node("Identity", [made], OUTPUT)

    def add_input(self, input_type: str) -> str:
        x = INPUT
        if input_type == "uint8":
            x = self._cast(x, np.float32)
            x = self.node("Mul", [x, self._constant(np.float32(1) / np.float32(255), "pixel")])
        return self.node("Transpose", [x], perm=[0, 3, 1, 2])

    def add(self, operation: Operation, x: str) -> str:
        """Adds an operation on x; returns the name of what it makes."""
        return _EMITTERS[type(operation)](self, operation, x)

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, op: Conv, x: str) -> str:
        (top, bottom), (left, right) = op.padding
        kernel = np.ascontiguousarray(op.kernel.transpose(3, 2, 0, 1))
        return self.node(
            "Conv",
            [x, self._weight(kernel), self._weight(op.bias)],
            kernel_shape=list(kernel.shape[2:]),
            strides=[op.stride] * 2,
            pads=[top, left, bottom, right],
            group=op.groups,
        )

    def resize(self, op: Resize, x: str) -> str:
        x = self.node("MatMul", [self._constant(op.rows, "rows"), x])
        return self.node(
            "MatMul", [x, self._constant(np.ascontiguousarray(op.columns.T), "columns")]
        )

    def normalize(self, op: Normalize, x: str) -> str:
        x = self.node("Mul", [x, self._constant(op.scale[None, :, None, None], "scale")])
        x = self.node("Add", [x, self._constant(op.shift[None, :, None, None], "shift")])
        return self._cast(x, np.float16) if self._half else x

    def swish(self, _: Swish, x: str) -> str:
        return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def squeeze_excite(self, op: SqueezeExcite, x: str) -> str:
        gate = self.node("GlobalAveragePool", [x])
        gate = self.conv(op.expand, self.swish(Swish(), self.conv(op.reduce, gate)))
        return self.node("Mul", [x, self.node("Sigmoid", [gate])])

    def residual(self, op: Residual, x: str) -> str:
        y = x
        for operation in op.branch:
            y = self.add(operation, y)
        for operation in op.shortcut:
            x = self.add(operation, x)
        return self.node("Add", [x, y])

    def relu(self, _: Relu, x: str) -> str:
        return self.node("Relu", [x])

    def max_pool(self, op: MaxPool, x: str) -> str:
        return self.node(
            "MaxPool",
            [x],
            kernel_shape=[op.size] * 2,
            strides=[op.stride] * 2,
            pads=[op.padding] * 4,
        )

    def mean(self, _: Mean, x: str) -> str:
        return self.node("Flatten", [self.node("GlobalAveragePool", [x])], axis=1)

    def dense(self, op: Dense, x: str) -> str:
        x = self.node("Gemm", [x, self._weight(op.kernel), self._weight(op.bias)])
        return self._cast(x, np.float32) if self._half else x

    def sigmoid(self, _: Sigmoid, x: str) -> str:
        return self.node("Sigmoid", [x])

    def _cast(self, x: str, dtype: npt.DTypeLike) -> str:
        from onnx import helper

        return self.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _weight(self, value: np.ndarray) -> str:
        return self._constant(value.astype(self._dtype), "parameter")

    def _constant(self, value: npt.ArrayLike, name: str) -> str:
        from onnx import numpy_helper

        name = f"{name}_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name


_EMITTERS: dict[type, Callable[..., str]] = {
    Conv: _Graph.conv,
    Resize: _Graph.resize,
    Normalize: _Graph.normalize,
    Swish: _Graph.swish,
    Relu: _Graph.relu,
    MaxPool: _Graph.max_pool,
    SqueezeExcite: _Graph.squeeze_excite,
    Residual: _Graph.residual,
    Mean: _Graph.mean,
    Dense: _Graph.dense,
    Sigmoid: _Graph.sigmoid,
}
