"""CoFi: gates of five granularities, held to a density by multipliers (Xia et al. 2022)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax.pruning.masks import hard_concrete, lowest, open_probability
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.methods.dense import NO_PATTERN
from bpjax.pruning.patterns import Pattern, ScoreGroup

_LIMIT = math.log(100)
_SHARPNESS = 1.2  # of a gate in evaluation: 0.8 / β, as in the authors' code


def cofi(
    pattern: Pattern, *, initial: float | int = _LIMIT, initial_ffn: float | int = 0.0
) -> Method:
    """Hard concrete gates of heads, FFN and hidden dimensions, and of whole sublayers.

    A head is as open as its gate times that of its attention, likewise a dimension of an FFN. In
    training gates are drawn, and `λ₁(ŝ − t) + λ₂(ŝ − t)²` is added to the loss, where ŝ is the
    expected density, t the schedule's, and the multipliers rise where the loss falls. In evaluation
    as many of an array are 0 as are expected to be, the lowest; the others keep a value between 0
    and 1, which surgery folds into the weights. A threshold beside 0.5 shifts how many.

    Args:
      pattern: "cofi".
      initial: log α at the start, about which it is drawn; of all gates but those below.
      initial_ffn: of units of one channel: the dimensions of FFNs.

    Raises:
      ValueError: another pattern.
    """
    if pattern.name not in ("cofi", NO_PATTERN.name):
        raise ValueError(f"method cofi: the pattern is {pattern.name}: expected cofi")
    sublayers = [group for group in pattern.groups if group.targets]

    def init(rng, params):
        del params
        rngs = jax.random.split(rng, len(pattern.groups))
        gates = {
            group.name: (initial_ffn if _is_narrow(group) else initial)
            + 0.01 * jax.random.normal(key, group.shape)
            for group, key in zip(pattern.groups, rngs, strict=True)
        }
        whole = {group.name: jnp.full((), initial, float) for group in sublayers}
        multipliers = {"linear": jnp.zeros(()), "quadratic": jnp.zeros(())}
        return MethodState({"gates": gates, "whole": whole, "multipliers": multipliers}, ())

    def mask_values(state, params, scheduled, rng):
        del params
        log_alphas, tree = jax.tree.flatten((state.learned["gates"], state.learned["whole"]))
        if rng is None:
            values = [_expected_gates(x, scheduled.threshold) for x in log_alphas]
        else:
            rngs = jax.random.split(rng, len(log_alphas))
            values = [hard_concrete(x, key) for x, key in zip(log_alphas, rngs, strict=True)]
        gates, whole = jax.tree.unflatten(tree, values)
        return gates | {name: gates[name] * gate for name, gate in whole.items()}

    def penalty(state, params, scheduled):
        del params
        off = expected_density(pattern, state.learned) - scheduled.density
        factors = jax.tree.map(_ascend, state.learned["multipliers"])
        return factors["linear"] * off + factors["quadratic"] * off**2

    def update(state, params, scheduled, step):
        del scheduled, step
        clamped = {
            name: jax.tree.map(lambda x: jnp.clip(x, -_LIMIT, _LIMIT), state.learned[name])
            for name in ("gates", "whole")
        }
        return state._replace(learned=state.learned | clamped), params

    return Method(
        init,
        mask_values,
        penalty,
        update,
        penalized=False,
        cut_by="threshold",
        takes_streams=True,
    )


def expected_density(pattern: Pattern, learned: dict) -> Float[Array, ""]:
    """Expected fraction of the linear parameters that draws of the gates leave.

    A weight is there if its head or FFN dimension, the sublayer and the hidden dimension are.

    Args:
      pattern: "cofi".
      learned: of the method's state.
    """
    chances, whole = (jax.tree.map(open_probability, learned[x]) for x in ("gates", "whole"))
    left: dict[str, Array] = {}
    total = 0.0
    for group in pattern.groups:
        if group.targets:
            found = group.weights * chances[group.name].sum() * whole[group.name]
            left[group.stream] = left.get(group.stream, 0.0) + found
            total += group.weights * math.prod(group.shape)
    # Kernels that read another stream than their sublayer writes to are taken to follow the latter.
    shares = [
        count / total * (chances[stream].mean() if stream in chances else 1.0)
        for stream, count in left.items()
    ]
    return sum(shares[1:], shares[0])


def _is_narrow(group: ScoreGroup) -> bool:
    """Whether a score is of one channel, as of an FFN's dimension, and not of a head."""
    return any(target.block.rows == 1 for target in group.targets)


def _expected_gates(
    log_alpha: Float[Array, "*n"], threshold: Float[Array, ""]
) -> Float[Array, "*n"]:
    """The gates of a model to be kept: the lowest are 0, as many as are expected to be."""
    shift = jax.scipy.special.logit(threshold)
    expected = jnp.sum(1 - open_probability(log_alpha - shift))
    shut = lowest(log_alpha, jnp.round(expected))
    return jnp.where(shut, 0.0, jax.nn.sigmoid(_SHARPNESS * log_alpha))


def _ascend(multiplier: Float[Array, ""]) -> Float[Array, ""]:
    """The multiplier, with its gradient turned round: what the optimizer lowers, it raises."""
    return 2 * jax.lax.stop_gradient(multiplier) - multiplier
