"""What an architecture declares about itself, so that patterns and surgery need not know it."""

from typing import Any, NamedTuple

Path = tuple[str, ...]
"""Keys from the root of a parameter tree to one linear layer's `{kernel, bias}`."""


class Attention(NamedTuple):
    """One attention sublayer: head h owns columns `h·head_dim:(h+1)·head_dim` of Q, K and V."""

    query: Path
    key: Path
    value: Path
    output: Path
    heads: int
    head_dim: int

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The layers that read the hidden state."""
        return self.query, self.key, self.value

    @property
    def channels(self) -> int:
        """Width between the input layers and the output layer."""
        return self.heads * self.head_dim


class FeedForward(NamedTuple):
    """One feed-forward sublayer of `size` intermediate dimensions."""

    inner: Path
    outer: Path
    size: int

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The layers that read the hidden state."""
        return (self.inner,)

    @property
    def output(self) -> Path:
        """The layer that writes to the hidden state."""
        return self.outer

    @property
    def channels(self) -> int:
        """Width between the input layer and the output layer."""
        return self.size


Sublayer = Attention | FeedForward
"""Layers that read the hidden state into channels, and one beside them that writes it back."""


class Layer(NamedTuple):
    """One transformer layer; a sublayer with 0 heads or dimensions has no kernels left."""

    name: str
    attention: Attention
    ffn: FeedForward


class Hidden(NamedTuple):
    """Who shares the hidden state, beside the sublayers.

    Attributes:
      tables: embeddings `[rows, hidden]`.
      norms: each normalises the hidden state, scales and shifts it.
      readers: linear layers behind the encoder that read it.
    """

    tables: tuple[Path, ...] = ()
    norms: tuple[Path, ...] = ()
    readers: tuple[Path, ...] = ()


class Structure(NamedTuple):
    """The prunable part of a transformer.

    Attributes:
      layers: in their order.
      hidden_size: dimensions of the hidden state.
      hidden: wanted only where those are pruned too.
    """

    layers: tuple[Layer, ...]
    hidden_size: int
    hidden: Hidden = Hidden()


def kernels(sublayer: Sublayer) -> tuple[Path, ...]:
    """Paths of the layers that a sublayer has left, inputs first."""
    return (*sublayer.inputs, sublayer.output) if sublayer.channels else ()


def at(tree: dict, path: Path) -> Any:
    """The subtree at `path`."""
    for key in path:
        tree = tree[key]
    return tree


def put(tree: dict, path: Path, value: Any) -> dict:
    """A copy of a nested dict with `value` at `path`; only the dicts along the path are copied."""
    key, *rest = path
    return {**tree, key: put(tree.get(key, {}), tuple(rest), value) if rest else value}
