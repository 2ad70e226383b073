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
from bpjax.pruning.structure import Kernel, Path, Structure, Sublayer, at, count_weights, put, shape


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
      name: "layer_0/attention/query", or "layer_0/ffn" for scores shared in a sublayer, or that of
        a residual stream.
      kind: of the sublayer; "stream" of a stream. The penalty weighs kinds apart.
      shape: of the score array.
      targets: the kernels it masks.
      norms: the norms it masks, where it has a score for every dimension of a residual stream; and
        the stream's writers, which no norm stands behind.
      weights: linear parameters that one score decides about, where it is a unit's.
      stream: that the sublayer writes to, or that the scores are of.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    targets: tuple[Target, ...]
    norms: tuple[Path, ...] = ()
    weights: int = 0
    stream: str = "hidden"

    @property
    def by_unit(self) -> bool:
        """Whether a score is a unit's, and not that of a block of one kernel."""
        return self.weights > 0


class Pattern(NamedTuple):
    """A named set of score groups, made for one model's structure."""

    name: str
    groups: tuple[ScoreGroup, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        """The residual streams whose dimensions have scores."""
        return tuple(group.name for group in self.groups if group.norms)


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
      structure: where the model keeps its units.
      block: rows × columns of a block, in weights, where the pattern has blocks. The kernels that
        write to a residual stream use the transposed block (Lagunas et al. 2021, section 4).
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
    of each of its norms and writers.
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
        return mask.apply(params)
    if not isinstance(mask := masks.get("hidden", {}), Mapping):
        return {name: value * mask for name, value in params.items()}
    return {**params, **{name: apply_masks(params[name], sub) for name, sub in masks.items()}}


def _separate(structure: Structure, sublayer: Sublayer, blocks: Blocks) -> list[ScoreGroup]:
    """Scores of its own for each kernel, on its grid of blocks."""
    groups = []
    for kernel in sublayer.kernels:
        block = blocks.of(kernel.path, output=kernel == sublayer.write)
        target = Target(kernel.path, shape(structure, sublayer, kernel), block)
        name = "/".join(kernel.path)
        groups.append(
            ScoreGroup(name, sublayer.kind, target.grid, (target,), stream=sublayer.write.stream)
        )
    return groups


def _shared(structure: Structure, sublayer: Sublayer) -> list[ScoreGroup]:
    """One score for every unit, shared by all that goes into and out of it.

    Kernels whose blocks serve groups of units are not masked: a block goes when its group is empty.
    """
    if not sublayer.units:
        return []

    def target(kernel: Kernel) -> Target:
        size = structure.streams[kernel.stream].size
        writes = kernel == sublayer.write
        block = Block(kernel.width, size) if writes else Block(size, kernel.width)
        return Target(kernel.path, shape(structure, sublayer, kernel), block)

    return [
        ScoreGroup(
            sublayer.name,
            sublayer.kind,
            (sublayer.units,),
            tuple(target(kernel) for kernel in sublayer.kernels if not kernel.grouped),
            weights=count_weights(structure, sublayer) // sublayer.units,
            stream=sublayer.write.stream,
        )
    ]


def _block(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    return tuple(
        group
        for sublayer in structure.sublayers
        for group in _separate(structure, sublayer, blocks)
    )


def _hybrid(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    """Blocks where a unit is wider than one channel (heads), else a score a unit (FFNs)."""
    return tuple(
        group
        for sublayer in structure.sublayers
        for group in (
            _separate(structure, sublayer, blocks)
            if sublayer.write.width > 1
            else _shared(structure, sublayer)
        )
    )


def _struct(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    del blocks  # a head and a dimension have their own sizes
    return tuple(
        group for sublayer in structure.sublayers for group in _shared(structure, sublayer)
    )


def _cofi(structure: Structure, blocks: Blocks) -> tuple[ScoreGroup, ...]:
    # Scores of whole sublayers are the method's: they multiply those of their units. What a unit
    # computes is scaled once, where it is written back.
    units = [group._replace(targets=group.targets[-1:]) for group in _struct(structure, blocks)]
    streams = [
        ScoreGroup(
            name, "stream", (stream.size,), (), (*stream.norms, *stream.writers), stream=name
        )
        for name, stream in structure.streams.items()
        if stream.norms
    ]
    if not streams:
        raise ValueError(
            "pattern cofi: the structure names no norms, expected those of the hidden state: say "
            "who shares it (structure.Stream), or take another pattern"
        )
    return (*units, *streams)


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
