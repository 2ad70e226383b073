"""A training step that can be timed like a forward pass."""

from typing import Any

import jax

from bpjax.models import bert
from bpjax.models.bert import BertConfig
from bpjax.models.heads import HEADS
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import make_pattern
from bpjax.pruning.schedules import cubic
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import make_train_step
from bpjax.training.terms import Teacher

STEPS = 1000  # of the schedules, which are traced: their number does not matter


class StepCall:
    """A training step as a call that feeds itself its own state; buffers are donated."""

    def __init__(
        self,
        config: BertConfig,
        params: dict,
        batch: dict,
        *,
        masked: bool,
        dtype: str,
        teacher: Teacher | None = None,
    ) -> None:
        """Compiles it; with a teacher, it distils from it too."""
        pruning = Pruning(dense(), NO_PATTERN, cubic(steps=STEPS, warmup_steps=0))
        if masked:
            pattern = make_pattern("hybrid", bert.describe(config), (32, 32))
            schedule = cubic(
                steps=STEPS,
                warmup_steps=10,
                initial_warmup=0.0,
                final_warmup=1.0,
                threshold=(0.0, 0.1),
                density=(1.0, 1.0),
                penalty=20.0,
            )
            pruning = Pruning(make_method("movement", pattern), pattern, schedule)
        optimizer = make_optimizer(
            steps=STEPS, warmup_steps=10, learning_rate=1e-5, score_learning_rate=1e-2
        )
        self.batch = batch
        self.state = init_state(params, pruning, optimizer, jax.random.key(0))
        config, head = config.replace(dtype=dtype), HEADS[config.head]
        self.step = make_train_step(
            Recipe(config, bert.describe(config), head, pruning, optimizer, teacher)
        )
        lowered = self.step.compiled.lower(self.state, batch, self.step.teacher_params)
        self.compiled = lowered.compile()
        self.memory = self.compiled.memory_analysis()

    def __call__(self) -> Any:
        """One update."""
        self.state, metrics = self.compiled(self.state, self.batch, self.step.teacher_params)
        return metrics

    def peak_bytes(self) -> int:
        """What the step needs beside its arguments, and those."""
        return self.memory.temp_size_in_bytes + self.memory.argument_size_in_bytes
