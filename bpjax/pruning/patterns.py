"""Patterns: which kernels are scored, in what blocks, and which of them share their scores.

To add a pattern, write a function `Structure, Blocks -> tuple[ScoreGroup, ...]` and name it in
`PATTERNS`.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bpjax.pruning.blocks import Block, BlockMask, block_sizes, grid_shape, sum_blocks
from bpjax.pruning.structure import Attention, Path, Structure, Sublayer, at, kernels, put

KINDS = ("attention", "ffn", "hidden")
"""Kinds of what is scored, which the penalty weighs apart."""


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
      norms: the norms it masks, where it has a score for every dimension of the hidden state.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    targets: tuple[Target, ...]
    norms: tuple[Path, ...] = ()


class Pattern(NamedTuple):
    """A named set of score groups, made for one model's structure."""

    name: str
    groups: tuple[ScoreGroup, ...]


Scores = Mapping[str, Float[Array, "..."]]
"""Scores, or mask values at score resolution, by group name."""


class Blocks(NamedTuple):
    """The block of each kernel that has scores of its own.

    Attributes:
      default: of kernels that no rule names; output kernels take it transposed.
      rules: glob over the kernel's path ("layer_0/*", "*/ffn/in"), and the block as it lies in
        that kernel. The last rule that fits counts.
    """

    default: Block
    rules: tuple[tuple[str, Block], ...] = ()

    def of(self, path: Path, *, output: bool) -> Block:
        """The block of a kernel, which is an output kernel or not."""
        block = Block(self.default.cols, self.default.rows) if output else self.default
        for glob, ruled in self.rules:
            if fnmatch.fnmatchcase("/".join(path), glob):
                block = ruled
        return block


def make_pattern(
    name: str,
    structure: Structure,
    block: tuple[int, int] = (32, 32),
    rules: Sequence[tuple[str, int, int]] = (),
) -> Pattern:
    """Lays a pattern over a model.

    Args:
      name: a key of `PATTERNS`.
      structure: where the model keeps its heads and feed-forward dimensions.
      block: rows × columns of a block, in weights, where the pattern has blocks. The attention and
        feed-forward output kernels use the transposed block (Lagunas et al. 2021, section 4).
      rules: (glob, rows, columns), see `Blocks`: other blocks for some kernels.

    Raises:
      ValueError: an unknown pattern, a block size below 1, or a rule that fits no kernel with
        scores of its own.
    """
    if name not in PATTERNS:
        raise ValueError(f"pattern {name!r}: expected one of {', '.join(PATTERNS)}")
    blocks = Blocks(Block(*block), tuple((glob, Block(*sizes)) for glob, *sizes in rules))
    for given in (blocks.default, *(ruled for _, ruled in blocks.rules)):
        if min(given) < 1:
            raise ValueError(f"block {tuple(given)}: expected two sizes of at least 1")
    groups = PATTERNS[name](structure, blocks)
    for glob, ruled in blocks.rules:
        if not any(
            fnmatch.fnmatchcase(group.name, glob) and target.block == ruled
            for group in groups
            for target in group.targets[:1]
        ):
            raise ValueError(
                f"blocks rule {glob!r}: expected it to fit a kernel that {name} gives scores of "
                f"its own, such as {next((g.name for g in groups), 'none')}"
            )
    return Pattern(name, groups)


def build_mask_collection(pattern: Pattern, values: Scores) -> dict:
    """The `masks` collection of a model.

    A group's values become the `BlockMask` at `kernel` of each of its kernels, or stand at `hidden`
    of each of its norms.
    """
    masks: dict = {}
    for group in pattern.groups:
        for target in group.targets:
            mask = BlockMask(values[group.name].reshape(target.grid), target.block)
            masks = put(masks, (*target.path, "kernel"), mask)
        for path in group.norms:
            masks = put(masks, (*path, "hidden"), values[group.name])
    return masks


def sum_over_blocks(
    pattern: Pattern,
    params: dict,
    transform: Callable[[Float[Array, "in out"]], Float[Array, "in out"]],
) -> dict[str, Float[Array, "..."]]:
    """Sum of `transform(kernel)` over each block, and over the kernels that share the block."""
    sums = {}
    for group in pattern.groups:
        total = jnp.zeros(group.shape)
        for target in group.targets:
            values = transform(at(params, target.path)["kernel"])
            total += sum_blocks(values, target.block).reshape(group.shape)
        sums[group.name] = total
    return sums


