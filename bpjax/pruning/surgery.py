"""Surgery: from masked parameters to smaller ones that compute the same.

It knows no architecture, no method and no pattern. It reads the parameters as the masked model uses
them (`patterns.apply_masks`), finds the units that contribute nothing or a constant
(`structure.Silence`), folds the constants into the bias behind them and removes them. A sublayer
with nothing left keeps that bias only.

Unlike the reference (Lagunas et al. 2021, code), what is removed is exact: a head goes when its
value kernel or its rows of the output kernel are zero, never because its query or key is (such a
head still averages its values), and the bias that a removed value or dimension carried stays.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bpjax.pruning.structure import (
    Kernel,
    Path,
    Sizes,
    Structure,
    Sublayer,
    at,
    blocks,
    drop,
    group_of,
    has,
    put,
    read,
    unit_biases,
)


class Removed(NamedTuple):
    """A smaller model.

    Attributes:
      params: the smaller parameter tree.
      sizes: units and dimensions left.
      units: indices of the units left, by sublayer.
      streams: indices of the dimensions left, by residual stream.
    """

    params: dict
    sizes: Sizes
    units: dict[str, np.ndarray]
    streams: dict[str, np.ndarray]


def shrink(
    params: dict,
    structure: Structure,
    *,
    round_to: int = 1,
    rank_by: dict | None = None,
    streams: Mapping[str, Bool[Array, " size"] | Bool[np.ndarray, " size"]] | None = None,
) -> Removed:
    """Removes what died.

    Args:
      params: parameters after masking; not changed.
      structure: where the model keeps its units.
      round_to: of sublayers whose unit is one channel (FFNs), keep a multiple of as many units, for
        hardware, by keeping the best of those that could go, as they are. Still exact. A sublayer
        with none left stays so, and one with too few to reach a multiple keeps all.
      rank_by: parameters before masking, to rank those units by the product of the norms of their
        weights in and out; without it the masked norms decide.
      streams: which dimensions of a residual stream to keep (`KeptUnits.streams`); by default all.
        Exact where the masked model's norms leave out the others, which no parameter shows.

    Raises:
      ValueError: `round_to` below 1, or no dimension of a stream to keep.
    """
    if round_to < 1:
        raise ValueError(f"round_to {round_to}: expected a whole number of at least 1")
    units: dict[str, np.ndarray] = {}
    left: dict[str, int | tuple[int, ...]] = {}
    biases = []
    for sublayer in structure.sublayers:
        gone, constant = _silent(params, sublayer)
        if sublayer.write.width == 1 and sublayer.units:
            gone = ~_round_up(~gone, round_to, _norms(rank_by or params, sublayer))
        kept = np.flatnonzero(~gone)
        had_bias = has(params, (*sublayer.write.path, "bias"))
        params = _select(params, sublayer, kept, _folded(params, sublayer, gone & constant))
        if not had_bias and has(params, (*sublayer.write.path, "bias")):
            biases.append(sublayer.name)
        units[sublayer.name], left[sublayer.name] = kept, _count(sublayer, kept)
    dimensions = {name: np.arange(stream.size) for name, stream in structure.streams.items()}
    for name, alive in (streams or {}).items():
        dimensions[name] = dimensions[name][np.asarray(alive)]
        params = _shrink_stream(params, structure, name, dimensions[name])
    return Removed(
        params=jax.tree.map(jnp.asarray, params),
        sizes=Sizes(left, {name: len(x) for name, x in dimensions.items()}, tuple(biases)),
        units=units,
        streams=dimensions,
    )


def _silent(
    params: dict, sublayer: Sublayer
) -> tuple[Bool[np.ndarray, " units"], Bool[np.ndarray, " units"]]:
    """Which units can go, and which of them add a constant where something reads it."""
    if not sublayer.units:
        return np.zeros(0, bool), np.zeros(0, bool)
    weights, _ = read(params, sublayer.write)
    by_unit = np.asarray(weights).reshape(sublayer.units, sublayer.write.width, -1)
    ignored = np.all(by_unit == 0, axis=(1, 2))
    silent = np.zeros(sublayer.units, bool)
    for kernel in sublayer.reads:
        if kernel.role in sublayer.silence.feeds:
            weights, bias = read(params, kernel)
            by_block = np.asarray(weights).reshape(len(weights), -1, kernel.width)
            zero = np.all(by_block == 0, axis=(0, 2))
            if sublayer.silence.constant is None and bias is not None:
                zero &= np.all(np.asarray(bias).reshape(-1, kernel.width) == 0, axis=1)
            silent |= zero[blocks(sublayer, kernel)]
    return silent | ignored, silent


def _folded(
    params: dict, sublayer: Sublayer, constant: Bool[np.ndarray, " units"]
) -> np.ndarray | None:
    """The bias of the write kernel with what removed units add to it; None where there is none."""
    if not sublayer.units:
        return None
    weights, bias = (x if x is None else np.asarray(x) for x in read(params, sublayer.write))
    if sublayer.silence.constant is None:
        return bias
    written = np.asarray(sublayer.silence.constant(unit_biases(params, sublayer)))
    leftover = np.where(np.repeat(constant, sublayer.write.width), written, 0)
    added = leftover @ weights
    if bias is None:
        return added if np.any(added) else None
    return bias + added


def _norms(params: dict, sublayer: Sublayer) -> np.ndarray:
    """Of each unit, the product of the norms of its weights in every kernel."""
    product = np.linalg.norm(np.asarray(read(params, sublayer.write)[0]), axis=1)
    for kernel in sublayer.reads:
        norms = np.linalg.norm(np.asarray(read(params, kernel)[0]), axis=0)
        product = norms[blocks(sublayer, kernel)] * product
    return product


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


def _count(sublayer: Sublayer, kept: Int[np.ndarray, " kept"]) -> int | tuple[int, ...]:
    """Units left; of grouped ones by group, without groups that are empty."""
    if not sublayer.groups:
        return len(kept)
    return tuple(int(n) for n in np.bincount(group_of(sublayer)[kept]) if n)


def _select(
    params: dict, sublayer: Sublayer, kept: Int[np.ndarray, " kept"], bias: np.ndarray | None
) -> dict:
    """Keeps some of the units, and puts the bias behind them."""
    if not sublayer.units:
        return params
    for kernel in sublayer.reads:
        if len(kept):
            chosen = _channels(kernel, np.unique(blocks(sublayer, kernel)[kept]))
            weights = at(params, kernel.path)
            smaller = {name: np.asarray(x)[..., chosen] for name, x in weights.items()}
            params = put(params, kernel.path, smaller)
        else:
            params = drop(params, kernel.path)
    if sublayer.norm and not len(kept):
        params = drop(params, sublayer.norm)
    weights, _ = read(params, sublayer.write)
    left = {"kernel": np.asarray(weights)[_channels(sublayer.write, kept)]} if len(kept) else {}
    if bias is not None:
        left["bias"] = bias
    if not left:
        return drop(params, sublayer.write.path)
    return put(params, sublayer.write.path, left)


def _channels(kernel: Kernel, chosen: Int[np.ndarray, " blocks"]) -> Int[np.ndarray, " channels"]:
    return (chosen[:, None] * kernel.width + np.arange(kernel.width)).ravel()


def _shrink_stream(
    params: dict, structure: Structure, name: str, kept: Int[np.ndarray, " kept"]
) -> dict:
    """Keeps some dimensions of a residual stream, in all that read it and write to it."""
    if not len(kept):
        raise ValueError(f"no dimension of the {name} state is left: expected at least one")

    def select(paths: tuple[Path, ...], **axes: int) -> None:
        nonlocal params
        for path in paths:
            if has(params, path):  # a removed sublayer has no kernels, of its write kernel the bias
                weights = {name: np.asarray(x) for name, x in at(params, path).items()}
                smaller = {
                    name: np.take(x, kept, axes[name])
                    for name, x in weights.items()
                    if name in axes
                }
                params = put(params, path, weights | smaller)

    stream = structure.streams[name]
    select(stream.tables, embedding=1)
    select(stream.norms, scale=0, bias=0)
    select(stream.readers, kernel=0)
    select(stream.writers, kernel=1, bias=0)
    for path in stream.vectors:
        if has(params, path):
            params = put(params, path, np.take(np.asarray(at(params, path)), kept, 0))
    for sublayer in structure.sublayers:
        select(tuple(k.path for k in sublayer.reads if k.stream == name), kernel=0)
        if sublayer.write.stream == name:
            select((sublayer.write.path,), kernel=1, bias=0)
    return params
