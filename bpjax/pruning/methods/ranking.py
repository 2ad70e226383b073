"""How methods that rank keep the best scores: a share of each array, or n of every m."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from bpjax.pruning import masks
from bpjax.pruning.patterns import Pattern, Scores
from bpjax.pruning.schedules import ScheduleValues

RANKINGS = ("top_k", "n_m")


class Ranking(NamedTuple):
    """What keeps the best, and the fields of `Method` that follow from it.

    Attributes:
      keep: `(scores, scheduled) -> mask values`, with straight-through gradients.
      penalized: see `Method`; n of m has no other budget, and does nothing with it.
      cut_by: see `Method`.
    """

    keep: Callable[[Scores, ScheduleValues], Scores]
    penalized: bool
    cut_by: str | None


def ranking(pattern: Pattern, binarizer: str, n_of_m: tuple[int, int]) -> Ranking:
    """Keeps the best by one of `RANKINGS`.

    Args:
      pattern: which kernels are scored, in what blocks.
      binarizer: "top_k", a density of each array (`keep_best`), or "n_m" (`keep_n_of_m`), which is
        for patterns of 1×1 blocks.
      n_of_m: what "n_m" keeps of every run of inputs.

    Raises:
      ValueError: an unknown binarizer, n beyond m, or a pattern that "n_m" cannot serve.
    """
    require_n_of_m(n_of_m)
    if binarizer not in RANKINGS:
        raise ValueError(f"binarizer is {binarizer!r}: expected one of {', '.join(RANKINGS)}")
    if binarizer == "top_k":
        return Ranking(keep_best, penalized=False, cut_by="density")
    if any(t.grid != t.kernel_shape for group in pattern.groups for t in group.targets):
        raise ValueError(
            f"binarizer is 'n_m': expected a pattern of 1×1 blocks, such as unstructured, not "
            f"{pattern.name}"
        )
    return Ranking(partial(keep_n_of_m, n_of_m=n_of_m), penalized=True, cut_by=None)


def require_n_of_m(n_of_m: tuple[int, int]) -> None:
    """Refuses what is not n of m.

    Raises:
      ValueError: not two whole numbers, or n is not between 1 and m.
    """
    whole = len(n_of_m) == 2 and all(isinstance(x, int) for x in n_of_m)
    if not whole or not 1 <= n_of_m[0] <= n_of_m[1]:
        raise ValueError(f"n_of_m is {n_of_m!r}: expected whole numbers (n, m), 1 <= n <= m")


def keep_best(scores: Scores, scheduled: ScheduleValues) -> Scores:
    """Keeps the highest scores of each array, by `scheduled.density`: see `masks.top_k`.

    With `scheduled.stagger`, the i-th of N arrays takes its next block i/N of that block earlier.
    At most one block of an array, it lets a budget be met where blocks are large: heads.
    """
    return {
        name: masks.top_k(score, scheduled.density, scheduled.stagger * i / len(scores))
        for i, (name, score) in enumerate(sorted(scores.items()))
    }


def keep_n_of_m(scores: Scores, scheduled: ScheduleValues, n_of_m: tuple[int, int]) -> Scores:
    """Keeps the n highest scores of every m inputs: see `masks.n_m`.

    The schedule falls from m to n one at a time, cubically in its progress: scores of zero know no
    order, and a model that loses half of its weights at once may not come back.
    """
    n, m = n_of_m
    kept = jnp.round(n + (m - n) * (1 - scheduled.progress) ** 3).astype(jnp.int32)
    return {name: masks.n_m(score, kept, m) for name, score in scores.items()}
