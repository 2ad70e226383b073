"""What a step is made of, and what it changes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from bpjax.models.architecture import Config
from bpjax.models.heads import Head
from bpjax.pruning.methods.base import Method, MethodState
from bpjax.pruning.patterns import Pattern
from bpjax.pruning.schedules import Schedule
from bpjax.pruning.structure import Structure
from bpjax.training.mesh import ONE_DEVICE, Layout
from bpjax.training.terms import Teacher


class Pruning(NamedTuple):
    """How a stage prunes: a method over a pattern on a schedule.

    `approximations` names what a cheaper operation takes the place of meanwhile.
    """

    method: Method
    pattern: Pattern
    schedule: Schedule
    approximations: tuple[str, ...] = ()


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
