"""What a stage is, and what all of them are handed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from bpjax.config import RunConfig
from bpjax.config.sections import BatchSection, ModelSection
from bpjax.models.heads import HEADS
from bpjax.models.inputs import LABEL
from bpjax.stages.opened import Opened
from bpjax.tasks.base import Features, Task
from bpjax.training.input import steps_per_epoch
from bpjax.training.mesh import Layout

STREAMS = 5
"""Between the row orders of two seeds. Frozen: it does not count stages."""

FILL_NOISE = 5
"""Number of the stream that `fill` draws from where weights are zero. Stages do not have it."""

MODELS = ("dense", "model", "quantized")
"""Kinds of artefacts that are a model's folder."""

Artefacts = Mapping[str, Path]
"""Where the newest artefact of each kind lies."""


class Inputs(NamedTuple):
    """The data of a run, and the models that were opened for it.

    Attributes:
      task: of the run.
      tokenizer: of the model.
      train: features of the training rows.
      evaluation: features of the rows to evaluate on.
      layout: over the devices.
      opened: models, each opened once.
      reference: gives the dense model's outputs for the rows to evaluate on, where they are what is
        right; else None.
    """

    task: Task
    tokenizer: Any
    train: Features
    evaluation: Features
    layout: Layout
    opened: Opened
    reference: Callable[[], Sequence[np.ndarray]] | None = None

    def pretrained(self, model: ModelSection, seed: int) -> tuple[Any, dict]:
        """The model before the task: what teacher and student both start from.

        Raises:
          UserError: as `load_pretrained`.
        """
        bias = HEADS[self.task.head].bias
        return self.opened.open(
            model.source,
            head=self.task.head,
            num_labels=self.task.num_labels,
            labels=self.task.labels,
            dtype=model.dtype,
            rng=jax.random.key(seed),
            bias=tuple(bias(self.train.columns[LABEL].values).tolist()) if bias else None,
        )

    def finished(self, source: str | Path, dtype: str = "float32") -> tuple[Any, dict]:
        """A model with a head that learnt the task, its outputs in the order of the task's labels.

        Raises:
          UserError: as `load_pretrained`.
        """
        return self.opened.open(source, labels=self.task.labels, dtype=dtype)

    def steps_per_epoch(self, batch: BatchSection) -> int:
        """Updates in one pass over the training rows."""
        return steps_per_epoch(len(self.train), batch.size)


def _check_nothing(inputs: Inputs, config: RunConfig) -> None:
    pass


def _no_steps(inputs: Inputs, config: RunConfig) -> int:
    return 0


def _report_nothing(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {}


class Stage(NamedTuple):
    """One part of the pipeline. To add one, write a file with its record and list it in STAGES.

    Artefacts are of a kind: "budget" (the stage's folder, with its notes), "dense" (folder of the
    dense model), "masked" (folder of a model with masks, see `masked`), "model" (folder of a model
    as small as it is by now), "quantized" (folder of that in few bits). A stage is handed the
    newest of the kinds it takes.

    Attributes:
      name: of its folder and of its seconds in the report.
      run: does the work: `(inputs, config, artefacts, folder) -> notes`. The notes are JSON, and
        hold `seconds`; of a stage that trains, also `waiting`, `compiling` and `step_bytes`.
      takes: kinds of artefacts that it reads.
      makes: kind of the artefact that it leaves in its folder; a model in `folder`/model.
      number: of its streams of random numbers, never changed; None draws none. New ones number
        from 6, for 5 is `FILL_NOISE`.
      wanted: whether a config asks for it.
      check: finds what would stop it, before hours are spent on earlier ones: cheap to dear.
      plan: steps that it trains, for --dry-run.
      report: from its notes, keys of report.json beside its seconds.
    """

    name: str
    run: Callable[[Inputs, RunConfig, Artefacts, Path], dict[str, Any]]
    takes: tuple[str, ...] = ()
    makes: str | None = None
    number: int | None = None
    wanted: Callable[[RunConfig], bool] = lambda config: True
    check: Callable[[Inputs, RunConfig], None] = _check_nothing
    plan: Callable[[Inputs, RunConfig], int] = _no_steps
    report: Callable[[Mapping[str, Any]], dict[str, Any]] = _report_nothing

    def artefact(self, folder: Path) -> Path:
        """Where it leaves what it makes."""
        return folder / "model" if self.makes in MODELS else folder


def stream(seed: int, number: int) -> Key[Array, ""]:
    """The key of a stage's random numbers, such as its dropout."""
    return jax.random.fold_in(jax.random.key(seed), number)


def row_seed(seed: int, number: int) -> int:
    """The seed of a stage's order of rows.

    From number `STREAMS` on it is also that of another stage with the next seed, which is harmless.
    """
    return seed * STREAMS + number
