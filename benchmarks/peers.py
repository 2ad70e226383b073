"""The same models in PyTorch with transformers, eager and compiled."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

from bpjax.models.bert import BertConfig
from bpjax.models.checkpoint import save_pretrained


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
    """A batch of `bpjax.measure.latency.random_batch` as torch takes it."""
    return {name: torch.from_numpy(np.array(value)).long() for name, value in batch.items()}


def torch_call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """Inference by PyTorch, eager or compiled."""

    def call() -> Any:
        with torch.inference_mode():
            return model(**inputs).logits

    return call


def forget_compiled() -> None:
    """To be called between models: torch.compile keeps few versions of one piece of code."""
    torch._dynamo.reset()


def compile_torch(model: torch.nn.Module, *, freeze: bool = False) -> Any:
    """torch.compile for static shapes.

    Args:
      model: of `make_torch`.
      freeze: take the parameters for constants: fastest, for inference on CPU alone.
    """
    torch._inductor.config.freezing = freeze
    # Else it would go on without compiling, and say so in a log.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(model, dynamic=False)


def torch_step(
    model: Any, inputs: dict[str, torch.Tensor], autocast: str | None = None
) -> Callable[[], Any]:
    """One update: dropout, cross-entropy, clipping at 1, fused AdamW.

    Args:
      model: eager or compiled.
      inputs: of `tensors`, on the model's device.
      autocast: device type on which to compute in bfloat16; None for float32.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    labels = torch.zeros_like(inputs["input_ids"][:, 0])

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(autocast or "cpu", torch.bfloat16, enabled=autocast is not None):
            loss = model(**inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
