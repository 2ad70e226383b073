"""A model's outputs and metrics on the rows of a run."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bpjax.config.sections import BatchSection
from bpjax.models.architecture import Config
from bpjax.stages.base import Inputs
from bpjax.tasks.base import Embeds, by_class, take
from bpjax.training.evaluation import Batch, predict
from bpjax.training.input import Batching, eval_batches


class Evaluator(NamedTuple):
    """Evaluates models on the evaluation split.

    Attributes:
      inputs: the task and its rows.
      batch: how many rows a batch has, and its lengths.
    """

    inputs: Inputs
    batch: BatchSection

    @property
    def batching(self) -> Batching:
        """Of a size that the devices divide."""
        layout = self.inputs.layout
        size = layout.round_up(self.batch.eval_size)
        return Batching(size, self.batch.buckets, layout.part(size), self.batch.target_buckets)

    def predict(self, model: Config, params: dict, masks: dict | None = None) -> list[np.ndarray]:
        """Logits of the evaluation split, a row each."""
        inputs = self.inputs
        batches = eval_batches(inputs.evaluation, self.batching)
        return predict(model, params, batches, masks, inputs.layout)

    def evaluate(self, logits: list[np.ndarray]) -> dict[str, float]:
        """The task's metrics of such logits, in percent."""
        inputs = self.inputs
        if inputs.reference and isinstance(inputs.task, Embeds):
            return inputs.task.agreement(inputs.evaluation, logits, inputs.reference())
        return inputs.task.evaluate(inputs.evaluation, logits)

    def by_class(self, logits: list[np.ndarray]) -> dict[str, dict[str, float]]:
        """The task's metrics of each class, where it has any."""
        return by_class(self.inputs.task, self.inputs.evaluation, logits)

    def metrics(self, model: Config, params: dict, masks: dict | None = None) -> dict[str, float]:
        """The task's metrics of a model, in percent."""
        return self.evaluate(self.predict(model, params, masks))

    def calibration_batches(self, most: int) -> Iterator[Batch]:
        """Up to so many training rows, from all over the split, to measure activations on."""
        train = self.inputs.train
        kept = take(range(len(train)), min(most, len(train)))
        batch = self.batch
        batching = Batching(batch.eval_size, batch.buckets, target_buckets=batch.target_buckets)
        return eval_batches(train.take(kept), batching)
