"""What an architecture declares about itself, so that patterns and surgery need not know it.

A transformer is a list of *sublayers*. Each owns *units* (attention heads, FFN dimensions), which
read one or more *residual streams* by kernels and write to one. `Silence` says when a unit adds
nothing but a constant. From this alone come masks, budgets, surgery, fill and reports.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Path = tuple[str, ...]
"""Keys from the root of a parameter tree to one layer's `{kernel}` or `{kernel, bias}`."""


class Kernel(NamedTuple):
    """A matrix `[in, out]` between a residual stream and a sublayer's channels.

    Attributes:
      role: "query", "value", "in", "output"…: unique in its sublayer.
      path: of `{kernel}` or `{kernel, bias}`, of any length.
      width: channels of one block: the size of a head, or 1.
      grouped: whether a block serves a group of units (keys and values of grouped heads) and not
        one.
      stream: whose dimensions it reads or writes.
      tokens: the array of a batch that is 1 at the real tokens it is multiplied with, 0 at padding:
        a decoder's kernels meet other tokens than an encoder's.
    """

    role: str
    path: Path
    width: int = 1
    grouped: bool = False
    stream: str = "hidden"
    tokens: str = "attention_mask"


class Silence(NamedTuple):
    """When a unit adds a constant: where its block of any kernel in `feeds` is zero.

    Besides, whatever the rule, a unit adds nothing where its rows of the write kernel are zero.

    Attributes:
      feeds: roles of kernels.
      constant: from the biases `[channels]` of these kernels by role, zeros where there are none,
        to what a silent unit writes in place of its channels. None: nothing, and then a block
        counts as zero with its bias only.
    """

    feeds: tuple[str, ...]
    constant: Callable[[Mapping[str, Float[Array, " channels"]]], Float[Array, " channels"]] | None


VALUE = Silence(("value",), lambda biases: biases["value"])
"""Attention weights sum to 1: a head without values adds its value bias, whatever it sees."""

GATED = Silence(("gate", "up"), None)
"""`activation(gate) · up` is 0 where either is, for activations with `activation(0) = 0`."""


@functools.cache
def inner(activation: Callable[[Array], Array]) -> Silence:
    """Of an FFN: a dimension that reads nothing is its bias through the activation."""
    return Silence(("in",), lambda biases: activation(biases["in"]))


