"""What is left of each sublayer, as a report tells it: units by sublayer name.

A sublayer's name is its layer's, its kind, and a number where a layer has several of that kind:
"layer_0/attention", "layer_0/ffn", "layer_3/experts/5". Units are heads, feed-forward dimensions or
whatever its kind removes; a list counts them by group. Transformer encoders, whose layers have one
attention and one feed-forward sublayer each, are also told by two lists, `heads_kept` and
`ffn_kept`, which older reports have alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Units: TypeAlias = int | Sequence[int]
"""Of a sublayer: how many, or how many in each group."""

ATTENTION, FFN = "attention", "ffn"
TITLES = {ATTENTION: "heads", FFN: "FFN dimensions"}
"""What the units of a kind are called in tables; those of other kinds by their kind's name."""


class EncoderSizes(NamedTuple):
    """Units of an encoder, by layer.

    Attributes:
      heads: attention heads.
      ffn: feed-forward dimensions.
    """

    heads: list[int]
    ffn: list[int]


def size_keys(sizes: Mapping[str, Units], dense_sizes: Mapping[str, Units]) -> dict[str, Any]:
    """The keys that say in a report what is left.

    Args:
      sizes: units left, by sublayer name, in the order of the sublayers; 0 where none is left.
      dense_sizes: the same of the dense model.

    Returns:
      `sizes` and `dense_sizes`; of an encoder also `heads_kept` and `ffn_kept`, lists by layer.

    Raises:
      ValueError: the two do not name the same sublayers.
    """
    if sizes.keys() != dense_sizes.keys():
        raise ValueError(f"sizes of {', '.join(sizes)}: expected those of {', '.join(dense_sizes)}")
    keys: dict[str, Any] = {"sizes": dict(sizes), "dense_sizes": dict(dense_sizes)}
    if encoder := encoder_sizes(sizes):
        keys |= {"heads_kept": encoder.heads, "ffn_kept": encoder.ffn}
    return keys


def sizes_of(report: Mapping[str, Any]) -> dict[str, Units]:
    """Units left, by sublayer name; of a report that has no `sizes`, from its two lists.

    Args:
      report: as in report.json; one of `has_sizes`.
    """
    if "sizes" in report:
        return dict(report["sizes"])
    pairs = zip(report["heads_kept"], report["ffn_kept"], strict=True)
    return {
        f"layer_{i}/{kind}": units
        for i, pair in enumerate(pairs)
        for kind, units in zip((ATTENTION, FFN), pair, strict=True)
    }


def dense_sizes_of(report: Mapping[str, Any]) -> dict[str, Units]:
    """Units of the dense model, by sublayer name; none where an older report does not tell."""
    return dict(report.get("dense_sizes", {}))


def streams_of(model: Mapping[str, Any]) -> dict[str, int]:
    """Dimensions of a model's residual streams by name, of `dense` or `pruned` in a report.

    An encoder has the one stream "hidden", which reports call `hidden_size`.
    """
    if "streams" in model:
        return dict(model["streams"])
    return {"hidden": model["hidden_size"]} if "hidden_size" in model else {}


def has_sizes(report: Mapping[str, Any]) -> bool:
    """Whether a report says what is left, in today's form or in the older one."""
    return "sizes" in report or ("heads_kept" in report and "ffn_kept" in report)


def encoder_sizes(sizes: Mapping[str, Units]) -> EncoderSizes | None:
    """Heads and feed-forward dimensions by layer, where each layer has one sublayer of each kind.

    Returns:
      None for any other architecture.
    """
    layers: dict[str, dict[str, int]] = {}
    for name, units in sizes.items():
        layer, _, kind = name.rpartition("/")
        layers.setdefault(layer, {})[kind] = count_units(units)
    if not layers or any(layer.keys() != {ATTENTION, FFN} for layer in layers.values()):
        return None
    return EncoderSizes(*([layer[kind] for layer in layers.values()] for kind in (ATTENTION, FFN)))


def units_by_kind(sizes: Mapping[str, Units]) -> dict[str, int]:
    """Units of all sublayers of a kind, by kind, in the order in which kinds first appear."""
    found: dict[str, int] = {}
    for name, units in sizes.items():
        kind = kind_of(name)
        found[kind] = found.get(kind, 0) + count_units(units)
    return found


def kind_of(name: str) -> str:
    """The kind of a sublayer: its name without the parts that end with a number."""
    return "/".join(part for part in name.split("/") if not part[-1:].isdigit()) or name


def count_units(units: Units) -> int:
    """Units of a sublayer, over all its groups."""
    return units if isinstance(units, int) else sum(units)
