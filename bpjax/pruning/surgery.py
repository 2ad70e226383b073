"""Surgery: from masked parameters to smaller ones that compute the same.

It knows no method and no pattern. It reads the parameters as the masked model uses them
(`patterns.apply_masks`), finds the heads and feed-forward dimensions that contribute nothing or a
constant, folds the constants into the bias behind them and removes them. A sublayer with nothing
left keeps that bias only.

Unlike the reference (Lagunas et al. 2021, code), what is removed is exact: a head goes when its
value kernel or its rows of the output kernel are zero, never because its query or key is (such a
head still averages its values), and the bias that a removed value or dimension carried stays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bpjax.pruning.structure import Attention, FeedForward, Path, Structure, Sublayer, at, put

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]


class Shrunken(NamedTuple):
    """A smaller model.

    Attributes:
      params: the smaller parameter tree.
      heads: heads left, by layer.
      intermediate: feed-forward dimensions left, by layer.
      kept_heads: their indices in the model before, by layer.
      kept_dimensions: likewise.
      kept_hidden: indices of the dimensions of the hidden state that are left.
    """

    params: dict
    heads: tuple[int, ...]
    intermediate: tuple[int, ...]
    kept_heads: tuple[np.ndarray, ...]
    kept_dimensions: tuple[np.ndarray, ...]
    kept_hidden: np.ndarray


def shrink(
    params: dict,
    structure: Structure,
    activation: Activation,
    *,
    round_to: int = 1,
    rank_by: dict | None = None,
    hidden: Bool[Array, " hidden"] | Bool[np.ndarray, " hidden"] | None = None,
) -> Shrunken:
    """Removes what died.

    Args:
      params: parameters after masking; not changed.
      structure: where the model keeps its heads and feed-forward dimensions.
      activation: of the feed-forward layers, for the constants that removed dimensions leave.
      round_to: keep each layer's feed-forward size at a multiple of this, for hardware, by keeping
        the best of the dimensions that could go, as they are. Still exact. A layer with none left
        stays so, and one with too few to reach a multiple keeps all.
      rank_by: parameters before masking, to rank those dimensions by the product of the norms of
        their weights in and out; without it the masked norms decide.
      hidden: which dimensions of the hidden state to keep (`KeptUnits.hidden`); by default all.
        Exact where the masked model's norms leave out the others, which no parameter shows.

    Raises:
      ValueError: `round_to` below 1, or no dimension of the hidden state to keep.
    """
    if round_to < 1:
        raise ValueError(f"round_to {round_to}: expected a whole number of at least 1")
    heads, dimensions = [], []
    for layer in structure.layers:
        params, kept = _shrink_attention(params, layer.attention)
        heads.append(kept)
        params, kept = _shrink_ffn(params, layer.ffn, activation, round_to, rank_by or params)
        dimensions.append(kept)
    kept_hidden = np.arange(structure.hidden_size)
    if hidden is not None:
        kept_hidden = kept_hidden[np.asarray(hidden)]
        params = _shrink_hidden(params, structure, kept_hidden)
    return Shrunken(
        params=jax.tree.map(jnp.asarray, params),
        heads=tuple(map(len, heads)),
        intermediate=tuple(map(len, dimensions)),
        kept_heads=tuple(heads),
        kept_dimensions=tuple(dimensions),
        kept_hidden=kept_hidden,
    )


def _shrink_attention(params: dict, attention: Attention) -> tuple[dict, np.ndarray]:
    if not attention.heads:
        return params, np.arange(0)
    value, output = _weights(params, attention.value), _weights(params, attention.output)
    by_head = (attention.heads, attention.head_dim)
    constant = np.all(value["kernel"].reshape(-1, *by_head) == 0, axis=(0, 2))
    ignored = np.all(output["kernel"].reshape(*by_head, -1) == 0, axis=(1, 2))
    kept = np.flatnonzero(~(constant | ignored))

    # Attention weights sum to 1 (but for dropout), so a head without values adds its value bias,
    # whatever it sees.
    leftover = np.where(np.repeat(constant, attention.head_dim), value["bias"], 0)
    output["bias"] = output["bias"] + leftover @ output["kernel"]

    entries = np.arange(attention.channels).reshape(by_head)[kept].ravel()
    return _select(params, attention, output["bias"], entries), kept


def _shrink_ffn(
    params: dict, ffn: FeedForward, activation: Activation, round_to: int, rank_by: dict
) -> tuple[dict, np.ndarray]:
    if not ffn.size:
        return params, np.arange(0)
    inner, outer = _weights(params, ffn.inner), _weights(params, ffn.outer)
    constant = np.all(inner["kernel"] == 0, axis=0)
    ignored = np.all(outer["kernel"] == 0, axis=1)
    keep = _round_up(~(constant | ignored), round_to, _norms(rank_by, ffn))

    # A dimension that sees nothing is its bias through the activation, for every token.
    removed = constant & ~keep
    leftover = np.where(removed, np.asarray(activation(jnp.asarray(inner["bias"]))), 0)
    bias = outer["bias"] + leftover @ outer["kernel"]

    kept = np.flatnonzero(keep)
    return _select(params, ffn, bias, kept), kept


def _shrink_hidden(params: dict, structure: Structure, kept: Int[np.ndarray, " kept"]) -> dict:
    if not len(kept):
        raise ValueError("no dimension of the hidden state is left: expected at least one")

    def select(paths: tuple[Path, ...], **axes: int) -> None:
        nonlocal params
        for path in paths:
            # A removed sublayer has no input layers, and of its output layer the bias.
            if path[-1] in at(params, path[:-1]):
                weights = _weights(params, path)
                smaller = {
                    name: np.take(x, kept, axes[name])
                    for name, x in weights.items()
                    if name in axes
                }
                params = put(params, path, weights | smaller)

    select(structure.hidden.tables, embedding=1)
    select(structure.hidden.norms, scale=0, bias=0)
    select(structure.hidden.readers, kernel=0)
    for layer in structure.layers:
        for sublayer in (layer.attention, layer.ffn):
            select(sublayer.inputs, kernel=0)
            select((sublayer.output,), kernel=1, bias=0)
    return params


def _weights(params: dict, path: Path) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in at(params, path).items()}


def _norms(params: dict, ffn: FeedForward) -> np.ndarray:
    inner, outer = _weights(params, ffn.inner)["kernel"], _weights(params, ffn.outer)["kernel"]
    return np.linalg.norm(inner, axis=0) * np.linalg.norm(outer, axis=1)


def _round_up(
    keep: Bool[np.ndarray, " n"], multiple: int, rank: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Keeps more of what could go, best first, until the count is a multiple (or all are kept)."""
    count = int(keep.sum())
    wanted = min(-(-count // multiple) * multiple, len(keep))
    spare = np.flatnonzero(~keep)
    best = spare[np.argsort(-rank[spare], kind="stable")][: wanted - count]
    keep = keep.copy()
    keep[best] = True
    return keep


def _select(
    params: dict,
    sublayer: Sublayer,
    output_bias: Float[np.ndarray, " hidden"],
    entries: Int[np.ndarray, " kept"],
) -> dict:
    """Keeps some of the channels between a sublayer's input kernels and its output kernel."""
    if not len(entries):
        gone = {path[-1] for path in sublayer.inputs}
        beside = at(params, sublayer.output[:-1])
        rest = {name: sub for name, sub in beside.items() if name not in gone}
        params = put(params, sublayer.output[:-1], rest)
        return put(params, sublayer.output, {"bias": output_bias})
    for path in sublayer.inputs:
        weights = _weights(params, path)
        smaller = {"kernel": weights["kernel"][:, entries], "bias": weights["bias"][entries]}
        params = put(params, path, smaller)
    kernel = _weights(params, sublayer.output)["kernel"][entries]
    return put(params, sublayer.output, {"kernel": kernel, "bias": output_bias})
