"""One training step: masked forward pass, teacher, penalty, optimizer, the method's update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from bpjax.models import describe
from bpjax.models.architecture import Config, Outputs
from bpjax.models.heads import Head
from bpjax.pruning.kept import KeptUnits, kept_units
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Pattern, build_mask_collection
from bpjax.pruning.schedules import Schedule, ScheduleValues
from bpjax.pruning.structure import Structure
from bpjax.pruning.summary import mask_density
from bpjax.training.approximations import approximate
from bpjax.training.augment import replace_tokens
from bpjax.training.distill import (
    LOGITS,
    Teacher,
    attention_distillation,
    hidden_distillation,
    layer_distillation,
)
from bpjax.training.evaluation import Batch, apply
from bpjax.training.mesh import ONE_DEVICE, Layout


class TrainState(NamedTuple):
    """Everything that a step changes; what a checkpoint holds.

    Attributes:
      step: updates done.
      params: the model's parameters, unmasked.
      method: the pruning method's state.
      opt_state: the optimizer's.
      rng: key of the stage; each step folds its number into it.
      projection: from the student's hidden states to the teacher's (`Teacher.projection`).
    """

    step: Int[Array, ""]
    params: dict
    method: MethodState
    opt_state: PyTree
    rng: Key[Array, ""]
    projection: Float[Array, "student teacher"] | None = None

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

    The metrics are scalars: `loss` and its parts `task_loss`, `distillation`, `hidden`,
    `attention`, `layers`, `penalty`; `density` (of the masks, a fraction), `threshold`,
    `gradient_norm`.
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
    projection: Float[Array, "student teacher"] | None = None,
) -> TrainState:
    """The state before the first step. What is given is copied: steps donate their buffers."""
    params, projection = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, projection))
    init_rng, rng = jax.random.split(rng)
    method = pruning.method.init(init_rng, params)
    state = TrainState(jnp.zeros((), jnp.int32), params, method, (), rng, projection)
    return state._replace(opt_state=optimizer.init(state.trained))


def _distil(
    teacher: Teacher,
    params: dict,
    config: Config,
    head: Head,
    outputs: Outputs,
    batch: Batch,
    projection: Float[Array, "student teacher"] | None,
    alive: Bool[Array, " layers"],
) -> dict[str, Array]:
    """The losses of distillation, unweighted."""
    mask, weight = batch["attention_mask"], batch["weight"]
    # Logits that a batch brings are those of its words before they were altered.
    found, logits = {}, None if teacher.replace else batch.get(LOGITS)
    if logits is None or teacher.reads_activations:
        # What the teacher says is matched, not reported: the student's precision will do.
        model = teacher.config.replace(dtype=config.dtype)
        guide = apply(model, params, batch, activations=teacher.reads_activations)
        logits = guide.logits if logits is None else logits
        if teacher.hidden:
            states = outputs.hidden_states, guide.hidden_states
            found["hidden"] = hidden_distillation(*states, mask, weight)
        if teacher.attention:
            ours, theirs = (tuple(x.attention_scores.values()) for x in (outputs, guide))
            found["attention"] = attention_distillation(ours, theirs, mask, weight)
        if projection is not None:
            projected = [state @ projection for state in outputs.hidden_states[1:]]
            theirs = guide.hidden_states[1:]
            found["layers"] = layer_distillation(projected, theirs, alive, mask, weight)
    assert outputs.logits is not None and logits is not None and head.distill
    found["distillation"] = head.distill(outputs.logits, logits, batch, teacher.temperature)
    return found


def alive_layers(structure: Structure, left: KeptUnits) -> Bool[Array, " layers"]:
    """Which layers still compute: those with a unit left in any of their sublayers."""
    found: dict[str, Array] = {}
    for sublayer in structure.sublayers:
        alive = left.units[sublayer.name].any()
        found[sublayer.layer] = found[sublayer.layer] | alive if sublayer.layer in found else alive
    return jnp.stack([*found.values()])


def make_train_step(
    config: Config,
    head: Head,
    pruning: Pruning,
    optimizer: optax.GradientTransformation,
    teacher: Teacher | None = None,
    layout: Layout = ONE_DEVICE,
    accumulate: int = 1,
    params_dtype: str | None = None,
) -> Step:
    """The step of one stage; it compiles once for each batch shape.

    Thresholds, λ and density are traced, and the state's buffers are donated.

    Args:
      config: the student's sizes.
      head: gives the loss.
      pruning: method, pattern and schedule; `methods.dense` for a stage without masks.
      optimizer: over `{"params": …, "learned": …}`.
      teacher: to distil from; None for the task's loss alone. It runs in the step, unless the
        batch brings its logits along (`TeacherLogits.attach`).
      layout: of the state, and of the batches, of which this process has its part.
      accumulate: parts of a batch, which are run one after the other and whose gradients are
        averaged by their rows' weights: the same step in less memory, with other dropout. What is
        distilled from activations is a mean over a part's tokens, not over the batch's.
      params_dtype: of the copy of the parameters that a step computes with, and of their gradients;
        the state stays as it is. None: the state's.
    """
    method, pattern, schedule, approximated = pruning
    structure = describe(config)

    def loss(
        trained: dict,
        state: TrainState,
        batch: Batch,
        scheduled: ScheduleValues,
        teacher_params: dict,
    ) -> tuple[Array, dict[str, Array]]:
        rng, dropout, words = jax.random.split(jax.random.fold_in(state.rng, state.step), 3)
        labelled = batch
        if teacher and teacher.replace:
            batch, labelled = replace_tokens(batch, teacher.replace, words)
        method_state = state.method._replace(learned=trained["learned"])
        values = method.masks(method_state, trained["params"], scheduled, rng)
        outputs = apply(
            config,
            trained["params"],
            batch,
            build_mask_collection(pattern, values),
            dropout,
            activations=bool(teacher and teacher.reads_activations),
            approximations=approximate(config, approximated, scheduled.progress, batch),
        )
        assert outputs.logits is not None and head.loss, f"head {head.name} has no loss"
        metrics = {"task_loss": head.loss(outputs.logits, labelled)}
        total = metrics["task_loss"]
        if teacher:
            left = kept_units(structure, pattern, values)
            alive = alive_layers(structure, left)
            projection = trained.get("projection")
            metrics |= _distil(
                teacher, teacher_params, config, head, outputs, batch, projection, alive
            )
            total = teacher.weight * metrics["distillation"] + (1 - teacher.weight) * total
            total += teacher.hidden * metrics.get("hidden", 0.0)
            total += teacher.attention * metrics.get("attention", 0.0)
            total += teacher.layers * metrics.get("layers", 0.0)
        if pattern.groups:
            metrics["penalty"] = method.penalty(method_state, trained["params"], scheduled)
            metrics |= {"density": mask_density(pattern, values), "threshold": scheduled.threshold}
            total += metrics["penalty"]
        return total, metrics | {"loss": total}

    gradient_of = jax.grad(loss, has_aux=True)

    def accumulated(
        trained: dict, state: TrainState, batch: Batch, *given: Any
    ) -> tuple[PyTree, dict]:
        # Every n-th row, not the n-th part: rows that lie on different devices stay there.
        parts = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), batch
        )
        shares = parts["weight"].sum(1) / jnp.maximum(batch["weight"].sum(), 1)

        def add(total: PyTree, part: Any) -> tuple[PyTree, None]:
            number, share, rows = part
            apart = state._replace(rng=jax.random.fold_in(state.rng, number))
            found = gradient_of(trained, apart, rows, *given)
            return jax.tree.map(lambda x, y: x + share * y, total, found), None

        shapes = jax.eval_shape(
            gradient_of, trained, state, jax.tree.map(lambda x: x[0], parts), *given
        )
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes
        )
        return jax.lax.scan(add, zeros, (jnp.arange(accumulate), shares, parts))[0]

    def update(
        state: TrainState, batch: Batch, teacher_params: dict
    ) -> tuple[TrainState, dict[str, Array]]:
        scheduled = schedule(state.step)
        # Gradients whole too, or XLA divides masks and activations as their kernels are.
        trained = state.trained
        narrow = {**trained, "params": optax.tree.cast(trained["params"], params_dtype)}
        whole, guide = layout.collect((narrow, teacher_params))
        differentiate = gradient_of if accumulate == 1 else accumulated
        gradient, metrics = differentiate(whole, state, batch, scheduled, guide)
        gradient = optax.tree.cast_like(layout.collect(gradient), trained)
        updates, opt_state = optimizer.update(gradient, state.opt_state, trained)
        trained = optax.apply_updates(trained, updates)
        method_state, params = method.update(
            state.method._replace(learned=trained["learned"]),
            trained["params"],
            scheduled,
            state.step,
        )
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        after = TrainState(
            state.step + 1, params, method_state, opt_state, state.rng, trained.get("projection")
        )
        return layout.constrain(after), metrics  # as it came, or the next step is compiled anew

    # The teacher is an argument, not a constant: constants are copied into every compilation.
    compiled = jax.jit(update, donate_argnums=0)
    guide = teacher.params if teacher else {}
    return Step(compiled, layout.shard(guide), layout)
