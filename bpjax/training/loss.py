"""The loss of a batch and what it is made of, of the whole batch or of its parts in turn."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num, PyTree

from bpjax.models.architecture import Outputs
from bpjax.models.inputs import WEIGHT
from bpjax.pruning.kept import kept_units
from bpjax.pruning.patterns import Scores, build_mask_collection
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.summary import mask_density
from bpjax.training.approximations import approximate
from bpjax.training.augment import replace_tokens
from bpjax.training.evaluation import Batch, apply
from bpjax.training.state import Recipe, TrainState
from bpjax.training.terms import DISTILLATION, Compared, counts_of, losses_of, means_of, teach


class Part(NamedTuple):
    """Rows of a batch, and what they count for in its loss.

    Attributes:
      rows: what the models read.
      labelled: of each row the weight in the task's loss, 0 where its label does not hold.
      dropout: the rows' own key.
      shares: by metric, the fraction that is these rows' of what it is a mean over in the batch:
        rows, those with a label, tokens or pairs of them. None: they are the whole batch.
    """

    rows: Batch
    labelled: Num[Array, " batch"]
    dropout: Key[Array, ""]
    shares: dict[str, Array] | None = None

    def share(self, metrics: dict[str, Array]) -> dict[str, Array]:
        """Addends of the whole batch's metrics, from these rows'."""
        return {k: self.shares[k] * x for k, x in metrics.items()} if self.shares else metrics


def loss_of(
    recipe: Recipe,
    trained: dict[str, PyTree],
    state: TrainState,
    batch: Batch,
    scheduled: ScheduleValues,
    teacher_params: dict,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss of a batch, and the metrics that it is made of.

    Args:
      recipe: of the step.
      trained: `TrainState.trained`, of which the gradient is taken.
      state: the rest of the state: step, key, what the method does not learn.
      batch: of `training.input.collate`.
      scheduled: the schedule's values at this step.
      teacher_params: the teacher's parameters; empty without one.
    """
    return _loss_of(
        recipe, {}, trained, state, _whole(recipe, state, batch), scheduled, teacher_params
    )


def accumulated(
    recipe: Recipe, trained: dict[str, PyTree], state: TrainState, batch: Batch, *given: Any
) -> tuple[dict[str, PyTree], dict[str, Array]]:
    """Gradient and metrics of `loss_of` by parts of a batch, of which each gives its addends.

    Args:
      recipe: of the step; `accumulate` divides the rows.
      trained: see `loss_of`.
      state: see `loss_of`; each part has a key of its own for dropout.
      batch: the whole one.
      *given: the rest of the arguments of `loss_of`.
    """
    parts, teacher, means = _divide(recipe, state, _whole(recipe, state, batch)), recipe.teacher, {}

    def means_in(part: Part) -> dict[str, Array]:
        *_, compared = _compare(recipe, trained, state, part, *given)
        assert teacher and compared
        return part.share(means_of(teacher, trained.get("projection"), compared))

    if teacher and teacher.reads_means:
        means = _sum_over(parts, means_in)
    gradient_of = jax.grad(functools.partial(_loss_of, recipe, means), has_aux=True)
    return _sum_over(parts, lambda part: gradient_of(trained, state, part, *given))


def _keys(state: TrainState) -> Key[Array, "3"]:
    """Of a step: for the masks, for dropout, for the exchange of tokens."""
    return jax.random.split(jax.random.fold_in(state.rng, state.step), 3)


def _whole(recipe: Recipe, state: TrainState, batch: Batch) -> Part:
    """A batch as the step reads it."""
    (_, dropout, exchange), labelled = _keys(state), batch[WEIGHT]
    if recipe.teacher and recipe.teacher.replace:
        batch, altered = replace_tokens(batch, recipe.teacher.replace, exchange)
        labelled = altered[WEIGHT]
    return Part(batch, labelled, dropout)


