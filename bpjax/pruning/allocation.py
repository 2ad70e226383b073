"""Which units are worth most within a budget, whatever their sublayers and their costs are."""

from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bpjax.pruning.bisection import bisect
from bpjax.pruning.costs import Cost
from bpjax.pruning.masks import Scalar
from bpjax.pruning.structure import Structure, Sublayer

Units = Mapping[str, Bool[Array, " _"]]
"""Which units of each sublayer, by its name."""

_HALVINGS = 22
_LEAST, _MOST = -40.0, 40.0  # logarithms of a price: importance over cost, both as shares


def allocate(
    structure: Structure,
    cost: Cost,
    importances: Mapping[str, Float[Array, "..."]],
    alive: Units,
    allowed: Scalar,
    round_to: int = 1,
) -> dict[str, Bool[Array, " _"]]:
    """The units that keep the most importance at a cost of at most `allowed`.

    Importance is a sum over units, and cost a sum over sublayers that depends on the number of
    their units. With a price λ the best number n of units is each sublayer's own affair, that with
    the largest `importance(n) − λ · cost(n)` of its n best; a sublayer whose first unit is dear may
    go whole. The lowest price that meets the budget is found by bisection. What is left of the
    budget then, less than the next unit costs or a step in a sublayer's cost, is spent on the units
    of most importance for their cost that still fit. Where all costs are in proportion to the
    units, this is the search of Kwon et al. 2022 (section 4.1) over numbers of heads and dimensions
    at once, to within the last unit.

    Args:
      structure: of the whole model.
      cost: of a model, in any unit. Kernels that groups of units share cost as if the units that
        stay were of as many groups as they can be.
      importances: of units that are alive; at least 0.
      alive: units that may be kept.
      allowed: fraction of the whole model's cost.
      round_to: see `Cost.fraction`.

    Returns:
      What is kept of each sublayer: all that is alive where that costs no more.
    """
    sublayers = [each for each in structure.sublayers if each.units]
    most = max(each.units for each in sublayers)

    def rows(values: Iterable[Array], filler: float) -> Float[Array, "sublayers most"]:
        padded = [jnp.pad(x, (0, most - len(x)), constant_values=filler) for x in values]
        return jnp.stack(padded)

    living = rows((alive[each.name].astype(float) for each in sublayers), 0.0) > 0
    importance = jnp.where(living, rows((importances[each.name] for each in sublayers), 0.0), 0)
    share = importance / jnp.maximum(importance.sum(), jnp.finfo(jnp.float32).tiny)
    order = jnp.argsort(jnp.where(living, -share, 1.0), axis=1, stable=True)
    best = jnp.take_along_axis(share, order, axis=1)
    # Lost with all but the n best: summed from the least, which float32 would lose in the others.
    lost = jnp.pad(jnp.cumsum(best[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    counts = jnp.arange(most + 1)
    everything = living.sum(1)
    lost = jnp.where(counts <= everything[:, None], lost, jnp.inf)
    whole = cost.whole(structure)
    costs = jnp.asarray(_costs(cost, sublayers, most, round_to), jnp.float32) / whole
    place = jnp.arange(len(sublayers))

    def fits(numbers: Int[Array, " sublayers"]) -> Bool[Array, ""]:
        return costs[place, numbers].sum() + cost.rest / whole <= allowed + 1e-6

    def at_price(log_price: Float[Array, ""]) -> Int[Array, " sublayers"]:
        # The largest number of several that are as good.
        backwards = (lost + jnp.exp(log_price) * costs)[:, ::-1]
        return most - jnp.argmin(backwards, axis=1)

    lowest = bisect(lambda price: fits(at_price(price)), _LEAST, _MOST, _HALVINGS)
    found = at_price(lowest)
    found = jnp.where(fits(everything), everything, found)
    steps = jnp.array([round_to if each.write.width == 1 else 1 for each in sublayers])

    def add(state: tuple[Array, Array]) -> tuple[Array, Array]:
        """The next units of the sublayer where they are worth most, if they fit."""
        numbers, closed = state
        after = jnp.minimum(numbers + steps, everything)
        gain = lost[place, numbers] - lost[place, after]
        price = costs[place, after] - costs[place, numbers]
        chosen = jnp.argmax(jnp.where(closed, -1.0, gain / jnp.maximum(price, 1e-12)))
        more = numbers.at[chosen].set(after[chosen])
        fit = fits(more) & (after[chosen] > numbers[chosen])
        return jnp.where(fit, more, numbers), closed.at[chosen].set(~fit)

    start = found, jnp.zeros(len(sublayers), bool)
    found = jax.lax.while_loop(lambda state: ~state[1].all(), add, start)[0]
    kept = jnp.argsort(order, axis=1) < found[:, None]
    by_name = {each.name: row[: each.units] for each, row in zip(sublayers, kept, strict=True)}
    return {each.name: by_name.get(each.name, jnp.zeros(0, bool)) for each in structure.sublayers}


def _costs(
    cost: Cost, sublayers: Sequence[Sublayer], most: int, round_to: int
) -> Float[np.ndarray, "sublayers counts"]:
    """What each number of units of each sublayer costs; infinite beyond what it has."""
    counts = np.arange(most + 1.0)
    found = np.zeros((len(sublayers), most + 1))
    for place, sublayer in enumerate(sublayers):
        step = round_to if sublayer.write.width == 1 else 1
        units = np.minimum(np.ceil(counts / step) * step, sublayer.units)
        for table in cost.tables:
            if table.sublayer == sublayer.name:
                size = np.minimum(counts, len(sublayer.groups)) if table.by_group else units
                found[place] += np.interp(size, table.sizes, table.costs)
        found[place, sublayer.units + 1 :] = np.inf
    return found
