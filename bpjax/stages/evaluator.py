"""A model's outputs and metrics on the rows of a run."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bpjax.config import RunConfig
from bpjax.config.sections import BatchSection, GenerationSection
from bpjax.models.architecture import Config
from bpjax.stages.base import Inputs
from bpjax.tasks.base import Embeds, by_class, take
from bpjax.training.answers import answers
from bpjax.training.evaluation import Batch, predict_rows
from bpjax.training.input import Batching, eval_batches


class Evaluator(NamedTuple):
    """Evaluates models on the evaluation split.

    Attributes:
      inputs: the task and its rows.
      batch: how many rows a batch has, and its lengths.
      generation: how texts are written, of a head that generates.
    """

    inputs: Inputs
    batch: BatchSection
    generation: GenerationSection

    @property
    def batching(self) -> Batching:
        """Of a size that the devices divide."""
        layout = self.inputs.layout
        size = layout.round_up(self.batch.eval_size)
        return Batching(size, self.batch.buckets, layout.part(size), self.batch.target_buckets)

    def rows(
        self,
        model: Config,
        params: dict,
        masks: dict | None = None,
        *,
        as_written: bool = False,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Logits of the evaluation split, with the row's number, in the order of the batches.

        Not fused where they are to be compared `as_written`, see `predict_rows`.
        """
        batches, layout = eval_batches(self.inputs.evaluation, self.batching), self.inputs.layout
        return predict_rows(model, params, batches, masks, layout, as_written=as_written)

    def answers(
        self,
        model: Config,
        params: dict,
        masks: dict | None = None,
        *,
        beams: int | None = None,
    ) -> list[Any]:
        """What a model says of each row of the evaluation split: logits, or the text it writes.

        Args:
          model: its config.
          params: its parameters.
          masks: of a masked model.
          beams: of the search, where texts are written; None: as the config says.
        """
        inputs, asked = self.inputs, self.generation
        changes = {"num_beams": beams or asked.num_beams, "max_length": asked.max_length}
        return answers(
            model,
            params,
            eval_batches(inputs.evaluation, self.batching),
            inputs.tokenizer,
            masks,
            inputs.layout,
            {name: value for name, value in changes.items() if value},
        )

    def evaluate(self, found: Sequence[Any]) -> dict[str, float]:
        """The task's metrics of such answers, in percent."""
        inputs = self.inputs
        if inputs.reference and isinstance(inputs.task, Embeds):
            return inputs.task.agreement(inputs.evaluation, found, inputs.reference())
        return inputs.task.evaluate(inputs.evaluation, found)

    def by_class(self, found: Sequence[Any]) -> dict[str, dict[str, float]]:
        """The task's metrics of each class, where it has any."""
        return by_class(self.inputs.task, self.inputs.evaluation, found)

    def metrics(
        self,
        model: Config,
        params: dict,
        masks: dict | None = None,
        *,
        beams: int | None = None,
    ) -> dict[str, float]:
        """The task's metrics of a model, in percent; `beams` as of `answers`."""
        return self.evaluate(self.answers(model, params, masks, beams=beams))

    def calibration_batches(self, most: int) -> Iterator[Batch]:
        """Up to so many training rows, from all over the split, to measure activations on."""
        train = self.inputs.train
        kept = take(range(len(train)), min(most, len(train)))
        batch = self.batch
        batching = Batching(batch.eval_size, batch.buckets, target_buckets=batch.target_buckets)
        return eval_batches(train.take(kept), batching)


def evaluator_of(inputs: Inputs, config: RunConfig) -> Evaluator:
    """That of a run."""
    return Evaluator(inputs, config.batch, config.generation)