def _divide(recipe: Recipe, state: TrainState, whole: Part) -> Part:
    """The parts of a batch, one after the other along a new first axis."""
    # Every n-th row, not the n-th part: rows that lie on different devices stay there.
    rows, labelled = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(-1, recipe.accumulate, *x.shape[1:]), 1, 0),
        (whole.rows, whole.labelled),
    )

    def dropout(number: Array) -> Array:
        return _keys(state._replace(rng=jax.random.fold_in(state.rng, number)))[1]

    def counts(rows: Batch, labelled: Array) -> dict[str, Array]:
        head, teacher = recipe.head, recipe.teacher
        found = {}
        if head.loss:
            found["task_loss"] = head.loss_over({**rows, WEIGHT: labelled}).sum()
        return found | (counts_of(teacher, head, recipe.structure, rows) if teacher else {})

    shares = {k: x / jnp.maximum(x.sum(), 1) for k, x in jax.vmap(counts)(rows, labelled).items()}
    even = jnp.full(recipe.accumulate, 1 / recipe.accumulate)
    shares |= dict.fromkeys(("penalty", "density", "threshold"), even)
    return Part(rows, labelled, jax.vmap(dropout)(jnp.arange(recipe.accumulate)), shares)


def _sum_over(parts: Part, find: Callable[[Part], PyTree]) -> PyTree:
    """The sum of what is found of each part, one after the other, in float32 at least."""
    shapes = jax.eval_shape(find, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes
    )

    def add(total: PyTree, part: Part) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, find(part)), None

    return jax.lax.scan(add, zeros, parts)[0]


def _compare(
    recipe: Recipe,
    trained: dict[str, PyTree],
    state: TrainState,
    part: Part,
    scheduled: ScheduleValues,
    teacher_params: dict,
) -> tuple[Scores, Outputs, Compared | None]:
    """The values of the masks, what the student makes of rows, and what terms are a function of."""
    config, teacher = recipe.config, recipe.teacher
    method, pattern, _, names = recipe.pruning
    method_state = state.method._replace(learned=trained["learned"])
    values = method.masks(method_state, trained["params"], scheduled, _keys(state)[0])
    outputs = apply(
        config,
        trained["params"],
        part.rows,
        build_mask_collection(pattern, values),
        part.dropout,
        activations=bool(teacher and teacher.reads_activations),
        approximations=approximate(config, names, scheduled.progress, part.rows),
    )
    if not teacher:
        return values, outputs, None
    theirs = teach(teacher, teacher_params, config.dtype, part.rows)
    kept = kept_units(recipe.structure, pattern, values)
    compared = Compared(
        outputs, theirs, part.rows, recipe.structure, kept, recipe.head, teacher.temperature
    )
    return values, outputs, compared


def _loss_of(
    recipe: Recipe,
    means: dict[str, Array],
    trained: dict[str, PyTree],
    state: TrainState,
    part: Part,
    scheduled: ScheduleValues,
    teacher_params: dict,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """A part's addend of the loss, and of the metrics; `means` as in `Compared`."""
    head, teacher, (method, pattern, *_) = recipe.head, recipe.teacher, recipe.pruning
    values, outputs, compared = _compare(recipe, trained, state, part, scheduled, teacher_params)
    assert outputs.logits is not None
    metrics, total = {}, jnp.zeros(())
    if head.loss:
        labelled = {**part.rows, WEIGHT: part.labelled}
        metrics = part.share({"task_loss": head.loss(outputs.logits, labelled)})
        total = metrics["task_loss"]
    if teacher and compared:
        compared = compared._replace(means=means)
        metrics |= part.share(losses_of(teacher, trained.get("projection"), compared))
        total = teacher.weight * metrics[DISTILLATION] + (1 - teacher.weight) * total
        for weight, name in teacher.terms:
            total += weight * metrics[name]
    if pattern.groups:
        method_state = state.method._replace(learned=trained["learned"])
        penalty = method.penalty(method_state, trained["params"], scheduled)
        density = mask_density(pattern, values)
        metrics |= part.share(
            {"penalty": penalty, "density": density, "threshold": scheduled.threshold}
        )
        total += metrics["penalty"]
    return total, metrics | {"loss": total}
