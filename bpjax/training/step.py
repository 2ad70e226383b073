"""One training step: the loss's gradient, the optimizer, the method's update."""

import functools
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int

from bpjax.models.inputs import PACKED, WEIGHT
from bpjax.pruning.methods.base import MethodState
from bpjax.pruning.patterns import build_mask_collection
from bpjax.pruning.schedules import ScheduleValues
from bpjax.training.approximations import approximate
from bpjax.training.evaluation import Batch, packing_of
from bpjax.training.importances import squared_gradients
from bpjax.training.loss import accumulated, loss_of
from bpjax.training.mesh import ONE_DEVICE, Layout
from bpjax.training.state import Recipe, TrainState

OBSERVED = 4
"""Of so many rows of a batch one is looked at: such a step takes no longer than movement's. Of a
packed batch it is one bin."""


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
    rows, share = _observed(batch, state.step)
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
    return method.observe(method_state, jax.tree.map(lambda x: share * x, squares))


def _observed(batch: Batch, step: Int[Array, ""]) -> tuple[Batch, Float[Array, ""] | float]:
    """The rows that a step looks at, and how often they count so that all rows count alike."""
    if not (packing := packing_of(batch)):
        return jax.tree.map(lambda x: x[::OBSERVED], batch), 1.0
    # Bins hold rows of different lengths, and so not equally many: they take turns.
    bins, weight, number = packing.tokens, batch[WEIGHT], step % len(packing.tokens)
    of_bin = weight * (packing.places[:, 0] // bins.shape[1] == number)
    one = jax.lax.dynamic_slice_in_dim(bins, number, 1)
    return {**batch, PACKED: one, WEIGHT: of_bin}, len(bins) * of_bin.sum() / weight.sum()


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
