"""Scaled dot-product attention, behind one function that a faster one may replace."""

import functools
import logging
import math
import re

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bpjax.models.layers.dropout import drop

_log = logging.getLogger(__name__)

Mask = Int[Array, "batch keys"] | Bool[Array, "batch length keys"]
"""Of keys, 1 for real tokens and 0 for padding, which ends a row (flash attention takes lengths);
or of pairs of a query and a key, True where they meet."""


def attend(
    query: Float[Array, "batch length heads dim"],
    key: Float[Array, "batch keys heads dim"],
    value: Float[Array, "batch keys heads dim"],
    mask: Mask,
    *,
    causal: bool = False,
    dropout: float | int = 0.0,
    rng: Key[Array, ""] | None = None,
) -> Float[Array, "batch length heads dim"]:
    """Attention of every head, with padding masked out.

    Args:
      query: queries.
      key: keys, as many or not.
      value: values.
      mask: which keys a query meets.
      causal: query i meets keys up to i alone.
      dropout: probability of dropping an attention weight; needs `rng` when above 0.
      rng: dropout key.
    """
    # A length of a few hundred makes score tensors that outgrow the CPU's cache: 12 heads of
    # 8 × 384 tokens take 57 MB. One head at a time keeps them inside it. XLA's other backends
    # fuse the batched form themselves.
    lengths = query.shape[1], key.shape[1]  # no numbers where a model is exported for any length
    known = all(isinstance(length, int) for length in lengths)
    if known and math.prod(lengths) > 160**2 and jax.default_backend() == "cpu":
        return _attend_by_head(query, key, value, mask, dropout, rng, causal)
    if known and jax.default_backend() == "gpu":
        obstacle = _obstacle(query, mask, 0.0 if rng is None else dropout)
        if obstacle is None:
            return _attend_flash(query, key, value, mask, causal)
        if query.dtype == jnp.bfloat16:  # who computes in it wants speed
            _tell(obstacle)
    return _attend_batched(query, key, value, mask, dropout, rng, causal)


def scores_of(
    query: Float[Array, "batch length heads dim"],
    key: Float[Array, "batch keys heads dim"],
    causal: bool = False,
) -> Float[Array, "batch heads length keys"]:
    """What `attend` takes the softmax of, padding included; 0 at pairs that never meet."""
    scores = jnp.einsum("blhd,bmhd->bhlm", query, key) / math.sqrt(query.shape[-1])
    return jnp.where(_past(*scores.shape[-2:]), scores, 0) if causal else scores


def _past(length, keys):
    return jnp.arange(length)[:, None] >= jnp.arange(keys)


def _obstacle(query: Array, mask: Array, dropout: float | int) -> str | None:
    """What keeps cuDNN's kernel from such attention on this GPU; None: nothing does."""
    capability = getattr(jax.local_devices()[0], "compute_capability", "0")
    dim = query.shape[-1]
    for holds, what in (
        (query.dtype == jnp.bfloat16, f"{query.dtype} operands, expected bfloat16"),
        (
            re.match(r"([89]|\d\d+)\.", capability),
            f"compute capability {capability}, expected 8.0 or later",
        ),
        (dim % 8 == 0 and dim <= 128, f"heads of {dim}, expected a multiple of 8 up to 128"),
        (not dropout, "attention dropout, expected a rate of 0"),
        (mask.ndim == 2, "packed rows, expected padded ones"),
    ):
        if not holds:
            return what
    return None


@functools.cache
def _tell(obstacle: str) -> None:
    """Once a process, and each once."""
    _log.warning("attention: cuDNN's kernel is not used for %s", obstacle)


def _attend_flash(query, key, value, mask, causal=False, implementation="cudnn"):
    # Lengths and not the mask, because cuDNN has the gradient of a masked batch for them alone.
    # A padding row attends to its first token: no length of 0, which has no softmax. cuDNN could
    # drop weights too, but XLA counts its draws within the loaded program: they would not come from
    # a key, a resumed run would draw others, and every device of a batch the same.
    lengths = jnp.maximum(mask.sum(-1, dtype=jnp.int32), 1)
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        key_value_seq_lengths=lengths,
        is_causal=causal,
        implementation=implementation,
    )


def _attend_batched(query, key, value, mask, dropout, rng, causal=False):
    scores = jnp.einsum("blhd,bmhd->bhlm", query, key) / math.sqrt(query.shape[-1])
    meet = mask[:, None] if mask.ndim == 3 else mask[:, None, None, :] > 0
    weights = _softmax(scores, meet & _past(*scores.shape[-2:]) if causal else meet)
    weights = drop(weights, dropout, rng)
    return jnp.einsum("bhlm,bmhd->blhd", weights, value)


def _attend_by_head(query, key, value, mask, dropout, rng, causal=False):
    batch, length, heads, dim = query.shape
    keys = key.shape[1]

    def by_head(x):
        return x.transpose(0, 2, 1, 3).reshape(batch * heads, -1, dim)

    # Recomputed in the backward pass, so that no score tensor is stored.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one_head(args):
        query, key, value, mask, index = args
        meet = mask if mask.ndim == 2 else mask[None, :] > 0
        meet = meet & _past(length, keys) if causal else meet
        weights = _softmax(query @ key.T / math.sqrt(dim), meet)
        weights = drop(weights, dropout, None if rng is None else jax.random.fold_in(rng, index))
        return weights @ value

    masks = jnp.repeat(mask, heads, axis=0)
    inputs = (by_head(query), by_head(key), by_head(value), masks, jnp.arange(batch * heads))
    mixed = jax.lax.map(one_head, inputs)
    return mixed.reshape(batch, heads, length, dim).transpose(0, 2, 1, 3)


def _softmax(scores, meet):
    # Never below float32: bfloat16 loses the tail of long rows. At least one key is unmasked in
    # every real row; a padding row averages its keys and stays finite.
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    wide = jnp.where(meet, wide, jnp.finfo(wide.dtype).min)
    return jax.nn.softmax(wide, axis=-1).astype(scores.dtype)
