"""Sizes by sublayer and stream, as config.json has them."""

from collections.abc import Mapping, Sequence
from typing import Any

from bpjax.errors import UserError
from bpjax.pruning.structure import Sizes

SHRUNKEN_KEY = "bpjax"
"""What of config.json is ours: the sizes of a model whose layers differ, and more of it."""

FORMAT = 2
"""Of that. Format 1, before sizes went by sublayer, had none."""


def to_json(sizes: Sizes) -> dict[str, Any]:
    """As JSON values: `{"units": {"layer_0/attention": 1, …}, "streams": {"hidden": 384}}`."""
    data: dict[str, Any] = {
        "units": {
            name: list(count) if isinstance(count, tuple) else count
            for name, count in sizes.units.items()
        },
        "streams": dict(sizes.streams),
    }
    return data | ({"biases": list(sizes.biases)} if sizes.biases else {})


def from_json(data: Any, sublayers: Sequence[str], streams: Sequence[str], where: str) -> Sizes:
    """What `to_json` gave.

    Args:
      data: of a file.
      sublayers: names of those that the model has.
      streams: names of those that the model has.
      where: the file and the key, for messages.

    Raises:
      UserError: names that the model does not have, or lacks; what is not a number of units.
    """
    data = data if isinstance(data, Mapping) else {}
    units, sizes = data.get("units"), data.get("streams")
    for found, names, least in ((units, sublayers, 0), (sizes, streams, 1)):
        if not isinstance(found, Mapping) or set(found) != set(names):
            shown = sorted(found) if isinstance(found, Mapping) else found
            raise UserError(
                f"{where} has {str(shown)[:200]}: expected {len(names)} sizes, of "
                f"{', '.join(names[:2])}{'…' if len(names) > 2 else ''}; save the model again"
            )
        for name, value in found.items():
            counts = value if isinstance(value, list) and least == 0 else [value]
            if not all(is_size(count, least) for count in counts):
                raise UserError(
                    f"{where}: {name} is {value!r}: expected a whole number of at least {least}; "
                    "save the model again"
                )
    left = {name: tuple(n) if isinstance(n, list) else n for name, n in units.items()}
    biases = data.get("biases", [])
    unknown = [name for name in biases if name not in left]
    if unknown:
        raise UserError(
            f"{where}: biases names {unknown[0]!r}: expected a sublayer of the model; save the "
            "model again"
        )
    return Sizes(left, dict(sizes), tuple(biases))


def is_size(value: Any, least: int) -> bool:
    """Whether a value of a file is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
