"""Changes of an exported ONNX graph that make ONNX Runtime faster and leave the answers.

The exporter lays heads out as an axis of their own around each operator Attention, which takes them
side by side as well. And a sum before a LayerNormalization is written as Sum: ONNX Runtime would
fuse an Add with it into an operator that is slower on CPUs than the two.
"""

import collections
from collections.abc import Mapping
from typing import Any


def speed_up(onnx: Any, model: Any) -> None:
    """Makes both changes, in place.

    Args:
      onnx: the package.
      model: of it.
    """
    _flatten_attention(onnx, model.graph)
    _keep_sums(onnx, model.graph)


def _keep_sums(onnx: Any, graph: Any) -> None:
    normalized = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"


def _flatten_attention(onnx: Any, graph: Any) -> None:
    """Gives Attention `[batch, length, heads · dim]`, where it has no use for anything else."""
    made = {name: node for node in graph.node for name in node.output}
    readers = collections.defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    kept = {each.name for each in graph.output}
    for node in graph.node:
        if node.op_type != "Attention" or len(node.input) > 4 or len(node.output) > 1:
            continue
        flat = [_flat_input(made, name) for name in node.input[:3]]
        heads = _heads(onnx, graph, made, node)
        after = _flat_output(readers, kept, node.output[0])
        if None in flat or after is None or heads is None:
            continue
        node.input[:3] = flat
        node.output[:] = [after.output[0]]
        for name in ("q_num_heads", "kv_num_heads"):
            node.attribute.append(onnx.helper.make_attribute(name, heads))
        after.output[:] = [f"{after.output[0]}_unused"]
    _drop_unread(graph, kept)


def _flat_input(made: Mapping[str, Any], name: str) -> str | None:
    """What was reshaped to `[batch, length, heads, dim]` and transposed."""
    turned = made.get(name)
    if turned is None or turned.op_type != "Transpose" or _order(turned) != [0, 2, 1, 3]:
        return None
    shaped = made.get(turned.input[0])
    return shaped.input[0] if shaped is not None and shaped.op_type == "Reshape" else None


def _flat_output(readers: Mapping[str, Any], kept: set[str], name: str) -> Any:
    """The node that puts the heads side by side again; None where others read them apart."""
    for kind in ("Transpose", "Reshape"):
        if name in kept or len(readers[name]) != 1 or readers[name][0].op_type != kind:
            return None
        (node,) = readers[name]
        if kind == "Transpose" and _order(node) != [0, 2, 1, 3]:
            return None
        name = node.output[0]
    return node


def _heads(onnx: Any, graph: Any, made: Mapping[str, Any], node: Any) -> int | None:
    """Of an Attention whose inputs have them as an axis, from the shape that was written for it."""
    shapes = {each.name: each for each in graph.value_info}
    found = shapes.get(node.input[0])
    if found is None or len(found.type.tensor_type.shape.dim) != 4:
        return None
    return found.type.tensor_type.shape.dim[1].dim_value or None


def _order(node: Any) -> list[int]:
    (attribute,) = node.attribute
    return [*attribute.ints]


def _drop_unread(graph: Any, kept: set[str]) -> None:
    """Removes nodes whose outputs nobody reads."""
    while True:
        read = {name for node in graph.node for name in node.input} | kept
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            return
        for node in unread:
            graph.node.remove(node)
