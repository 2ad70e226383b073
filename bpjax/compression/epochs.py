"""How long each stage trains: from the rows, and from the minutes that there are."""

from collections.abc import Sequence
from typing import NamedTuple

from bpjax.errors import UserError

STEPS = {"teacher": 2500, "prune": 3000, "fill": 2500}
"""Steps that each stage is given where there is time."""

FEWEST_STEPS = {"teacher": 500, "prune": 900, "fill": 300}
"""Steps below which a stage does not do its work: a model is then cut at once."""

MOST_EPOCHS = 20
"""More passes over the same rows teach nothing."""

SHARES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Of `STEPS`, tried in this order."""

MEASURE_MINUTES = 1.5
"""For comparing a model with the dense one: size, latency, metric."""

CUT_MINUTES = 2.0
"""For measuring importances of 1,024 rows, cutting at once and fitting what is left."""


class Pace(NamedTuple):
    """How fast this machine trains the model.

    Attributes:
      epoch: steps in a pass over the rows.
      seconds: of a pass in fine-pruning.
      compiling: seconds to compile the steps of fine-pruning.
      planning: seconds that have gone by until this was known.
    """

    epoch: int
    seconds: float
    compiling: float
    planning: float = 0.0


class Epochs(NamedTuple):
    """Passes over the rows, and what they take.

    Attributes:
      teacher: of a model whose head is new; 0 of another.
      prune: of each model; 0 cuts at once.
      fill: of each model.
      minutes: by stage, all models together.
    """

    teacher: int
    prune: int
    fill: int
    minutes: dict[str, float]

    @property
    def total(self) -> float:
        """Minutes of all stages."""
        return sum(self.minutes.values())


def choose_epochs(
    pace: Pace, left: Sequence[float], minutes: float | int, *, is_new: bool
) -> Epochs:
    """As many as are worth it and fit: gradually if the fewest steps of that fit, else cut at once.

    Args:
      pace: on this machine.
      left: fraction of its cost that each model keeps, the largest model first; each is pruned
        from the one before it.
      minutes: that there are.
      is_new: whether the model is fine-tuned first.

    Raises:
      UserError: the minutes are too few for anything.
    """
    for gradually in (True, False):
        stages = ("teacher",) * is_new + ("prune",) * gradually + ("fill",)
        for share in SHARES:
            found = _plan(pace, left, {x: max(FEWEST_STEPS[x], share * STEPS[x]) for x in stages})
            if found.total <= minutes:
                return found
    raise UserError(
        f"--minutes={minutes:g}: expected {found.total:.0f} or more for this model, these rows and "
        "this machine; raise it, or take fewer rows with --task.limit"
    )


def _plan(pace: Pace, left: Sequence[float], steps: dict[str, float | int]) -> Epochs:
    epochs = {x: min(MOST_EPOCHS, max(1, round(n / pace.epoch))) for x, n in steps.items()}
    # Of a step that goes through the student, forwards and backwards, and through its teacher once.
    shares = {
        "teacher": [3 / 4],
        "prune": [(1 + 3 * size) / 4 for size in (1.0, *left[:-1])],
        "fill": [(1 + 3 * size) / 4 for size in left],
    }
    taken = {
        # A smaller model's steps take as long to compile.
        stage: sum(pace.compiling + share * count * pace.seconds for share in shares[stage]) / 60
        for stage, count in epochs.items()
    }
    taken.setdefault("prune", CUT_MINUTES * len(left))
    taken |= {"measure": MEASURE_MINUTES * len(left), "planning": pace.planning / 60}
    return Epochs(epochs.get("teacher", 0), epochs.get("prune", 0), epochs["fill"], taken)
