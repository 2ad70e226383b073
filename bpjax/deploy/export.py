"""Models for other software."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bpjax.models.config import BertConfig
from bpjax.models.names import tensor_table


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
