"""How much the loss changes with each unit: squared gradients by gates of one, row by row."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.heads import Head
from bpjax.models.inputs import WEIGHT
from bpjax.models.layers.collections import INPUTS
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Pattern, build_mask_collection, sum_over_blocks
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.structure import Structure, put
from bpjax.training.evaluation import Batch, apply

Gates = Mapping[str, Float[Array, "rows _"]]
"""A factor for each unit of a sublayer, and each row of a batch, by the sublayer's name."""


def open_gates(structure: Structure, rows: int) -> dict[str, Float[Array, "rows _"]]:
    """Gates that change nothing."""
    return {each.name: jnp.ones((rows, each.units)) for each in structure.sublayers}


def gate_collection(structure: Structure, gates: Gates) -> dict:
    """The collection `gates` of a model: each unit's channels are multiplied before they are read.

    Args:
      structure: of the model.
      gates: of all of its sublayers, or of none.
    """
    found: dict = {}
    for each in structure.sublayers:
        if each.name in gates:
            by_channel = jnp.repeat(gates[each.name], each.write.width, axis=1)
            found = put(found, (*each.write.path, INPUTS), by_channel)
    return found


def mean_squares(
    pattern: Pattern,
    by_gate: Gates,
    params: dict,
    gradient: dict,
    weight: Float[Array, " rows"],
) -> dict[str, Float[Array, "..."]]:
    """What `Method.observe` takes: the diagonal of the empirical Fisher matrix of the gates.

    The loss of a batch is a mean over rows, so a row's part of its gradient is that of the row's
    own loss over their number. Of blocks only the whole batch's gradient is at hand; it is counted
    as if those of its rows were independent (Kwon et al. 2022, section 4.1, by batches).

    Args:
      pattern: of the masks.
      by_gate: gradient of the mean loss of a batch by its gates.
      params: of the model.
      gradient: of the same loss by them.
      weight: of the rows, 0 for padding.
    """
    rows = weight.sum()
    squares = {name: rows * jnp.square(x).sum(0) for name, x in by_gate.items()}
    apart = tuple(group for group in pattern.groups if not group.by_unit)
    products = jax.tree.map(jnp.multiply, params, gradient)
    sums = sum_over_blocks(pattern._replace(groups=apart), products, lambda x: x)
    return squares | {name: rows * jnp.square(x) for name, x in sums.items()}


class Rows(NamedTuple):
    """What finished parameters' losses say, without dropout.

    Attributes:
      state: of the method, which has observed it.
      gradients: of each row's loss by the gate of each unit, by sublayer.
    """

    state: MethodState
    gradients: dict[str, Float[np.ndarray, "rows units"]]


def observe_rows(
    config: Config,
    head: Head,
    method: Method,
    pattern: Pattern,
    scheduled: ScheduleValues,
    state: MethodState,
    params: dict,
    batches: Iterable[Batch],
) -> Rows:
    """Shows the method the loss of finished parameters.

    Args:
      config: the model's sizes.
      head: gives the loss.
      method: one that observes.
      pattern: of its masks.
      scheduled: for the masks that it has by now.
      state: of the method.
      params: of the model.
      batches: of labelled rows.
    """
    structure = describe(config)
    assert method.observe and head.loss
    loss_of, observe = head.loss, method.observe

    def loss(params: dict, gates: Gates, masks: dict, batch: Batch) -> Array:
        outputs = apply(config, params, batch, masks, gates=gate_collection(structure, gates))
        assert outputs.logits is not None
        return loss_of(outputs.logits, batch)

    @jax.jit
    def add(state: MethodState, params: dict, batch: Batch) -> tuple[MethodState, Gates]:
        values = method.masks(state, params, scheduled, jax.random.key(0))
        masks = build_mask_collection(pattern, values)
        gates = open_gates(structure, len(batch[WEIGHT]))
        gradient, by_gate = jax.grad(loss, argnums=(0, 1))(params, gates, masks, batch)
        squares = mean_squares(pattern, by_gate, params, gradient, batch[WEIGHT])
        return observe(state, squares), by_gate

    found: dict[str, list[np.ndarray]] = {each.name: [] for each in structure.sublayers}
    for batch in batches:
        state, by_gate = add(state, params, batch)
        for name, x in by_gate.items():
            found[name].append(np.asarray(x) * batch[WEIGHT].sum())
    return Rows(state, {name: np.concatenate(parts) for name, parts in found.items()})
