"""What the layers of a model meet on real rows."""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.models.config import BertConfig
from bpjax.models.layers import Linear, SelfAttention
from bpjax.training.evaluation import Batch, apply, real_tokens

Reader = Callable[[Any, Array], dict[str, Float[Array, "tokens n"]]]
"""`(module, its input) -> what to average over tokens`, by name within the module."""


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

    def read(module: Any, x: Array) -> dict[str, Array]:
        names: tuple[str, ...] = ()
        if isinstance(module, Linear) and len(module.path) > 1:  # not pooler nor head
            names = ("",)
        elif isinstance(module, SelfAttention) and module.heads:
            names = ("query", "key", "value")  # which are one product
        return {name: jnp.square(x.astype(jnp.float32)) for name in names}

    means = token_means(config, params, batches, read)
    return {path: jnp.sqrt(x) for path, x in means.items()}


def token_means(
    config: BertConfig,
    params: dict,
    batches: Iterable[Batch],
    read: Reader,
    masks: dict | None = None,
    replaced: Callable[[Batch], dict] = lambda batch: {},
) -> dict[str, Float[Array, " n"]]:
    """Averages over real tokens of something that modules are called with.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      read: what of each module.
      masks: the collection `masks` of a masked model.
      replaced: the collection `replaced` for a batch.

    Returns:
      By path: the module's, and the name that `read` gives if that is not empty.
    """

    @jax.jit
    def add(params: dict, batch: Batch, sums: dict) -> tuple[dict, Array]:
        real = real_tokens(batch).reshape(-1, 1)
        found: dict[str, Array] = {}

        def listen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name == "__call__":
                for name, x in read(context.module, args[0]).items() if args else ():
                    path = "/".join((*context.module.path, name)).rstrip("/")
                    found[path] = jnp.sum(x * real, axis=0)
            return call(*args, **kwargs)

        with nn.intercept_methods(listen):
            apply(config, params, batch, masks, replaced=replaced(batch))
        return {path: sums.get(path, 0.0) + x for path, x in found.items()}, real.sum()

    sums: dict[str, Array] = {}
    tokens = jnp.zeros(())
    for batch in batches:
        sums, count = add(params, batch, sums)
        tokens += count
    return {path: x / tokens for path, x in sums.items()}
