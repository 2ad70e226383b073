"""Budgets by name: a method that is told what may be left, not how hard to push.

Two things move. The *gain* multiplies the penalty, so that what scores on the schedule's own
threshold leave costs what the schedule allows. The *level* is the threshold (or, for methods that
rank, the density) at which the masks are cut: the schedule's own, but between two that are found by
bisection. What surgery will leave costs no less than the budget, but for what goes all at once with
the next block, and no more than an allowance that falls to it with the square of the progress: at
the end both meet. An allowance that fell with the schedule, which is steep at first, would cut
short runs before their scores mean anything.

Gates that close by themselves (L0) are closed at any level, which can therefore not bring back what
the penalty took too much: where they alone are about to leave less than the budget, it pauses.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from bpjax.pruning.bisection import bisect
from bpjax.pruning.masks import Scalar
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Scores
from bpjax.pruning.schedules import ScheduleValues

BUDGETS = ("penalty", "density", "params", "bytes", "speedup")
"""Kinds of budgets: how hard to push, or what may be left."""

_REACH = 30.0  # levels are logits: σ(±30) is 0 and 1 to float32's precision
_HALVINGS = 20
_EVERY = 16  # steps at most between two cuts: a bisection evaluates the masks `_HALVINGS` times
_CUTS = 64  # at least, in a run that has so many steps
_LARGEST_GAIN = 100.0
_MARGIN = 1.1  # of the budget: Adam goes on closing gates for some steps


class BudgetState(NamedTuple):
    """What the wrapper adds to a method's `fixed` state.

    Attributes:
      inner: the method's own.
      level: logit of the threshold, or of 1 − density.
      log_gain: of the factor on the penalty.
      pushing: 0 while there is no penalty, else 1.
    """

    inner: PyTree
    level: Float[Array, ""]
    log_gain: Float[Array, ""]
    pushing: Float[Array, ""]


def reachable(
    method: Method, fraction: Callable[[Scores], Float[Array, ""]], params: dict
) -> float:
    """The least cost that the method's masks can be cut to, over the whole model's."""
    state = method.init(jax.random.key(0), params)
    zero, one = jnp.zeros(()), jnp.ones(())
    last = ScheduleValues(threshold=zero, penalty=zero, density=one, progress=one)
    scheduled = _at_level(method, last, jnp.float32(_REACH))
    return float(fraction(method.masks(state, params, scheduled, None)))


def _at_level(method: Method, scheduled: ScheduleValues, level: Float[Array, ""]) -> ScheduleValues:
    if method.cut_by == "threshold":
        return scheduled._replace(threshold=jax.nn.sigmoid(level))
    # Arrays of heads, all alike, would all lose one at once: a leap past the budget.
    return scheduled._replace(density=jax.nn.sigmoid(-level), stagger=1.0)


def _own_level(method: Method, scheduled: ScheduleValues) -> Float[Array, ""]:
    if method.cut_by == "threshold":
        return jax.scipy.special.logit(scheduled.threshold)
    return -jax.scipy.special.logit(scheduled.density)


def within_budget(
    method: Method, fraction: Callable[[Scores], Float[Array, ""]], budget: Scalar, steps: int
) -> Method:
    """The method, with its masks cut so that in the end they cost `budget` of the whole model.

    Args:
      method: one whose masks can be cut (`Method.cut_by`).
      fraction: cost of what surgery leaves of these mask values, over the whole model's; never
        rises as more values become 0. Called under jit.
      budget: that fraction; the schedule's density must fall to it.
      steps: T; over a quarter of them, masks that cost e times too much at the schedule's own
        threshold raise the penalty by a factor of e.

    Raises:
      ValueError: nothing cuts the method's masks.
    """
    if method.cut_by is None:
        raise ValueError("nothing cuts this method's masks: give it a penalty instead")

    every = max(1, min(_EVERY, steps // _CUTS))

    def inner(state: MethodState) -> MethodState:
        return MethodState(state.learned, state.fixed.inner)

    def cost(state, params, scheduled):
        return fraction(method.masks(inner(state), params, scheduled, None))

    def solve(state, params, scheduled, allowed):
        """The lowest level at which the masks cost at most what is allowed.

        Where none is, because the method does not cut yet, the one that cuts nothing.
        """

        def is_within(level):
            found = cost(state, params, _at_level(method, scheduled, level))
            return found <= allowed + 1e-6

        found = bisect(is_within, -_REACH, _REACH, _HALVINGS)
        return jnp.where(is_within(jnp.float32(_REACH)), found, -_REACH)

    def find_level(state, params, scheduled):
        allowed = jnp.stack([1 + (budget - 1) * scheduled.progress**2, jnp.float32(budget)])
        low, high = jax.vmap(lambda x: solve(state, params, scheduled, x))(allowed)
        return jnp.clip(_own_level(method, scheduled), low, high)

    def init(rng, params):
        state = method.init(rng, params)
        start = BudgetState(state.fixed, *map(jnp.float32, (-_REACH, 0.0, 1.0)))
        return MethodState(state.learned, start)

    def masks(state, params, scheduled, rng):
        level = find_level(state, params, scheduled) if rng is None else state.fixed.level
        return method.masks(inner(state), params, _at_level(method, scheduled, level), rng)

    def penalty(state, params, scheduled):
        gain = state.fixed.pushing * jnp.exp(state.fixed.log_gain)
        return method.penalty(
            inner(state), params, scheduled._replace(penalty=scheduled.penalty * gain)
        )

    def cut(state, params, scheduled):
        level = find_level(state, params, scheduled)
        off = jnp.log(jnp.maximum(cost(state, params, scheduled), 1e-6) / scheduled.density)
        change = jnp.clip(off, -1, 1) * (4 * every / steps)
        limit = jnp.log(_LARGEST_GAIN)
        gain = jnp.clip(state.fixed.log_gain + change, -limit, limit)
        open_gates = cost(state, params, _at_level(method, scheduled, jnp.float32(-_REACH)))
        pushing = jnp.float32(open_gates > _MARGIN * budget)
        return state.fixed._replace(level=level, log_gain=gain, pushing=pushing)

    def update(
        state: MethodState, params: dict, scheduled: ScheduleValues, step: Int[Array, ""]
    ) -> tuple[MethodState, dict]:
        fixed = jax.lax.cond(
            step % every == 0,
            lambda: cut(state, params, scheduled),
            lambda: state.fixed,
        )
        # The method sees the scheduled as its masks do.
        moved, params = method.update(
            inner(state), params, _at_level(method, scheduled, fixed.level), step
        )
        return MethodState(moved.learned, fixed._replace(inner=moved.fixed)), params

    def calibrate(state, norms):
        assert method.calibrate
        calibrated = method.calibrate(inner(state), norms)
        return MethodState(calibrated.learned, state.fixed._replace(inner=calibrated.fixed))

    return method._replace(
        init=init,
        masks=masks,
        penalty=penalty,
        update=update,
        calibrate=method.calibrate and calibrate,
    )
