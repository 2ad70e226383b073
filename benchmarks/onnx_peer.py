"""The same models in ONNX Runtime."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from bpjax.report.environment import count_cores


def ort_call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """ONNX Runtime on this model, exported at the shape of the inputs, all optimisations on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    # Its threads would else wait for the next call by spinning, on the cores of whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            args=(),
            kwargs=inputs,
            f=path,
            dynamo=True,
            verbose=False,
            external_data=False,
        )
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fed = {name: value.numpy() for name, value in inputs.items()}
    return lambda: session.run(None, fed)
