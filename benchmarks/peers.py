"""The same models in other software: PyTorch with transformers, torch.compile, ONNX Runtime."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from safetensors.torch import load_file

from bpjax.models.config import BertConfig
from bpjax.models.pretrained import save_pretrained
from bpjax.report.environment import count_cores


def make_torch(config: BertConfig, params: dict) -> torch.nn.Module:
    """Our classifier in transformers: the same sizes, ragged ones included, the same weights."""
    layers = len(config.heads)
    dense_heads = config.hidden_size // config.head_dim
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=dense_heads,
            intermediate_size=max(config.intermediate),
            num_labels=config.num_labels,
        )
    )
    hidden = config.hidden_size
    for layer, heads, size in zip(
        model.bert.encoder.layer, config.heads, config.intermediate, strict=True
    ):
        inner = heads * config.head_dim
        attention = layer.attention.self
        attention.num_attention_heads, attention.all_head_size = heads, inner
        for name in ("query", "key", "value"):
            setattr(attention, name, torch.nn.Linear(hidden, inner))
        layer.attention.output.dense = torch.nn.Linear(inner, hidden)
        layer.intermediate.dense = torch.nn.Linear(hidden, size)
        layer.output.dense = torch.nn.Linear(size, hidden)
    with tempfile.TemporaryDirectory() as folder:
        saved = save_pretrained(Path(folder) / "model", config, params)
        model.load_state_dict(load_file(saved / "model.safetensors"))
    return model.eval()


def tensors(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A batch of `bpjax.deploy.latency.random_batch` as torch takes it."""
    return {name: torch.from_numpy(np.array(value)).long() for name, value in batch.items()}


def torch_call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """Inference by PyTorch, eager or compiled."""

    def call() -> Any:
        with torch.inference_mode():
            return model(**inputs).logits

    return call


def compile_torch(model: torch.nn.Module) -> Any:
    """torch.compile at its fastest on CPU: parameters frozen, shapes static."""
    torch._inductor.config.freezing = True
    return torch.compile(model, dynamic=False)


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


def torch_step(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """One update: dropout, cross-entropy, clipping at 1, fused AdamW."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(**inputs, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
