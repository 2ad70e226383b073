"""What the kernels of a model are multiplied with, on real rows."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.models.config import BertConfig
from bpjax.models.layers import Linear, SelfAttention
from bpjax.training.evaluation import Batch, apply


def input_norms(
    config: BertConfig, params: dict, batches: Iterable[Batch]
) -> dict[str, Float[Array, " in"]]:
    """Root mean square of each input dimension of the encoder's kernels, over real tokens.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.

    Returns:
      By the kernel's path, such as "layer_0/ffn/in".
    """

    @jax.jit
    def add(params: dict, batch: Batch, sums: dict) -> tuple[dict, Array]:
        real = (batch["attention_mask"] * (batch["weight"] > 0)[:, None]).reshape(-1, 1)
        found: dict[str, Array] = {}

        def record(path: tuple[str, ...], x: Array) -> None:
            found["/".join(path)] = jnp.sum(jnp.square(x.astype(jnp.float32)) * real, axis=0)

        def listen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            if context.method_name == "__call__" and len(module.path) > 1:  # not pooler nor head
                if isinstance(module, Linear):
                    record(module.path, args[0])
                elif isinstance(module, SelfAttention) and module.heads:
                    for name in ("query", "key", "value"):  # which are one product
                        record((*module.path, name), args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(listen):
            apply(config, params, batch)
        return {path: sums.get(path, 0.0) + x for path, x in found.items()}, real.sum()

    sums: dict[str, Array] = {}
    tokens = jnp.zeros(())
    for batch in batches:
        sums, count = add(params, batch, sums)
        tokens += count
    return {path: jnp.sqrt(x / tokens) for path, x in sums.items()}
