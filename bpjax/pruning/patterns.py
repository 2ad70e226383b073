"""Patterns: which kernels are scored, in what blocks, and which of them share their scores.

To add a pattern, write a function `Structure, Block -> tuple[ScoreGroup, ...]` and name it in
`PATTERNS`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bpjax.pruning.blocks import Block, BlockMask, block_sizes, grid_shape, sum_blocks
from bpjax.pruning.structure import Attention, Path, Structure, Sublayer, at, kernels, put

KINDS = ("attention", "ffn")
"""Kinds of sublayers, which the penalty weighs apart."""


class Target(NamedTuple):
    """One kernel that a score array masks: its grid has as many entries as the scores."""

    path: Path
    kernel_shape: tuple[int, int]
    block: Block

    @property
    def grid(self) -> tuple[int, int]:
        """Number of blocks along the kernel's inputs and outputs."""
        return grid_shape(self.kernel_shape, self.block)


class ScoreGroup(NamedTuple):
    """One array of scores and the kernels that share it.

    Attributes:
      name: "layer_0/attention/query", or "layer_0/ffn" for scores shared in a sublayer.
      kind: one of `KINDS`.
      shape: of the score array.
      targets: the kernels it masks.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    targets: tuple[Target, ...]


class Pattern(NamedTuple):
    """A named set of score groups, made for one model's structure."""

    name: str
    groups: tuple[ScoreGroup, ...]


Scores = Mapping[str, Float[Array, "..."]]
"""Scores, or mask values at score resolution, by group name."""


def make_pattern(name: str, structure: Structure, block: tuple[int, int] = (32, 32)) -> Pattern:
    """Lays a pattern over a model.

    Args:
      name: a key of `PATTERNS`.
      structure: where the model keeps its heads and feed-forward dimensions.
      block: rows × columns of a block, in weights, where the pattern has blocks. The attention and
        feed-forward output kernels use the transposed block (Lagunas et al. 2021, section 4).

    Raises:
      ValueError: an unknown pattern, or a block size below 1.
    """
    if name not in PATTERNS:
        raise ValueError(f"pattern {name!r}: expected one of {', '.join(PATTERNS)}")
    if min(block) < 1:
        raise ValueError(f"block {tuple(block)}: expected two sizes of at least 1")
    return Pattern(name, PATTERNS[name](structure, Block(*block)))


def spread(pattern: Pattern, values: Scores) -> dict:
    """The `masks` collection of a model: each group's values as the `BlockMask` of its kernels."""
    masks: dict = {}
    for group in pattern.groups:
        for target in group.targets:
            mask = BlockMask(values[group.name].reshape(target.grid), target.block)
            masks = put(masks, (*target.path, "kernel"), mask)
    return masks


def mean_over_blocks(
    pattern: Pattern,
    params: dict,
    transform: Callable[[Float[Array, "in out"]], Float[Array, "in out"]],
) -> Scores:
    """Mean of `transform(kernel)` over each block, and over the kernels that share the block."""
    means = {}
    for group in pattern.groups:
        total, count = jnp.zeros(group.shape), np.zeros(group.shape)
        for target in group.targets:
            values = transform(at(params, target.path)["kernel"])
            total += sum_blocks(values, target.block).reshape(group.shape)
            count += block_sizes(target.kernel_shape, target.block).reshape(group.shape)
        means[group.name] = total / count
    return means


def apply_masks(params: dict, masks: dict) -> dict:
    """The parameters that a masked model computes with: kernels and biases masked."""
    mask = masks.get("kernel")
    if isinstance(mask, BlockMask):
        kernel, bias = mask.apply(params["kernel"], params["bias"])
        return {"kernel": kernel, "bias": bias}
    return {**params, **{name: apply_masks(params[name], sub) for name, sub in masks.items()}}


def _targets(sublayer: Sublayer, hidden: int, block: Block) -> tuple[Target, ...]:
    """A sublayer's kernels, cut by `block`; the output kernel's is the transposed."""
    into, out_of = (hidden, sublayer.channels), (sublayer.channels, hidden)
    transposed = Block(block.cols, block.rows)
    return tuple(
        Target(path, into, block) if path in sublayer.inputs else Target(path, out_of, transposed)
        for path in kernels(sublayer)
    )


def _kind(sublayer: Sublayer) -> str:
    return "attention" if isinstance(sublayer, Attention) else "ffn"


def _separate(sublayer: Sublayer, hidden: int, block: Block) -> list[ScoreGroup]:
    """Scores of its own for each kernel, on its grid of blocks."""
    return [
        ScoreGroup("/".join(target.path), _kind(sublayer), target.grid, (target,))
        for target in _targets(sublayer, hidden, block)
    ]


def _shared(sublayer: Sublayer, hidden: int, width: int) -> list[ScoreGroup]:
    """One score for every `width` channels, shared by all that goes into and out of them."""
    targets = _targets(sublayer, hidden, Block(hidden, width))
    shape = (-(-sublayer.channels // width),)
    name = "/".join(sublayer.output[:-1])
    return [ScoreGroup(name, _kind(sublayer), shape, targets)] if targets else []


def _block(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for sublayer in (layer.attention, layer.ffn)
        for group in _separate(sublayer, hidden, block)
    )


def _hybrid(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _separate(layer.attention, hidden, block) + _shared(layer.ffn, hidden, 1)
    )


def _struct(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    del block  # a head and a dimension have their own sizes
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _shared(layer.attention, hidden, layer.attention.head_dim)
        + _shared(layer.ffn, hidden, 1)
    )


def _unstructured(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    del block
    return _block(structure, Block(1, 1))


PATTERNS: dict[str, Callable[[Structure, Block], tuple[ScoreGroup, ...]]] = {
    "block": _block,
    "hybrid": _hybrid,
    "struct": _struct,
    "unstructured": _unstructured,
}
