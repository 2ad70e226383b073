"""One ONNX graph: how it is exported, and how ONNX Runtime starts it."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.exports.onnx_integers import to_integers
from bpjax.exports.onnx_passes import speed_up
from bpjax.models.layers.quantization import Quantization

OPSET = 23
"""Of ONNX; the first in which the exporter writes attention as one operator."""


class Graph(NamedTuple):
    """What one ONNX file is made of.

    Attributes:
      file: its name.
      module: of PyTorch.
      example: what that is given, by name; lists and tuples are as many inputs.
      sizes: of each of these, which of its axes may be of other sizes: `torch.export.Dim`.
      inputs: their names, in order.
      outputs: their names.
    """

    file: str
    module: Any
    example: Mapping[str, Any]
    sizes: Mapping[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]


def export_graph(graph: Graph, folder: Path, quantization: Quantization | None = None) -> None:
    """Writes an ONNX file.

    Args:
      graph: of floats.
      folder: for the file.
      quantization: how its weights were rounded, for products of integers; None for floats.

    Raises:
      UserError: a package of the extra `onnx` is missing.
    """
    torch, onnx = map(import_package, ("torch", "onnx"))
    path = folder / graph.file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own code
        torch.onnx.export(
            graph.module,
            args=(),
            kwargs=dict(graph.example),
            f=path,
            input_names=[*graph.inputs],
            output_names=[*graph.outputs],
            dynamic_shapes=dict(graph.sizes),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            external_data=False,
        )
    # Weights that lie in a file of their own stay there, unless they are to be others.
    model = onnx.load(path, load_external_data=quantization is not None)
    _drop_notes(model.graph)
    speed_up(onnx, model)
    if quantization:
        to_integers(onnx, model, quantization)
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    onnx.save(model, path)


def _drop_notes(graph: Any) -> None:
    """Removes where in PyTorch a node comes from, and shapes of weights, which have them.

    ONNX Runtime's `quantize_dynamic` transposes weights and would find that they contradict.
    """
    for node in graph.node:
        del node.metadata_props[:]
    weights = {each.name for each in graph.initializer}
    others = [each for each in graph.value_info if each.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(others)


def start_session(path: Path, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` whose threads sleep between calls.

    By default they wait for the next call by spinning, on the cores of whose turn it is.

    Args:
      path: of the model.
      threads: for one operation; 0 leaves it to ONNX Runtime.
    """
    runtime = import_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def import_package(name: str) -> Any:
    """A package of the extra `onnx`.

    Raises:
      UserError: it is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"export to onnx needs {name}, which is not installed; pip install 'bpjax[onnx]'"
        ) from error
