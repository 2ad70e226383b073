"""What a compression is asked for, checked before anything is read."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpjax.errors import UserError

AUTO = "auto"
"""The task is the one that table and model fit."""

MEGABYTE = 1_000_000


@dataclasses.dataclass(frozen=True)
class Request:
    """A model, a table, and how small or fast the model is to become.

    Attributes:
      model: a folder, an installed package or a hub name.
      data: the table to train on.
      eval: the table to evaluate on; empty: a part of the table to train on.
      kind: "speedup" (times faster at 8x128 on this machine), "density" (fraction of the linear
        parameters that is left) or "megabytes" (of the parameters, saved in float32).
      values: of that kind, the largest model's first.
      minutes: that all of it may take on this machine.
      seed: of all random numbers.
      task: "text", "tokens", … or "auto".
      options: of the task, by name.
      new_head: train a new head though the model has one.
    """

    model: str
    data: str
    eval: str
    kind: str
    values: tuple[float, ...]
    minutes: float
    seed: int = 17
    task: str = AUTO
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    new_head: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models to be made, such as speedup3."""
        return tuple(f"{self.kind}{value:g}" for value in self.values)

    @property
    def budgets(self) -> tuple[str, tuple[float, ...]]:
        """The same as `budget.kind` and values of it."""
        if self.kind == "megabytes":
            return "bytes", tuple(value * MEGABYTE for value in self.values)
        return self.kind, self.values


Numbers = float | int | Sequence[float | int] | None


def make_request(
    model: str,
    data: str,
    *,
    eval: str | None = None,
    speedup: Numbers = None,
    density: Numbers = None,
    megabytes: Numbers = None,
    minutes: float | int = 60,
    **others: Any,
) -> Request:
    """A request with one kind of target, in order.

    Args:
      model: as in `Request`.
      data: as in `Request`.
      eval: as in `Request`.
      speedup: one or several.
      density: the same.
      megabytes: the same.
      minutes: as in `Request`.
      **others: as in `Request`.

    Raises:
      UserError: no target or targets of several kinds, or a number out of range.
    """
    asked = {"speedup": speedup, "density": density, "megabytes": megabytes}
    given = {kind: value for kind, value in asked.items() if value is not None}
    if len(given) != 1:
        named = " and ".join(f"--{kind}" for kind in given) or "no target"
        raise UserError(
            f"{named}: expected one of {', '.join(f'--{kind}' for kind in asked)}; say how small "
            "or how fast the model is to become"
        )
    ((kind, value),) = given.items()
    values = tuple(float(x) for x in (value if isinstance(value, Sequence) else (value,)))
    for x in values:
        _require(kind, x, *_RANGES[kind])
    if len(set(values)) < len(values) or not values:
        raise UserError(f"--{kind}={_join(values)}: expected different numbers; name each once")
    _require("minutes", float(minutes), 0.0, math.inf, "a number above 0")
    ordered = tuple(sorted(values, reverse=kind != "speedup"))
    model, data, evaluated = map(_absolute, (model, data, eval or ""))
    return Request(model, data, evaluated, kind, ordered, float(minutes), **others)


def _absolute(path: str) -> str:
    """The same file or folder from anywhere; what is none, such as a package, as it is."""
    found = Path(path).expanduser()
    return str(found.absolute()) if path and found.exists() else path


_RANGES = {
    "speedup": (1.0, math.inf, "a number above 1, how many times faster"),
    "density": (0.0, 1.0, "a fraction between 0 and 1, of the linear parameters"),
    "megabytes": (0.0, math.inf, "a number above 0"),
}


def _require(name: str, value: float, above: float, below: float, words: str) -> None:
    if not above < value < below:
        raise UserError(f"--{name}={value:g}: expected {words}; change it")


def _join(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
