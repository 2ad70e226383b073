"""Fisher importances: how far the outputs go with each unit (Kwon et al. 2022), also in steps."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bpjax.pruning.allocation import allocate
from bpjax.pruning.blocks import block_sizes
from bpjax.pruning.costs import Cost
from bpjax.pruning.kept import kept_units, unit_values
from bpjax.pruning.methods.base import (
    Method,
    MethodState,
    keep_state,
    no_penalty,
    require,
)
from bpjax.pruning.methods.dense import NO_PATTERN
from bpjax.pruning.patterns import Pattern
from bpjax.pruning.structure import Kernel, Structure, Sublayer, channels, count_weights

PATTERNS = ("struct", "hybrid")


class FisherState(NamedTuple):
    """What the method has seen and decided, its `fixed` state.

    Attributes:
      importances: running means of what it observes, see `base.Squares`.
      seen: batches that the means are over, as far back as they go.
      kept: mask values by group name.
      cuts: how many are done.
    """

    importances: dict[str, Float[Array, "..."]]
    seen: Int[Array, ""]
    kept: dict[str, Float[Array, "..."]]
    cuts: Int[Array, ""]


def fisher(pattern: Pattern, *, cuts: int = 12, memory: int = 50) -> Method:
    """Keeps the units whose removal would move the outputs most, in all sublayers at one price.

    The importance of a unit (a head, an FFN dimension) is the mean over rows of `(∂L/∂m)²`, by a
    gate m = 1 at what the unit adds. Kwon et al. (section 4.1) take the labels' loss for L, which
    is the empirical Fisher matrix; here it is `importances.squared_gradients`: the outputs' own
    change, which a model that knows its training rows cannot hide. `allocation.allocate` finds
    which units stay at the density that the schedule allows, at `cuts` times spread evenly over it;
    what went stays away. In fine-pruning some rows of each step are looked at; without training,
    calibration rows.

    In pattern hybrid, a block inside a head is worth `(Σ W·∂L/∂W)²`. One goes where that is less
    for each of its weights than the last unit's that stays, but for the best block that a head has
    in a kernel.

    Args:
      pattern: "struct" or "hybrid".
      cuts: how often units go.
      memory: batches that the running means go back.

    Raises:
      ValueError: another pattern, blocks that do not divide a head, or an option below 1.
    """
    require("cuts", cuts, 1)
    require("memory", memory, 1)
    if pattern.name not in (*PATTERNS, NO_PATTERN.name):
        raise ValueError(
            f"method fisher: the pattern is {pattern.name}: expected one that removes units, "
            f"{' or '.join(PATTERNS)}"
        )

    def priced(structure: Structure, cost: Cost, round_to: int) -> Method:
        _require_blocks_in_units(pattern, structure)
        return _priced(pattern, structure, cost, round_to, cuts, memory)

    return Method(
        init=lambda rng, params: MethodState({}, ()),
        masks=lambda state, params, scheduled, rng: _open(pattern),
        penalty=no_penalty,
        update=keep_state,
        penalized=False,
        cut_by="density",
        priced=priced,
    )


def _open(pattern: Pattern) -> dict[str, Float[Array, "..."]]:
    return {group.name: jnp.ones(group.shape) for group in pattern.groups}


def _priced(
    pattern: Pattern, structure: Structure, cost: Cost, round_to: int, cuts: int, memory: int
) -> Method:
    """The method, once it knows what units cost."""
    inside = [group for group in pattern.groups if not group.by_unit]
    owners = {kernel.path: (each, kernel) for each, kernel in structure.kernels()}

    def init(rng, params):
        del rng, params
        # Two arrays: steps donate their buffers, each once.
        seen, done = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        importances = {
            each.name: jnp.zeros(each.units) for each in structure.sublayers if each.units
        }
        importances |= {group.name: jnp.zeros(group.shape) for group in inside}
        return MethodState({}, FisherState(importances, seen, _open(pattern), done))

    def decide(fixed, scheduled):
        alive = kept_units(structure, pattern, fixed.kept).units
        importances, allowed = fixed.importances, scheduled.density
        units = allocate(structure, cost, importances, alive, allowed, round_to)
        values = unit_values(structure, pattern, units)
        kept = {name: fixed.kept[name] * value for name, value in values.items()}
        price = _last_price(structure, importances, units)
        for group in inside:
            (target,) = group.targets
            worth = importances[group.name] / block_sizes(target.kernel_shape, target.block)
            worth = jnp.where(kept[group.name] > 0, worth, -1.0)
            least = jnp.minimum(price, _best_in_unit(worth, *owners[target.path]))
            kept[group.name] *= worth >= least
        return kept

    def masks(state, params, scheduled, rng):
        del params
        return decide(state.fixed, scheduled) if rng is None else state.fixed.kept

    def observe(state, squares):
        fixed = state.fixed
        seen = jnp.minimum(fixed.seen + 1, memory)
        means = {k: x + (squares[k] - x) / seen for k, x in fixed.importances.items()}
        return state._replace(fixed=fixed._replace(importances=means, seen=seen))

    def update(state, params, scheduled, step):
        del step
        fixed = state.fixed
        due = jnp.floor(scheduled.progress * cuts).astype(jnp.int32)

        def cut():
            return fixed._replace(kept=decide(fixed, scheduled), cuts=due)

        return state._replace(fixed=jax.lax.cond(due > fixed.cuts, cut, lambda: fixed)), params

    def closed(state, values):
        return state._replace(fixed=state.fixed._replace(kept=dict(values)))

    return Method(
        init,
        masks,
        no_penalty,
        update,
        penalized=False,
        cut_by="density",
        observe=observe,
        closed=closed,
    )


def _last_price(
    structure: Structure,
    importances: Mapping[str, Float[Array, "..."]],
    kept: Mapping[str, Bool[Array, " _"]],
) -> Float[Array, ""]:
    """Importance for each weight of the unit that has the least of those that are kept."""
    least = [
        jnp.min(jnp.where(kept[each.name], importances[each.name], jnp.inf))
        / (count_weights(structure, each) / each.units)
        for each in structure.sublayers
        if each.units
    ]
    return jnp.min(jnp.stack(least))


def _best_in_unit(
    worth: Float[Array, "rows cols"], sublayer: Sublayer, kernel: Kernel
) -> Float[Array, "..."]:
    """For every block the best of its unit, to be broadcast over the grid."""
    writes = kernel == sublayer.write
    units = channels(sublayer, kernel) // kernel.width
    by_place = worth.max(axis=1 if writes else 0)
    best = jnp.repeat(by_place.reshape(units, -1).max(1), len(by_place) // units)
    return best[:, None] if writes else best[None, :]


def _require_blocks_in_units(pattern: Pattern, structure: Structure) -> None:
    for sublayer, kernel in structure.kernels():
        for group in pattern.groups:
            for target in group.targets:
                block = target.block
                side = block.rows if kernel == sublayer.write else block.cols
                if target.path == kernel.path and kernel.width % side:
                    raise ValueError(
                        f"method fisher: {group.name} has blocks of {block.rows}x{block.cols}: "
                        f"expected {side} to divide the size of a head, {kernel.width}; change "
                        "pruning.block or pruning.block_rules"
                    )
