"""Models for transformers in PyTorch: of the sizes left, or padded to the dense ones."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bpjax import models
from bpjax.models.architecture import Config
from bpjax.models.heads import HEADS
from bpjax.models.quantize import dequantize
from bpjax.models.sizes import SHRUNKEN_KEY
from bpjax.models.sources import CARD, CONFIG

CODE = "modeling_bpjax.py"


def pad(config: Config, params: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """A model of equal layers that computes the same: heads and dimensions of zeros are added.

    It loads in transformers as a plain model, without code of ours. A head whose values are zero
    adds nothing, and neither does a dimension that nobody reads; the activation of zero is zero. It
    is as large and as slow as the model before pruning.

    Args:
      config: of any model.
      params: its parameters.

    Raises:
      UserError: a model without layer norms.
    """
    config, params = dequantize(config, params)
    dense = models.architecture(config).pad(config)
    flat = traverse_util.flatten_dict(params, sep="/")
    padded = {}
    for path, tensor in models.architecture(dense).tensors(dense).items():
        value = np.zeros(tensor.shape, np.float32)
        if path in flat:
            found = np.asarray(flat[path])
            value[tuple(map(slice, found.shape))] = found
        padded[path] = jnp.asarray(value)
    return dense, traverse_util.unflatten_dict(padded, sep="/")


def add_code(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Adds to a saved model the code that loads it in transformers; a dense one needs none.

    `AutoModelFor….from_pretrained(folder, trust_remote_code=True)` in PyTorch then gives the model
    of the sizes that are left; bpjax loads it too, and what PyTorch saves of it.
    """
    del params
    path = folder / CONFIG
    data = json.loads(path.read_text(encoding="utf-8"))
    if SHRUNKEN_KEY not in data:
        return
    architecture = models.architecture(config)
    classes = architecture.heads(config.model_type)
    if architecture.torch_code is None:
        return
    stem = classes["none"].removesuffix("Model")
    named = {HEADS[head].auto_class: name for head, name in classes.items()}
    named |= {f"AutoModel{head}": f"{stem}{head}" for head in architecture.torch_heads}
    data["auto_map"] = {auto: f"modeling_bpjax.Bpjax{name}" for auto, name in named.items()}
    (folder / CODE).write_text(architecture.torch_code.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def drop_card(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Removes the model card: a padded model is neither small nor fast."""
    del config, params
    (folder / CARD).unlink(missing_ok=True)
