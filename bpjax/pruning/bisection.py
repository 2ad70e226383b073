"""Where a condition begins to hold, under jit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def bisect(
    holds: Callable[[Float[Array, ""]], Bool[Array, ""]],
    low: float,
    high: float,
    halvings: int,
) -> Float[Array, ""]:
    """The least x in [low, high] at which something holds that does so from some x on.

    It is found from above, to within `(high − low) / 2**halvings`. More than about 20 would end on
    the edge itself, where another program that asks the same may round to its other side.

    Args:
      holds: whether it does; taken to hold at `high`.
      low: the least x.
      high: the largest.
      halvings: how often the interval is halved.
    """

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        found = holds(middle)
        return jnp.where(found, low, middle), jnp.where(found, middle, high)

    return jax.lax.fori_loop(0, halvings, halve, (jnp.float32(low), jnp.float32(high)))[1]
