"""Changes of an exported ONNX graph that make ONNX Runtime faster and leave the answers.

Attention becomes MultiHeadAttention, an operator of ONNX Runtime: it takes heads side by side,
where the exporter lays them out as an axis of their own, and ONNX Runtime's quantiser leaves it
alone, which takes ONNX's own Attention for another operator of that name. A sum before a
LayerNormalization is written as Sum: ONNX Runtime would fuse an Add with it into an operator that
is slower on CPUs than the two.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

MICROSOFT = "com.microsoft"
"""Domain of operators that ONNX Runtime alone has."""


def speed_up(onnx: Any, model: Any) -> None:
    """Makes both changes, in place.

    Args:
      onnx: the package.
      model: of it.
    """
    _join_heads(onnx, model)
    nodes = model.graph.node
    normalized = {node.input[0] for node in nodes if node.op_type == "LayerNormalization"}
    for node in nodes:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"


def import_microsoft(onnx: Any, model: Any) -> None:
    """Says that a model uses operators of ONNX Runtime."""
    if all(each.domain != MICROSOFT for each in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))


def _join_heads(onnx: Any, model: Any) -> None:
    graph = model.graph
    found = _Graph(graph)
    nodes, biases = [], {}
    for node in graph.node:
        nodes.append(node)
        after = found.joined(node.output[0]) if node.op_type == "Attention" else None
        query = found.flat(node.input[0]) if after is not None else None
        options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        plain = len(node.input) <= 4 and len(node.output) == 1 and not options.get("is_causal")
        if query is None or not plain or options.get("softcap"):
            continue
        keys = [found.flat(name) for name in node.input[1:3]]
        mask = node.input[3] if len(node.input) > 3 else ""
        if mask and mask not in biases:
            nodes.insert(-1, _bias(onnx, graph, mask))
            biases[mask] = nodes[-2].output[0]
        # Keys and values that are kept for later tokens stay as they are, which is allowed as well.
        heads = found.shapes[node.input[0]].dim[1].dim_value
        inputs = [query, *(keys if None not in keys else node.input[1:3])]
        nodes[-1] = onnx.helper.make_node(
            "MultiHeadAttention",
            [*inputs, *(["", "", biases[mask]] if mask else [])],
            [after],
            domain=MICROSOFT,
            num_heads=heads,
            **({"scale": options["scale"]} if "scale" in options else {}),
        )
    made = {name for node in nodes if node.op_type == "MultiHeadAttention" for name in node.output}
    kept = [x for x in nodes if x.op_type == "MultiHeadAttention" or not made & {*x.output}]
    del graph.node[:]
    graph.node.extend(kept)
    if made:
        import_microsoft(onnx, model)
        drop_unread(graph)


def _bias(onnx: Any, graph: Any, mask: str) -> Any:
    """What is added to scores, from a mask of the pairs that meet: made once for all layers."""
    values = {"met": np.zeros((), np.float32), "apart": np.array(np.finfo(np.float32).min)}
    known = {each.name for each in graph.initializer}
    for name, value in values.items():
        if name not in known:
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return onnx.helper.make_node("Where", [mask, *values], [f"{mask}_bias"])


class _Graph:
    """Who makes and who reads what, and of what shape it is."""

    def __init__(self, graph: Any) -> None:
        self.made = {name: node for node in graph.node for name in node.output}
        self.readers = collections.defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {each.name for each in graph.output}
        self.shapes: Mapping[str, Any] = {
            each.name: each.type.tensor_type.shape for each in graph.value_info
        }

    def flat(self, name: str) -> str | None:
        """`[batch, length, heads · dim]` of what is `[batch, heads, length, dim]`, if it was so."""
        turned = self.made.get(name)
        if turned is None or turned.op_type != "Transpose" or _order(turned) != [0, 2, 1, 3]:
            return None
        shaped = self.made.get(turned.input[0])
        return shaped.input[0] if shaped is not None and shaped.op_type == "Reshape" else None

    def joined(self, name: str) -> str | None:
        """The same behind a node: what puts heads side by side; None where others read them."""
        for kind in ("Transpose", "Reshape"):
            (reader, *others) = self.readers[name] or [None]
            if name in self.outputs or others or reader is None or reader.op_type != kind:
                return None
            if kind == "Transpose" and _order(reader) != [0, 2, 1, 3]:
                return None
            name = reader.output[0]
        return name


def _order(node: Any) -> list[int]:
    (attribute,) = node.attribute
    return [*attribute.ints]


def drop_unread(graph: Any) -> None:
    """Removes nodes and arrays that nobody reads."""
    kept = {each.name for each in graph.output}
    while True:
        read = {name for node in graph.node for name in node.input} | kept
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for array in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(array)
