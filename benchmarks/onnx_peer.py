"""The same models in ONNX Runtime."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bpjax.exports.onnx_graph import start_session
from bpjax.report.environment import count_cores


def ort_call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """ONNX Runtime on this model, exported at the shape of the inputs, all optimisations on."""
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
        session = start_session(path, count_cores())
    fed = {name: value.numpy() for name, value in inputs.items()}
    return lambda: session.run(None, fed)
