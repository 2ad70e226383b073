"""What the layers of a model meet on real rows."""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax import models
from bpjax.models.architecture import Config
from bpjax.models.heads import real_tokens
from bpjax.pruning.structure import tokens_beside
from bpjax.training.evaluation import Batch, apply

Reader = Callable[[Any, Array], Float[Array, "tokens n"] | None]
"""`(module, its input) -> what to average over tokens`; None of modules that do not matter."""


def input_norms(
    config: Config, params: dict, batches: Iterable[Batch]
) -> dict[str, Float[Array, " in"]]:
    """Root mean square of each input dimension of the encoder's kernels, over real tokens.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.

    Returns:
      By the kernel's path, such as "layer_0/ffn/in".
    """
    kernels = {kernel.path for _, kernel in models.describe(config).kernels()}

    def read(module: Any, x: Array) -> Array | None:
        return jnp.square(x.astype(jnp.float32)) if module.path in kernels else None

    # Layers of one input may be one product, for which each gives its weights.
    means = token_means(config, params, batches, read, "weights")
    return {path: jnp.sqrt(x) for path, x in means.items()}


def token_means(
    config: Config,
    params: dict,
    batches: Iterable[Batch],
    read: Reader,
    method: str = "__call__",
    masks: dict | None = None,
    approximations: Callable[[Batch], dict] = lambda batch: {},
) -> dict[str, Float[Array, " n"]]:
    """Averages over real tokens of something that modules are called with.

    Args:
      config: the model's sizes.
      params: its parameters.
      batches: of `training.input.eval_batches`.
      read: what of each module.
      method: of the modules, whose first argument is their input.
      masks: the collection `masks` of a masked model.
      approximations: the collection of that name, for a batch.

    Returns:
      By the module's path, joined with "/".
    """
    structure = models.describe(config)
    tokens = {kernel.path: kernel.tokens for _, kernel in structure.kernels()}

    @jax.jit
    def add(params: dict, batch: Batch, sums: dict) -> dict:
        found: dict[str, tuple[Array, Array]] = {}

        def listen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name == method and args:
                x, path = read(context.module, args[0]), context.module.path
                if x is not None:
                    mask = tokens.get(path) or tokens_beside(structure, path)
                    real = real_tokens(batch, mask).reshape(-1, 1)
                    total = jnp.sum(x.reshape(-1, x.shape[-1]) * real, axis=0)
                    found["/".join(path)] = total, real.sum()
            return call(*args, **kwargs)

        with nn.intercept_methods(listen):
            apply(config, params, batch, masks, approximations=approximations(batch))
        return jax.tree.map(jnp.add, sums, found) if sums else found

    sums: dict[str, tuple[Array, Array]] = {}
    for batch in batches:
        sums = add(params, batch, sums)
    return {path: total / count for path, (total, count) in sums.items()}