def mean_over_blocks(
    pattern: Pattern,
    params: dict,
    transform: Callable[[Float[Array, "in out"]], Float[Array, "in out"]],
) -> Scores:
    """Mean of `transform(kernel)` over each block, and over the kernels that share the block."""
    sums = sum_over_blocks(pattern, params, transform)
    for group in pattern.groups:
        sizes = [block_sizes(t.kernel_shape, t.block).reshape(group.shape) for t in group.targets]
        sums[group.name] /= np.sum(sizes, axis=0)
    return sums


def apply_masks(params: dict, masks: dict) -> dict:
    """The parameters that a masked model computes with: kernels, norms and biases masked.

    A norm whose dimensions are masked also takes its moments over those that are left: such a model
    computes like the masked one only when surgery has removed the others.
    """
    if isinstance(mask := masks.get("kernel"), BlockMask):
        kernel, bias = mask.apply(params["kernel"], params["bias"])
        return {"kernel": kernel, "bias": bias}
    if not isinstance(mask := masks.get("hidden", {}), Mapping):
        return {name: value * mask for name, value in params.items()}
    return {**params, **{name: apply_masks(params[name], sub) for name, sub in masks.items()}}


def _kind(sublayer: Sublayer) -> str:
    return "attention" if isinstance(sublayer, Attention) else "ffn"


def _target(sublayer: Sublayer, hidden: int, path: Path, block: Block) -> Target:
    into = path in sublayer.inputs
    shape = (hidden, sublayer.channels) if into else (sublayer.channels, hidden)
    return Target(path, shape, block)


def _separate(sublayer: Sublayer, hidden: int, blocks: Blocks) -> list[ScoreGroup]:
    """Scores of its own for each kernel, on its grid of blocks."""
    targets = [
        _target(sublayer, hidden, path, blocks.of(path, output=path == sublayer.output))
        for path in kernels(sublayer)
    ]
    return [ScoreGroup("/".join(t.path), _kind(sublayer), t.grid, (t,)) for t in targets]


def _shared(sublayer: Sublayer, hidden: int, width: int) -> list[ScoreGroup]:
    """One score for every `width` channels, shared by all that goes into and out of them."""
    targets = tuple(
        _target(
            sublayer,
            hidden,
            path,
            Block(width, hidden) if path == sublayer.output else Block(hidden, width),
        )
        for path in kernels(sublayer)
    )
    shape = (-(-sublayer.channels // width),)
    name = "/".join(sublayer.output[:-1])
    return [ScoreGroup(name, _kind(sublayer), shape, targets)] if targets else []


def _block(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for sublayer in (layer.attention, layer.ffn)
        for group in _separate(sublayer, hidden, blocks)
    )


def _hybrid(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _separate(layer.attention, hidden, blocks) + _shared(layer.ffn, hidden, 1)
    )


def _struct(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    del blocks  # a head and a dimension have their own sizes
    hidden = structure.hidden_size
    return tuple(
        group
        for layer in structure.layers
        for group in _shared(layer.attention, hidden, layer.attention.head_dim)
        + _shared(layer.ffn, hidden, 1)
    )


def _cofi(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    # Scores of whole sublayers are the method's: they multiply those of their heads and dimensions.
    del blocks
    if not structure.hidden.norms:
        raise ValueError(
            "pattern cofi: the structure names no norms, expected those of the hidden state: say "
            "who shares it (structure.Hidden), or take another pattern"
        )
    hidden, groups = structure.hidden_size, []
    for layer in structure.layers:
        for sublayer, width in ((layer.attention, layer.attention.head_dim), (layer.ffn, 1)):
            for group in _shared(sublayer, hidden, width):
                # What a head or a dimension computes is scaled once, where it is written back.
                groups.append(group._replace(targets=group.targets[-1:]))
    hidden_group = ScoreGroup("hidden", "hidden", (hidden,), (), structure.hidden.norms)
    return (*groups, hidden_group)


def _unstructured(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    del blocks
    return _block(structure, Blocks(Block(1, 1)))


PATTERNS: dict[str, Callable[[Structure, Blocks], tuple[ScoreGroup, ...]]] = {
    "block": _block,
    "hybrid": _hybrid,
    "struct": _struct,
    "unstructured": _unstructured,
    "cofi": _cofi,
}