class Sublayer(NamedTuple):
    """Units that read residual streams and write to one.

    Attributes:
      name: "layer_0/attention"; what stands before the last "/" is its layer. Files go by it.
      kind: its name without numbers, "attention", "ffn", "experts", "decoder/cross_attention"…:
        kinds are weighed and reported apart.
      units: how many; 0 where nothing is left but, perhaps, the write kernel's bias.
      reads: kernels from streams to channels.
      write: the kernel from channels to a stream.
      silence: when a unit can go.
      groups: units in each group, in order; empty where each unit has blocks of its own.
      mixes: channels of a unit that meet other positions (of its query or key, and of its value);
        0 where tokens are apart.
      norm: of a norm before this sublayer alone, which goes with the last unit.
    """

    name: str
    kind: str
    units: int
    reads: tuple[Kernel, ...]
    write: Kernel
    silence: Silence
    groups: tuple[int, ...] = ()
    mixes: int = 0
    norm: Path | None = None

    @property
    def layer(self) -> str:
        """The layer that it is a part of, for reports."""
        return self.name.rpartition("/")[0]

    @property
    def stack(self) -> str:
        """The stack of layers that it is in, "encoder" or "decoder"; "" where there is one."""
        parts = itertools.takewhile(lambda part: not part[-1:].isdigit(), self.name.split("/"))
        return "/".join(parts)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All its kernels, those that read first; none where no unit is left."""
        return (*self.reads, self.write) if self.units else ()


class Stream(NamedTuple):
    """The dimensions of a residual stream, and who shares them beside the sublayers.

    Attributes:
      size: how many.
      tables: embeddings `[rows, size]`.
      norms: scale, and perhaps a bias, `[size]`; masks of the stream act on them.
      vectors: other arrays `[size]`.
      readers: kernels `[size, out]`, such as a pooler.
      writers: kernels `[in, size]`, such as a patch embedding.
    """

    size: int
    tables: tuple[Path, ...] = ()
    norms: tuple[Path, ...] = ()
    vectors: tuple[Path, ...] = ()
    readers: tuple[Path, ...] = ()
    writers: tuple[Path, ...] = ()


class Structure(NamedTuple):
    """The prunable part of one model.

    Attributes:
      sublayers: in their order.
      streams: by name.
    """

    sublayers: tuple[Sublayer, ...]
    streams: Mapping[str, Stream]

    def kernels(self) -> Iterator[tuple[Sublayer, Kernel]]:
        """Every kernel that is left, with its sublayer."""
        return ((each, kernel) for each in self.sublayers for kernel in each.kernels)


class Sizes(NamedTuple):
    """How many units and dimensions there are, by name.

    Attributes:
      units: by sublayer; where they are grouped, a tuple of the units in each group.
      streams: dimensions of each stream.
      biases: sublayers whose write kernel gained a bias that the architecture does not have.
    """

    units: Mapping[str, int | tuple[int, ...]]
    streams: Mapping[str, int]
    biases: tuple[str, ...] = ()


def tokens_of(structure: Structure, state: str) -> str:
    """Which tokens a layer's states, or the embeddings', are those of: see `Kernel.tokens`.

    Args:
      structure: of the model.
      state: "layer_0", or "embeddings" of the layers that stand beside it.
    """
    written = {each.layer: each.write.tokens for each in structure.sublayers}
    beside = {layer.rpartition("/")[0]: tokens for layer, tokens in written.items()}
    return written.get(state) or beside[state.rpartition("/")[0]]


def tokens_beside(structure: Structure, path: Path) -> str:
    """Which tokens a norm meets, or what else is no kernel: those of the sublayers at its place.

    Args:
      structure: of the model.
      path: of the layer.
    """
    place = path[:-1]
    there = (each.write for each in structure.sublayers if each.write.path[: len(place)] == place)
    return next((kernel.tokens for kernel in there), Kernel._field_defaults["tokens"])


def sizes_of(structure: Structure) -> Sizes:
    """Of a model as it is."""
    return Sizes(
        units={each.name: each.groups or each.units for each in structure.sublayers},
        streams={name: stream.size for name, stream in structure.streams.items()},
    )


def channels(sublayer: Sublayer, kernel: Kernel) -> int:
    """Columns of a kernel that reads, rows of one that writes."""
    return kernel.width * (len(sublayer.groups) if kernel.grouped else sublayer.units)


def shape(structure: Structure, sublayer: Sublayer, kernel: Kernel) -> tuple[int, int]:
    """Of a kernel: inputs and outputs."""
    size, inside = structure.streams[kernel.stream].size, channels(sublayer, kernel)
    return (inside, size) if kernel == sublayer.write else (size, inside)


def count_weights(structure: Structure, sublayer: Sublayer) -> int:
    """Linear parameters of a sublayer: the weights in its kernels."""
    return sum(math.prod(shape(structure, sublayer, kernel)) for kernel in sublayer.kernels)


def group_of(sublayer: Sublayer) -> Int[np.ndarray, " units"]:
    """The group of each unit, where units are grouped."""
    return np.repeat(np.arange(len(sublayer.groups)), sublayer.groups)


def blocks(sublayer: Sublayer, kernel: Kernel) -> Int[np.ndarray, " units"]:
    """The block of a kernel that each unit uses."""
    return group_of(sublayer) if kernel.grouped else np.arange(sublayer.units)


def read(params: dict, kernel: Kernel) -> tuple[Array | np.ndarray, Array | np.ndarray | None]:
    """The weights of a kernel, and its bias if it has one."""
    found = at(params, kernel.path)
    return found["kernel"], found.get("bias")


def at(tree: dict, path: Path) -> Any:
    """The subtree at `path`."""
    for key in path:
        tree = tree[key]
    return tree


def has(tree: Any, path: Path) -> bool:
    """Whether there is something at `path`."""
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return False
        tree = tree[key]
    return True


def put(tree: dict, path: Path, value: Any) -> dict:
    """A copy of a nested dict with `value` at `path`; only the dicts along the path are copied."""
    key, *rest = path
    return {**tree, key: put(tree.get(key, {}), tuple(rest), value) if rest else value}


def drop(tree: dict, path: Path) -> dict:
    """A copy of a nested dict without what is at `path`; nothing else of it changes."""
    key, *rest = path
    if rest:
        return {**tree, key: drop(tree[key], tuple(rest))}
    return {name: value for name, value in tree.items() if name != key}


def unit_biases(params: dict, sublayer: Sublayer) -> dict[str, Float[Array, " channels"]]:
    """Biases of the kernels that feed a sublayer's units, by role, a block a unit.

    Zeros where a kernel has none.
    """
    found = {}
    for kernel in sublayer.reads:
        if kernel.role in sublayer.silence.feeds:
            weights, bias = read(params, kernel)
            if bias is None:
                bias = np.zeros(weights.shape[1], weights.dtype)
            by_block = np.asarray(bias).reshape(-1, kernel.width)
            found[kernel.role] = jnp.asarray(by_block[blocks(sublayer, kernel)].ravel())
    return found
