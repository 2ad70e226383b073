"""ONNX, by way of PyTorch: its exporter is well kept, and ONNX Runtime knows its graphs."""

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bpjax import models
from bpjax.errors import UserError
from bpjax.exports.huggingface import CODE, add_code
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import EMBEDDING
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.inputs import TOKEN_TYPES
from bpjax.models.sources import CONFIG, WEIGHTS

FILE = "model.onnx"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def to_onnx(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Puts `model.onnx`, which takes any batch and length, in place of a folder's weights.

    Inputs and outputs are called as in transformers: int64 `input_ids`, `attention_mask` and, where
    the model has them, `token_type_ids`; `logits`, or `start_logits` and `end_logits`, or
    `last_hidden_state`, or `sentence_embedding`. Where layers differ, config.json says 1 head: ONNX
    Runtime's optimizer wants a number that divides the hidden size, though no layer is fused by it.

    Raises:
      UserError: a package of the extra `onnx` is missing.
    """
    torch, transformers, onnx, *_ = map(_import, ("torch", "transformers", *_NEEDED))
    plain = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    add_code(config, params, folder)
    head = HEADS[config.head]
    auto = getattr(transformers, head.auto_class)
    model, told = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    if told["missing_keys"]:  # a pooler, of a model without a head
        model.pooler = None
    for table in model.modules():
        if isinstance(table, torch.nn.Embedding):
            table.register_forward_pre_hook(_require_row)
    # Zeros, which all have: there may be but one segment. A tensor each: the exporter takes one
    # that is given twice for one input.
    shape = (2, config.max_positions)
    example = {
        each.name: torch.full(shape, int(each.is_mask), dtype=torch.long)
        for each in models.inputs(config)
        if each.below != 0
    }
    names = list(example)
    if config.head == EMBEDDING:
        model = _pooled(torch, model, models.architecture(config).embedding(config))
    given = model.eval()(**{name: x[:1, :2] for name, x in example.items()})
    outputs = [name for name in head.onnx_outputs if name in given]
    sizes = {
        0: torch.export.Dim("batch", min=1),
        1: torch.export.Dim("length", min=1, max=config.max_positions),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own code
        torch.onnx.export(
            model,
            args=(),
            kwargs=example,
            f=folder / FILE,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=dict.fromkeys(names, sizes),
            dynamo=True,
            verbose=False,
            external_data=False,
        )
    _drop_shapes_of_weights(onnx, folder / FILE)
    heads = model.config.attribute_map.get("num_attention_heads", "num_attention_heads")
    if plain.get(heads) == 0:
        plain[heads] = 1
    # Without the code, which goes again.
    (folder / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    for name in (WEIGHTS, CODE):
        (folder / name).unlink(missing_ok=True)


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


def _require_row(table: Any, given: tuple[Any]) -> tuple[Any]:
    """Makes negative ids too large ones, which are an error: ONNX counts them from the end."""
    (ids,) = given
    return (ids.where(ids >= 0, table.num_embeddings),)


def open_onnx(config: Config, folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, in ONNX Runtime on CPU, as a function of a batch: answers as bpjax's."""
    del config
    session = start_session(folder / FILE)
    inputs = [each.name for each in session.get_inputs()]
    # Start and end, say, which are the columns of our logits.
    apart = all(each.name.endswith("_logits") for each in session.get_outputs())

    def call(batch: dict[str, Any]) -> np.ndarray:
        found = session.run(None, {name: np.asarray(batch[name], np.int64) for name in inputs})
        return np.stack(found, axis=-1) if apart else found[0]

    return call


def start_session(path: Path, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` whose threads sleep between calls.

    By default they wait for the next call by spinning, on the cores of whose turn it is.

    Args:
      path: of the model.
      threads: for one operation; 0 leaves it to ONNX Runtime.
    """
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"export to onnx needs {name}, which is not installed; pip install 'bpjax[onnx]'"
        ) from error
