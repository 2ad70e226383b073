"""One training step: masked forward pass, teacher, penalty, optimizer, the method's update."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from bpjax.models.architecture import Config, Outputs
from bpjax.models.heads import Head
from bpjax.models.inputs import WEIGHT
from bpjax.pruning.kept import kept_units
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Pattern, Scores, build_mask_collection
from bpjax.pruning.schedules import Schedule, ScheduleValues
from bpjax.pruning.structure import Structure
from bpjax.pruning.summary import mask_density
from bpjax.training.approximations import approximate
from bpjax.training.augment import replace_tokens
from bpjax.training.evaluation import Batch, apply
from bpjax.training.importances import squared_gradients
from bpjax.training.mesh import ONE_DEVICE, Layout
from bpjax.training.terms import (
    DISTILLATION,
    Compared,
    Teacher,
    counts_of,
    losses_of,
    means_of,
    teach,
)

OBSERVED = 4
"""Of so many rows of a batch one is looked at: such a step takes no longer than movement's."""


class TrainState(NamedTuple):
    """Everything that a step changes; what a checkpoint holds.

    Attributes:
      step: updates done.
      params: the model's parameters, unmasked.
      method: the pruning method's state.
      opt_state: the optimizer's.
      rng: key of the stage; each step folds its number into it.
      projection: what the terms of distillation learn, see `terms.init_learned`; of "layers" alone
        the map from the student's hidden states to the teacher's.
    """

    step: Int[Array, ""]
    params: dict
    method: MethodState
    opt_state: PyTree
    rng: Key[Array, ""]
    projection: PyTree | None = None

    @property
    def trained(self) -> dict[str, PyTree]:
        """What the optimizer moves."""
        found = {"params": self.params, "learned": self.method.learned}
        return found if self.projection is None else found | {"projection": self.projection}


class Pruning(NamedTuple):
    """How a stage prunes: a method over a pattern on a schedule.

    `approximations` names what a cheaper operation takes the place of meanwhile.
    """

    method: Method
    pattern: Pattern
    schedule: Schedule
    approximations: tuple[str, ...] = ()


class Step(NamedTuple):
    """A compiled training step, `(state, batch) -> (state, metrics)`, with its teacher.

    The metrics are scalars: `loss` and its parts `task_loss` (where the head has one), those of
    `terms.TERMS` and `penalty`; `density` (of the masks, a fraction), `threshold`, `gradient_norm`.
    """

    compiled: Any
    teacher_params: dict
    layout: Layout = ONE_DEVICE

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        """One update; takes over the buffers of `state`."""
        return self.compiled(state, self.layout.batch(batch), self.teacher_params)

    def memory(self, state: TrainState, batch: Batch) -> int:
        """Bytes on a device that a step on such a batch takes: state, batch, teacher and the rest.

        As the compiler plans it.
        """
        lowered = self.compiled.lower(state, self.layout.batch(batch), self.teacher_params)
        found = lowered.compile().memory_analysis()
        kept = found.output_size_in_bytes - found.alias_size_in_bytes
        return found.argument_size_in_bytes + kept + found.temp_size_in_bytes

    def compilations(self) -> int:
        """How many batch shapes were compiled so far."""
        return self.compiled._cache_size()


def init_state(
    params: dict,
    pruning: Pruning,
    optimizer: optax.GradientTransformation,
    rng: Key[Array, ""],
    projection: PyTree | None = None,
) -> TrainState:
    """The state before the first step. What is given is copied: steps donate their buffers."""
    params, projection = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, projection))
    init_rng, rng = jax.random.split(rng)
    method = pruning.method.init(init_rng, params)
    state = TrainState(jnp.zeros((), jnp.int32), params, method, (), rng, projection)
    return state._replace(opt_state=optimizer.init(state.trained))


