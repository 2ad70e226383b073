"""Models for transformers in PyTorch: of the sizes left, or padded to the dense ones."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bpjax.models.config import BertConfig
from bpjax.models.families import FAMILIES
from bpjax.models.names import SHRUNKEN_KEY, tensor_table
from bpjax.models.pretrained import save_pretrained
from bpjax.models.sources import CONFIG

AUTO_CLASSES = {
    "none": "AutoModel",
    "span": "AutoModelForQuestionAnswering",
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
}
"""The class of transformers that loads a model, by its head."""

_MODELING = Path(__file__).with_name("modeling_bpjax.py.txt")


def pad(config: BertConfig, params: dict[str, Any]) -> tuple[BertConfig, dict[str, Any]]:
    """A model of equal layers that computes the same: heads and dimensions of zeros are added.

    A head whose values are zero adds nothing, and neither does a dimension that nobody reads; the
    activation of zero is zero. It is as large and as slow as the model before pruning.

    Args:
      config: of any model.
      params: its parameters.
    """
    heads = config.hidden_size // config.head_dim
    _, before = config.original or ((), ())
    size = max((*config.intermediate, *before, 1))
    layers = config.num_layers
    dense = config.replace(heads=(heads,) * layers, intermediate=(size,) * layers, original=None)
    flat = traverse_util.flatten_dict(params, sep="/")
    padded = {}
    for path, tensor in tensor_table(dense).items():
        value = np.zeros(tensor.shape, np.float32)
        if path in flat:
            found = np.asarray(flat[path])
            value[tuple(map(slice, found.shape))] = found
        padded[path] = jnp.asarray(value)
    return dense, traverse_util.unflatten_dict(padded, sep="/")


def save_padded(config: BertConfig, params: dict[str, Any], tokenizer: Path, folder: Path) -> None:
    """Saves a plain Hugging Face folder of the dense sizes, which needs no code of ours.

    Args:
      config: of any model.
      params: its parameters.
      tokenizer: folder whose tokenizer files are copied.
      folder: to make.

    Raises:
      UserError: the folder holds something already, or cannot be written.
    """
    save_pretrained(folder, *pad(config, params), tokenizer)


def save_ragged(config: BertConfig, params: dict[str, Any], tokenizer: Path, folder: Path) -> None:
    """Saves a Hugging Face folder of the sizes that are left, with the code that loads it.

    `AutoModelFor….from_pretrained(folder, trust_remote_code=True)` in PyTorch then gives the small
    model; bpjax loads it too. A dense model needs no code, and gets none. Takes and raises what
    `save_padded` does.
    """
    save_pretrained(
        folder, config, params, tokenizer, finish=lambda written: add_code(config, written)
    )


def add_code(config: BertConfig, folder: Path) -> None:
    """Adds to a saved model, if it is a shrunken one, the code that loads it in transformers."""
    path = folder / CONFIG
    data = json.loads(path.read_text(encoding="utf-8"))
    if SHRUNKEN_KEY not in data:
        return
    classes = FAMILIES[config.family].classes
    data["auto_map"] = {
        auto: f"modeling_bpjax.Bpjax{classes[head]}" for head, auto in AUTO_CLASSES.items()
    }
    (folder / "modeling_bpjax.py").write_text(_MODELING.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
