"""What a model has left, by its parts: of an encoder a row a layer, else a row a sublayer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bpjax.report.sizes import encoder_sizes, kind_of
from bpjax.report.table import align, format_layers


class Part(NamedTuple):
    """One sublayer of a model.

    Attributes:
      name: of the sublayer.
      units: that it has.
      weights: linear parameters stored.
      dense_weights: linear parameters before anything was removed; None where that is not known.
      nonzero: weights that are not zero.
    """

    name: str
    units: int
    weights: int
    dense_weights: int | None
    nonzero: int

    @property
    def density(self) -> float | None:
        """Fraction of the linear parameters left; None where that is not known."""
        if self.dense_weights is None:
            return None
        return self.weights / self.dense_weights if self.dense_weights else 1.0

    @property
    def filled(self) -> float:
        """Fraction of the stored weights that are not zero."""
        return self.nonzero / self.weights if self.weights else 1.0


def format_parts(parts: Sequence[Part]) -> tuple[str, dict[str, Any]]:
    """A table of the parts, and the same as JSON values.

    Args:
      parts: the sublayers of a model, in their order.
    """
    encoder = encoder_sizes({part.name: part.units for part in parts})
    rows = _layers(parts) if encoder else parts
    density = [row.density for row in rows if row.density is not None] or None
    filled = [row.filled for row in rows]
    found = {
        "sizes": {part.name: part.units for part in parts},
        "density": density,
        "nonzero": filled,
    }
    if encoder:
        table = format_layers(*encoder, density, filled, [row.weights for row in rows])
        return table, {"heads": encoder.heads, "intermediate": encoder.ffn, **found}
    titles = ("sublayer", "kind", "units", "density", "non-zero")
    lines = [(row.name, kind_of(row.name), f"{row.units:,}", *_shares(row)) for row in rows]
    return align([titles, *lines], left=(0, 1)), found


def _layers(parts: Sequence[Part]) -> list[Part]:
    """The parts of each layer as one."""
    layers: dict[str, Part] = {}
    for part in parts:
        name = part.name.rpartition("/")[0]
        before = layers.get(name, Part(name, 0, 0, 0, 0))
        known = None not in (before.dense_weights, part.dense_weights)
        layers[name] = Part(
            name,
            before.units + part.units,
            before.weights + part.weights,
            (before.dense_weights or 0) + (part.dense_weights or 0) if known else None,
            before.nonzero + part.nonzero,
        )
    return [*layers.values()]


def _shares(part: Part) -> tuple[str, str]:
    density = "–" if part.density is None else f"{part.density:.1%}"
    return density, f"{part.filled:.1%}"
