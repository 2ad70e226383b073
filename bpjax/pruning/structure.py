"""What an architecture declares about itself, so that patterns and surgery need not know it."""

from typing import NamedTuple

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


class FeedForward(NamedTuple):
    """One feed-forward sublayer of `size` intermediate dimensions."""

    inner: Path
    outer: Path
    size: int


class Layer(NamedTuple):
    """One transformer layer; a sublayer with 0 heads or dimensions has no kernels left."""

    name: str
    attention: Attention
    ffn: FeedForward


class Structure(NamedTuple):
    """The prunable part of a transformer."""

    layers: tuple[Layer, ...]
    hidden_size: int


def at(tree: dict, path: Path):
    """The subtree at `path`."""
    for key in path:
        tree = tree[key]
    return tree


def put(tree: dict, path: Path, value) -> dict:
    """A copy of a nested dict with `value` at `path`; only the dicts along the path are copied."""
    if not path:
        return value
    return {**tree, path[0]: put(tree.get(path[0], {}), path[1:], value)}
