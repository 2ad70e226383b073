"""No pruning, as a method: the stages that train a dense model run through the same step."""

from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.patterns import Pattern

NO_PATTERN = Pattern("none", ())


def dense() -> Method:
    """No scores, no masks, no penalty."""
    return Method(
        init=lambda rng, params: MethodState({}, ()),
        masks=lambda state, params, scheduled, rng: {},
        penalty=no_penalty,
        update=keep_state,
        penalized=False,
    )
