"""What a model costs by the heads and dimensions it has left: the unit of a budget."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bpjax.pruning.kept import KeptUnits
from bpjax.pruning.structure import Structure


class Table(NamedTuple):
    """A sublayer's cost at some sizes, linear between them.

    Attributes:
      sizes: numbers of heads or dimensions, rising from 0.
      costs: at those sizes.
    """

    sizes: tuple[float, ...]
    costs: tuple[float, ...]


class Cost(NamedTuple):
    """The cost of a model: a sum over its sublayers, in any unit.

    Attributes:
      attention: by layer, over the number of heads.
      ffn: by layer, over the number of dimensions.
      rest: of what is not pruned.
      by_hidden: whether it is in proportion to the dimensions of the hidden state.
    """

    attention: tuple[Table, ...]
    ffn: tuple[Table, ...]
    rest: float
    by_hidden: bool = False

    def total(
        self, heads: Sequence[Int[Array, ""] | int], dimensions: Sequence[Int[Array, ""] | int]
    ) -> Float[Array, ""]:
        """Cost of a model with these numbers of heads and dimensions, by layer."""
        total = jnp.float32(self.rest)
        for tables, sizes in ((self.attention, heads), (self.ffn, dimensions)):
            for table, size in zip(tables, sizes, strict=True):
                found = jnp.interp(
                    jnp.asarray(size, jnp.float32), np.array(table.sizes), np.array(table.costs)
                )
                total += found.astype(jnp.float32)
        return total

    def fraction(self, left: KeptUnits, round_to: int = 1) -> Float[Array, ""]:
        """Cost of what is left, over the cost of the whole model.

        Dimensions of the hidden state count where the cost is in proportion to them.

        Args:
          left: of the model.
          round_to: surgery keeps a multiple of as many feed-forward dimensions of a layer.
        """
        whole = self.total(
            [alive.shape[0] for alive in left.heads], [alive.shape[0] for alive in left.dimensions]
        )
        heads, dimensions = (
            [alive.sum() for alive in part] for part in (left.heads, left.dimensions)
        )
        dimensions = [
            jnp.minimum(-(-count // round_to) * round_to, alive.shape[0])
            for count, alive in zip(dimensions, left.dimensions, strict=True)
        ]
        share = left.hidden.mean() if self.by_hidden else 1.0
        return self.total(heads, dimensions) / whole * share


def linear_cost(structure: Structure) -> Cost:
    """Linear parameters: the kernels of the encoder, what the papers call encoder size."""
    return _counted(structure, biases=False)._replace(by_hidden=True)


def parameter_cost(structure: Structure, parameters: int) -> Cost:
    """All parameters, biases included.

    Args:
      structure: of the model.
      parameters: how many it has in all.
    """
    kernels = _counted(structure, biases=True)
    whole = kernels.total(
        [layer.attention.heads for layer in structure.layers],
        [layer.ffn.size for layer in structure.layers],
    )
    return kernels._replace(rest=parameters - float(whole))


def _counted(structure: Structure, *, biases: bool) -> Cost:
    def by_unit(units: int, weights: int) -> Table:
        return Table((0.0, float(units or 1)), (0.0, float((units or 1) * weights)))

    hidden = structure.hidden_size
    attention, ffn = [], []
    for layer in structure.layers:
        head_dim = layer.attention.head_dim
        attention.append(
            by_unit(layer.attention.heads, head_dim * (4 * hidden + (3 if biases else 0)))
        )
        ffn.append(by_unit(layer.ffn.size, 2 * hidden + (1 if biases else 0)))
    return Cost(tuple(attention), tuple(ffn), 0.0)
