"""The same models in ONNX Runtime."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

from bpjax.exports.onnx_graph import OPSET, start_session
from bpjax.exports.onnx_passes import speed_up
from bpjax.report.environment import count_cores


def ort_call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """ONNX Runtime on this model, exported at the shape of the inputs, all optimisations on.

    With the operators that it is fastest at, as bpjax exports them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            args=(),
            kwargs=inputs,
            f=path,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            external_data=False,
        )
        exported = onnx.load(path)
        speed_up(onnx, exported)
        onnx.save(exported, path)
        session = start_session(path, count_cores())
    fed = {name: value.numpy() for name, value in inputs.items()}
    return lambda: session.run(None, fed)