class Recipe(NamedTuple):
    """What a stage's step is made of.

    Attributes:
      config: the student's sizes.
      structure: its structure.
      head: gives the loss.
      pruning: method, pattern and schedule; `methods.dense` for a stage without masks.
      optimizer: over `TrainState.trained`.
      teacher: to distil from; None for the task's loss alone. It runs in the step, unless the
        batch brings its logits along (`TeacherLogits.attach`).
      layout: of the state, and of the batches, of which this process has its part.
      accumulate: parts of a batch, which are run one after the other: the same step in less memory,
        with other dropout. Only norms that become affine average over a part's tokens.
      params_dtype: of the copy of the parameters that a step computes with, and of their gradients;
        the state stays as it is. None: the state's.
    """

    config: Config
    structure: Structure
    head: Head
    pruning: Pruning
    optimizer: optax.GradientTransformation
    teacher: Teacher | None = None
    layout: Layout = ONE_DEVICE
    accumulate: int = 1
    params_dtype: str | None = None


def make_train_step(recipe: Recipe) -> Step:
    """The step of one stage; it compiles once for each batch shape.

    Thresholds, λ and density are traced, and the state's buffers are donated.

    Raises:
      ValueError: a head without a loss, and no teacher.
    """
    if not (recipe.head.loss or recipe.teacher):
        raise ValueError(f"head {recipe.head.name} has no loss to train it by")
    # The teacher is an argument, not a constant: constants are copied into every compilation.
    compiled = jax.jit(functools.partial(_update, recipe), donate_argnums=0)
    teacher_params = recipe.teacher.params if recipe.teacher else {}
    return Step(compiled, recipe.layout.shard(teacher_params), recipe.layout)


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


def _observe(
    recipe: Recipe,
    method_state: MethodState,
    params: dict,
    state: TrainState,
    batch: Batch,
    scheduled: ScheduleValues,
) -> MethodState:
    """Shows the method what units of the masked model move, in some of the rows."""
    method, pattern, _, names = recipe.pruning
    assert method.observe
    # Beside the three keys of `loss_of`.
    rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 3)
    rows = jax.tree.map(lambda x: x[::OBSERVED], batch)
    squares, _ = squared_gradients(
        recipe.config,
        recipe.head,
        pattern,
        params,
        build_mask_collection(pattern, method.masks(state.method, params, scheduled, rng)),
        rows,
        rng,
        approximate(recipe.config, names, scheduled.progress, rows),
    )
    return method.observe(method_state, squares)


def _update(
    recipe: Recipe, state: TrainState, batch: Batch, teacher_params: dict
) -> tuple[TrainState, dict[str, Array]]:
    """One step: gradient, optimizer, the method's own update."""
    method, layout = recipe.pruning.method, recipe.layout
    scheduled = recipe.pruning.schedule(state.step)
    trained = state.trained
    narrow = {**trained, "params": optax.tree.cast(trained["params"], recipe.params_dtype)}
    whole, teacher_params = layout.collect((narrow, teacher_params))
    if recipe.accumulate == 1:
        differentiate = jax.grad(functools.partial(loss_of, recipe), has_aux=True)
    else:
        differentiate = functools.partial(accumulated, recipe)
    gradient, metrics = differentiate(whole, state, batch, scheduled, teacher_params)
    # Gradients whole too, or XLA divides masks and activations as their kernels are.
    gradient = optax.tree.cast_like(layout.collect(gradient), trained)
    updates, opt_state = recipe.optimizer.update(gradient, state.opt_state, trained)
    trained = optax.apply_updates(trained, updates)
    method_state = state.method._replace(learned=trained["learned"])
    if method.observe:
        method_state = jax.lax.cond(
            scheduled.progress < 1,  # nothing is cut after that
            lambda: _observe(recipe, method_state, whole["params"], state, batch, scheduled),
            lambda: method_state,
        )
    method_state, params = method.update(method_state, trained["params"], scheduled, state.step)
    metrics["gradient_norm"] = optax.tree.norm(gradient)
    after = TrainState(
        state.step + 1, params, method_state, opt_state, state.rng, trained.get("projection")
    )
    return layout.constrain(after), metrics  # as it came, or the next step is compiled anew
