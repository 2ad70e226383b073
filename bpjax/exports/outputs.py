"""What an exported model is to give: the same as this function."""

from typing import Any

from jaxtyping import Array, Float

from bpjax import models
from bpjax.models.architecture import Config, Outputs


def outputs_of(
    config: Config, params: dict[str, Any], batch: dict[str, Any]
) -> Float[Array, "batch *answer"]:
    """A model's logits, or without a head its last hidden states."""
    inputs = {each.name: batch[each.name] for each in models.inputs(config)}
    outputs: Outputs = models.build(config).apply({"params": params}, **inputs)  # type: ignore[assignment]
    found = outputs.hidden if outputs.logits is None else outputs.logits
    assert found is not None
    return found
