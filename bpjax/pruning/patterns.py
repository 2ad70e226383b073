"""Patterns: which kernels are scored, in what blocks, and which of them share their scores.

To add a pattern, write a function `Structure, Block -> tuple[ScoreGroup, ...]` and name it in
`PATTERNS`.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.pruning.blocks import Block, BlockMask, block_sizes, grid_shape, sum_blocks
from bpjax.pruning.structure import Attention, FeedForward, Path, Structure, at, put


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
      kind: "attention" or "ffn"; the penalty weighs the kinds.
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
    if len(block) != 2 or min(block) < 1:
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

    def total(group: ScoreGroup, of_target: Callable[[Target], Array]) -> Array:
        return sum(of_target(target).reshape(group.shape) for target in group.targets)

    return {
        group.name: total(
            group, lambda t: sum_blocks(transform(at(params, t.path)["kernel"]), t.block)
        )
        / total(group, lambda t: block_sizes(t.kernel_shape, t.block))
        for group in pattern.groups
    }


def apply_masks(params: dict, masks: dict) -> dict:
    """The parameters that a masked model computes with: kernels and biases masked in place."""
    if "kernel" in masks and isinstance(masks["kernel"], BlockMask):
        mask, bias = masks["kernel"], params["bias"]
        fed = mask.fed_outputs(bias.shape[0])
        return {"kernel": mask.apply(params["kernel"]), "bias": jnp.where(fed, bias, 0)}
    masked = {key: apply_masks(params[key], sub) for key, sub in masks.items()}
    return {**params, **masked}


def _group(name: str, kind: str, targets: list[Target]) -> ScoreGroup:
    grid = targets[0].grid
    shape = (math.prod(grid),) if len(targets) > 1 else grid
    return ScoreGroup(name, kind, shape, tuple(targets))


def _transposed(block: Block) -> Block:
    return Block(block.cols, block.rows)


def _attention_blocks(attention: Attention, hidden: int, block: Block) -> list[ScoreGroup]:
    size = attention.heads * attention.head_dim
    if not size:
        return []
    targets = [
        Target(path, (hidden, size), block)
        for path in (attention.query, attention.key, attention.value)
    ] + [Target(attention.output, (size, hidden), _transposed(block))]
    return [_group("/".join(target.path), "attention", [target]) for target in targets]


def _ffn_blocks(ffn: FeedForward, hidden: int, block: Block) -> list[ScoreGroup]:
    if not ffn.size:
        return []
    targets = [
        Target(ffn.inner, (hidden, ffn.size), block),
        Target(ffn.outer, (ffn.size, hidden), _transposed(block)),
    ]
    return [_group("/".join(target.path), "ffn", [target]) for target in targets]


def _whole_heads(attention: Attention, hidden: int) -> list[ScoreGroup]:
    if not attention.heads:
        return []
    size, block = attention.heads * attention.head_dim, Block(hidden, attention.head_dim)
    targets = [
        Target(path, (hidden, size), block)
        for path in (attention.query, attention.key, attention.value)
    ] + [Target(attention.output, (size, hidden), _transposed(block))]
    return [_group("/".join(attention.query[:-1]), "attention", targets)]


def _whole_dimensions(ffn: FeedForward, hidden: int) -> list[ScoreGroup]:
    if not ffn.size:
        return []
    targets = [
        Target(ffn.inner, (hidden, ffn.size), Block(hidden, 1)),
        Target(ffn.outer, (ffn.size, hidden), Block(1, hidden)),
    ]
    return [_group("/".join(ffn.inner[:-1]), "ffn", targets)]


def _block(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _attention_blocks(layer.attention, hidden, block)
        + _ffn_blocks(layer.ffn, hidden, block)
    )


def _hybrid(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _attention_blocks(layer.attention, hidden, block)
        + _whole_dimensions(layer.ffn, hidden)
    )


def _struct(structure: Structure, block: Block) -> tuple[ScoreGroup, ...]:
    del block  # a head and a dimension have their own sizes
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _whole_heads(layer.attention, hidden)
        + _whole_dimensions(layer.ffn, hidden)
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
