"""One ONNX graph: how it is exported, and how ONNX Runtime starts it."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError


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


def export_graph(graph: Graph, folder: Path) -> None:
    """Writes an ONNX file.

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
            verbose=False,
            external_data=False,
        )
    _drop_shapes_of_weights(onnx, path)


def _drop_shapes_of_weights(onnx: Any, path: Path) -> None:
    """Removes from an ONNX file the shapes of weights, which they have themselves.

    ONNX Runtime's `quantize_dynamic` transposes weights and would find that they contradict.
    """
    model = onnx.load(path, load_external_data=False)
    weights = {each.name for each in model.graph.initializer}
    others = [each for each in model.graph.value_info if each.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    onnx.save(model, path)


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
