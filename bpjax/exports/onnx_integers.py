"""Products of integers in an ONNX graph, from a float graph of the rounded weights.

ONNX Runtime's own quantiser rounds a whole batch alike and tables as a whole. Here a graph computes
what the model does: the same whole numbers, scales by output channel and by row of a table, inputs
rounded by token or by batch.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from bpjax.exports.onnx_passes import MICROSOFT, drop_unread, import_microsoft
from bpjax.models.layers.quantization import Quantization, largest, round_array

_SMALLEST = np.float32(1e-30)  # instead of a scale of 0, of a token of zeros


def to_integers(onnx: Any, model: Any, quantization: Quantization) -> None:
    """Turns each product with a weight, and each table, into integers, in place.

    Args:
      onnx: the package.
      model: of it, whose weights are those of `quantize.dequantize`.
      quantization: how they were rounded.
    """
    graph = model.graph
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]].T
    matrices = {k: x for k, x in weights.items() if x.ndim == 2 and x.dtype == np.float32}
    writer = _Writer(onnx, quantization)
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in matrices:
            writer.table(node, matrices[node.input[0]])
        elif node.op_type in ("MatMul", "Gemm") and node.input[1] in matrices:
            writer.product(node, matrices[node.input[1]])
        else:
            writer.nodes.append(node)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend(writer.arrays.values())
    drop_unread(graph)
    import_microsoft(onnx, model)


class _Writer:
    """Nodes and arrays of a graph that is written anew."""

    def __init__(self, onnx: Any, quantization: Quantization) -> None:
        self.onnx, self.quantization = onnx, quantization
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self._rounded: dict[str, tuple[str, str, str]] = {}

    def table(self, node: Any, table: np.ndarray) -> None:
        """Rows of integers by number, times their scales."""
        name, ids, out = node.input[0], node.input[1], node.output[0]
        values, scale = self._weight(name, table, -1)
        rows = self._add("Gather", [values, ids], f"{out}_values")
        rows = self._add("Cast", [rows], f"{out}_cast", to=self.onnx.TensorProto.FLOAT)
        scales = self._add("Gather", [scale, ids], f"{out}_scale")
        self._add("Mul", [rows, scales], out)

    def product(self, node: Any, kernel: np.ndarray) -> None:
        """A sum of integers times both scales, and a bias where the node has one."""
        attributes = {each.name: each.i for each in node.attribute}
        kernel = kernel.T if attributes.get("transB") else kernel
        x, name, *bias = node.input
        out = node.output[0]
        values, scale = self._weight(name, kernel, 0, flat=True)
        whole, by, zero = self._inputs(x)
        unbiased = f"{out}_product" if bias else out
        if self.quantization.inputs == "tensor":
            # These four ONNX Runtime takes together, with a bias.
            sums = self._add("MatMulInteger", [whole, values, zero], f"{out}_sums")
            sums = self._add("Cast", [sums], f"{out}_cast", to=self.onnx.TensorProto.FLOAT)
            both = self._add("Mul", [by, scale], f"{out}_scale")
            self._add("Mul", [sums, both], unbiased)
        else:
            one = self._array("one", np.float32(1))
            sums = self._add(
                "MatMulIntegerToFloat",
                [whole, values, one, scale, zero],
                f"{out}_sums",
                domain=MICROSOFT,
            )
            self._add("Mul", [sums, by], unbiased)
        if bias:
            self._add("Add", [unbiased, *bias], out)

    def _inputs(self, x: str) -> tuple[str, str, str]:
        """Rounded inputs, from 0 to 255: values, scale, and what is 0 among them. Once for each."""
        if x in self._rounded:
            return self._rounded[x]
        values, scale, zero = f"{x}_values", f"{x}_scale", f"{x}_zero"
        if self.quantization.inputs == "tensor":
            self._add("DynamicQuantizeLinear", [x], [values, scale, zero])
        else:
            zero = self._array("zero", np.uint8(128))
            axis = self._array("last_axis", np.array([-1], np.int64))
            most = self._add("Abs", [x], f"{x}_abs")
            most = self._add("ReduceMax", [most, axis], f"{x}_most", keepdims=1)
            step = self._array("step", np.float32(1 / largest(8)))
            steps = self._add("Mul", [most, step], f"{x}_step")
            self._add("Max", [steps, self._array("smallest", _SMALLEST)], scale)
            exact = self._add("Div", [x, scale], f"{x}_exact")
            self._add("QuantizeLinear", [exact, self._array("one", np.float32(1)), zero], values)
        self._rounded[x] = values, scale, zero
        return self._rounded[x]

    def _weight(
        self, name: str, array: np.ndarray, axis: int, *, flat: bool = False
    ) -> tuple[str, str]:
        found = round_array(jnp.asarray(array), self.quantization.weights, axis)
        scale = np.asarray(found.scale).reshape(-1) if flat else np.asarray(found.scale)
        values = np.asarray(found.values).astype(np.int8)
        return self._array(f"{name}_int8", values), self._array(f"{name}_scale", scale)

    def _array(self, name: str, value: Any) -> str:
        if name not in self.arrays:
            self.arrays[name] = self.onnx.numpy_helper.from_array(np.asarray(value), name)
        return name

    def _add(self, kind: str, inputs: list[str], output: Any, **options: Any) -> str:
        outputs = output if isinstance(output, list) else [output]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, **options))
        return outputs[0]
