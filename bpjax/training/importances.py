"""How much a model's outputs change with each unit: squared gradients by gates, row by row."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

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

TEMPERATURE = 10.0
"""Of the distillation that is asked: high, so that rows count of which the model is sure."""

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


def squared_gradients(
    config: Config,
    head: Head,
    pattern: Pattern,
    params: dict,
    masks: dict,
    batch: Batch,
    rng: Key[Array, ""],
    approximations: dict | None = None,
) -> tuple[dict[str, Float[Array, "..."]], Gates]:
    """How much each unit moves what the model says.

    The loss is that of distillation from a teacher whose outputs are the model's own, each moved by
    noise of variance 1. By a gate its gradient is `ε H ∂z/∂m`, of the outputs z and the loss's
    curvature H there, so that its square is `‖H ∂z/∂m‖²` on average: how far the outputs go with
    the unit. The labels' own loss says less: a model that knows its training rows has gradients
    in a few of them only.

    Args:
      config: the model's sizes.
      head: gives the distillation.
      pattern: of the masks.
      params: of the model.
      masks: the collection `masks`.
      batch: of rows, whose labels are not read.
      rng: for the noise.
      approximations: the collection of that name.

    Returns:
      What `Method.observe` takes; and the gradients by the gate of each unit and row, of the loss's
      mean over the batch.
    """
    structure = describe(config)
    apart = pattern._replace(groups=tuple(group for group in pattern.groups if not group.by_unit))

    def loss(gates: Gates, params: dict) -> Array:
        factors = gate_collection(structure, gates)
        outputs = apply(config, params, batch, masks, approximations=approximations, gates=factors)
        assert outputs.logits is not None and head.distill
        said = outputs.logits
        nudged = said + jax.random.normal(rng, said.shape, said.dtype)
        return head.distill(said, nudged, batch, TEMPERATURE)

    gates, rows = open_gates(structure, len(batch[WEIGHT])), batch[WEIGHT].sum()
    by_gate, slope = jax.grad(loss, argnums=(0, 1))(gates, params)
    # The noise of each row is its own, so that the square of a sum is the sum of squares. Where no
    # block is scored apart, nothing of this is computed under jit.
    blocks = sum_over_blocks(apart, jax.tree.map(jnp.multiply, params, slope), lambda x: x)
    # The loss is a mean over rows: a row's part of its gradient is its own over their number.
    squares = {name: rows * jnp.square(x).sum(0) for name, x in by_gate.items()}
    return squares | {name: rows * jnp.square(x) for name, x in blocks.items()}, by_gate


class Rows(NamedTuple):
    """What rows say of finished parameters.

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
    """Shows the method what each unit moves of finished parameters.

    Args:
      config: the model's sizes.
      head: gives the loss.
      method: one that observes.
      pattern: of its masks.
      scheduled: for the masks that it has by now.
      state: of the method.
      params: of the model.
      batches: of rows.
    """
    assert method.observe
    observe = method.observe

    @jax.jit
    def add(
        state: MethodState, params: dict, batch: Batch, number: Int[Array, ""]
    ) -> tuple[MethodState, Gates]:
        rng = jax.random.fold_in(jax.random.key(0), number)
        masks = build_mask_collection(pattern, method.masks(state, params, scheduled, rng))
        squares, by_gate = squared_gradients(config, head, pattern, params, masks, batch, rng)
        return observe(state, squares), by_gate

    found: dict[str, list[np.ndarray]] = {each.name: [] for each in describe(config).sublayers}
    for number, batch in enumerate(batches):
        state, by_gate = add(state, params, batch, jnp.asarray(number))
        for name, x in by_gate.items():
            found[name].append(np.asarray(x) * batch[WEIGHT].sum())
    return Rows(state, {name: np.concatenate(parts) for name, parts in found.items()})
