"""ONNX, by way of PyTorch: its exporter is well kept, and ONNX Runtime knows its graphs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bpjax import models
from bpjax.errors import UserError
from bpjax.exports.huggingface import CODE, add_code
from bpjax.exports.onnx_graph import Graph, export_graph, import_package, start_session
from bpjax.exports.onnx_writer import open_writer, writer
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import EMBEDDING
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.inputs import TOKEN_TYPES
from bpjax.models.sources import CONFIG, WEIGHTS

FILE = "model.onnx"
_NEEDED = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
_HEADS = ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads")


def to_onnx(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Puts `model.onnx`, which takes any batch and length, in place of a folder's weights.

    A model that writes is three files, see `onnx_writer`. Inputs and outputs are called as in
    transformers: int64 `input_ids`, `attention_mask` and, where the model has them,
    `token_type_ids`; `logits`, or `start_logits` and `end_logits`, or `last_hidden_state`, or
    `sentence_embedding`. Where layers differ, config.json says 1 head: ONNX Runtime's optimizer
    wants a number that divides the hidden size, though no layer is fused by it.

    Raises:
      UserError: a package of the extra `onnx` is missing; a model that could write, without the
        head for it.
    """
    head = HEADS[config.head]
    if models.architecture(config).decoder and not head.generates:
        raise UserError(
            f"format onnx: a {config.model_type} model with the head {config.head!r}: expected one "
            "that writes texts; take --to=stablehlo"
        )
    torch, transformers, *_ = map(import_package, _NEEDED)
    plain = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    add_code(config, params, folder)
    auto = getattr(transformers, head.auto_class)
    model, told = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    if told["missing_keys"]:  # a pooler, of a model without a head
        model.pooler = None
    for name, table in model.named_modules():
        # Positions are counted, not given.
        if isinstance(table, torch.nn.Embedding) and "position" not in name:
            table.register_forward_pre_hook(_require_row)
    graphs = writer if head.generates else _whole
    for graph in graphs(model.eval(), config):
        export_graph(graph, folder, config.quantization)
    for name in {model.config.attribute_map.get(name, name) for name in _HEADS} & plain.keys():
        plain[name] = plain[name] or 1
    # Without the code, which goes again.
    (folder / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    for name in (WEIGHTS, CODE):
        (folder / name).unlink(missing_ok=True)


def _whole(model: Any, config: Config) -> Iterator[Graph]:
    """The model in one graph."""
    torch, head = import_package("torch"), HEADS[config.head]
    # Zeros, which all have: there may be but one segment. A tensor each: the exporter takes one
    # that is given twice for one input.
    shape = (2, config.max_positions)
    example = {
        each.name: torch.full(shape, int(each.is_mask), dtype=torch.long)
        for each in models.inputs(config)
        if each.below != 0
    }
    if config.head == EMBEDDING:
        model = _pooled(torch, model, models.architecture(config).embedding(config))
    given = model.eval()(**{name: x[:1, :2] for name, x in example.items()})
    outputs = [name for name in head.onnx_outputs if name in given]
    sizes = {
        0: torch.export.Dim("batch", min=1),
        1: torch.export.Dim("length", min=1, max=config.max_positions),
    }
    yield Graph(FILE, model, example, dict.fromkeys(example, sizes), [*example], outputs)


def _require_row(table: Any, given: tuple[Any]) -> tuple[Any]:
    """Makes negative ids too large ones, which are an error: ONNX counts them from the end."""
    (ids,) = given
    return (ids.where(ids >= 0, table.num_embeddings),)


def _pooled(torch: Any, encoder: Any, embedding: Embedding) -> Any:
    """The encoder with what makes an embedding of its states, as `Embedding.pool` does."""

    class Pooled(torch.nn.Module):
        config = encoder.config

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(
            self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None
        ) -> dict[str, Any]:
            types = {} if token_type_ids is None else {TOKEN_TYPES: token_type_ids}
            states = self.encoder(input_ids, attention_mask, **types).last_hidden_state
            real = attention_mask[:, :, None].to(states.dtype)
            ways = {
                "cls": lambda: states[:, 0],
                "max": lambda: states.masked_fill(real == 0, float("-inf")).amax(1),
                "mean": lambda: (states * real).sum(1) / real.sum(1).clamp(min=1e-9),
            }
            found = torch.cat([ways[name]() for name in embedding.pooling], dim=-1)
            if embedding.normalize:
                found = torch.nn.functional.normalize(found, dim=-1)
            return {"sentence_embedding": found}

    return Pooled()


def open_onnx(config: Config, folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, in ONNX Runtime on CPU, as a function of a batch: answers as bpjax's."""
    if HEADS[config.head].generates:
        return open_writer(folder)
    session = start_session(folder / FILE)
    inputs = [each.name for each in session.get_inputs()]
    # Start and end, say, which are the columns of our logits.
    apart = all(each.name.endswith("_logits") for each in session.get_outputs())

    def call(batch: dict[str, Any]) -> np.ndarray:
        found = session.run(None, {name: np.asarray(batch[name], np.int64) for name in inputs})
        return np.stack(found, axis=-1) if apart else found[0]

    return call
