"""How fast a model is."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bpjax import models
from bpjax.api.model import opened
from bpjax.measure import latency
from bpjax.models.inputs import common
from bpjax.prediction.model import Model
from bpjax.training.evaluation import apply


class Latency(NamedTuple):
    """Time of one forward pass, the median of several.

    Attributes:
      ms: of the model, in milliseconds.
      against_ms: of the one that it was timed against; None where there was none.
    """

    ms: float
    against_ms: float | None = None

    @property
    def speedup(self) -> float | None:
        """How many times faster the model is than the other one."""
        return self.against_ms / self.ms if self.against_ms is not None else None


def benchmark(
    model: Model | str | Path,
    against: Model | str | Path | None = None,
    *,
    shapes: Sequence[str] = ("1x128", "8x128"),
    rounds: int = 20,
) -> dict[str, Latency]:
    """Times a model on this device, or two against each other in turns.

    Programs are compiled before they are timed, and rows have no padding.

    Args:
      model: a model, or what `load` takes.
      against: another one, such as the dense one.
      shapes: BATCHxLENGTH, rows and tokens in each.
      rounds: timed passes of each model and shape at most; fewer where 30 seconds are over.

    Returns:
      Times by shape.

    Raises:
      UserError: a shape that is none, or of more tokens than a model has positions.
      ValueError: no rounds.

    Example:
      >>> import bpjax
      >>> times = bpjax.benchmark(
      ...     "runs/quickstart/fill/model", "runs/quickstart/teacher/model", shapes=["1x16"]
      ... )
      >>> times["1x16"].ms > 0 and times["1x16"].speedup > 0
      True
    """
    sizes = latency.parse_shapes(shapes)
    timed = [opened(each) for each in (model, against) if each is not None]
    # States and logits: of a model without a head, logits alone would be no work at all.
    calls = {
        str(place): (functools.partial(apply, each.config), each.params)
        for place, each in enumerate(timed)
    }
    inputs = common([models.inputs(each.config) for each in timed])
    taken = latency.compare_latency(calls, sizes, inputs=inputs, rounds=rounds)
    return {shape: Latency(*(taken[name][shape] for name in calls)) for shape in taken["0"]}
