"""A model in few bits, without training."""

import dataclasses
from pathlib import Path

from bpjax.api.model import opened
from bpjax.models import quantize as rounding
from bpjax.prediction.model import Model


def quantize(model: Model | str | Path, preset: str = "int8") -> Model:
    """Rounds a model's weights to few bits, and the inputs of its products as they come.

    `config.quantize` of a run does the same, and trains for it where that is asked.

    Args:
      model: a model, or what `load` takes; it is not changed.
      preset: bits of kernels, with a scale for each output channel, and of tables of embeddings,
        with one for each row: "int8", "int6" or "int4". Inputs of products have 8 bits in all, with
        a scale for each token; with "int8_tensor" one for the whole batch, as ONNX Runtime's
        fastest operators have it. Biases, norms and attention stay float32. Of less than 8 bits
        each number still takes a byte.

    Returns:
      The model. `save` writes a quarter of the bytes; `export` to "hf" the rounded weights as
      float32.

    Raises:
      UserError: as `load`; an unknown preset, a model that is quantised already, or weights that
        are not finite.

    Example:
      >>> import bpjax
      >>> model = bpjax.quantize("runs/quickstart/fill/model")
      >>> model.params["layer_0"]["ffn"]["in"]["kernel"].dtype.name
      'int8'
    """
    found = opened(model)
    config, params = rounding.quantize(found.config, found.params, preset)
    return dataclasses.replace(found, config=config, params=params)
