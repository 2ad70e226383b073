"""ONNX, by way of PyTorch: its exporter is well kept, and ONNX Runtime knows its graphs."""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.deploy.answer import INPUTS
from bpjax.deploy.huggingface import AUTO_CLASSES, add_code
from bpjax.errors import UserError
from bpjax.models.config import BertConfig
from bpjax.models.families import FAMILIES
from bpjax.models.pretrained import save_pretrained
from bpjax.models.sources import WEIGHTS

FILE = "model.onnx"


def save_onnx(config: BertConfig, params: dict[str, Any], tokenizer: Path, folder: Path) -> None:
    """Saves config, tokenizer files and `model.onnx`, which takes any batch and length.

    Inputs and outputs are called as in transformers: int64 `input_ids`, `attention_mask` and, where
    the model has them, `token_type_ids`; `logits`, or `start_logits` and `end_logits`, or
    `last_hidden_state`. Takes and raises what `save_padded` does.

    Raises:
      UserError: also where a package of the extra `onnx` is missing.
    """
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        _import(name)

    def add_file(written: Path) -> None:
        add_code(config, written)
        _convert(config, written)
        for name in (WEIGHTS, "modeling_bpjax.py"):
            (written / name).unlink(missing_ok=True)

    save_pretrained(folder, config, params, tokenizer, finish=add_file)


def open_onnx(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, in ONNX Runtime on CPU, as a function of a batch: answers as bpjax's."""
    session = _import("onnxruntime").InferenceSession(
        folder / FILE, providers=["CPUExecutionProvider"]
    )
    inputs = [each.name for each in session.get_inputs()]
    is_span = session.get_outputs()[0].name == "start_logits"

    def call(batch: dict[str, Any]) -> np.ndarray:
        found = session.run(None, {name: np.asarray(batch[name], np.int64) for name in inputs})
        return np.stack(found, axis=-1) if is_span else found[0]

    return call


def _convert(config: BertConfig, folder: Path) -> None:
    torch, transformers = _import("torch"), _import("transformers")
    family = FAMILIES[config.family]
    auto = getattr(transformers, AUTO_CLASSES[config.head])
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    sizes = {
        0: torch.export.Dim("batch", min=1),
        1: torch.export.Dim("length", min=1, max=config.max_positions),
    }
    names = [name for name in INPUTS if family.token_types or name != "token_type_ids"]
    states = ["last_hidden_state"] + ["pooler_output"] * bool(family.base_pooler)
    # A tensor each: the exporter takes one that is given twice for one input.
    example = {name: torch.ones((2, config.max_positions), dtype=torch.long) for name in names}
    outputs = {"none": states, "span": ["start_logits", "end_logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own code
        torch.onnx.export(
            model,
            args=(),
            kwargs=example,
            f=folder / FILE,
            input_names=names,
            output_names=outputs.get(config.head, ["logits"]),
            dynamic_shapes=dict.fromkeys(names, sizes),
            dynamo=True,
            verbose=False,
            external_data=False,
        )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"export to onnx needs {name}, which is not installed; pip install 'bpjax[onnx]'"
        ) from error
