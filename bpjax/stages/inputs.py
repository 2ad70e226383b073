"""The data of a run, and what of it would stop any stage."""

import functools
from pathlib import Path

import numpy as np

from bpjax import models
from bpjax.config import RunConfig
from bpjax.errors import UserError
from bpjax.measure.latency import parse_shapes
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import require_head
from bpjax.models.quantize import require_float
from bpjax.models.sources import find_folder
from bpjax.models.tokenizer import check_same_vocabulary, check_vocabulary, load_tokenizer
from bpjax.stages.base import Inputs
from bpjax.stages.evaluator import evaluator_of
from bpjax.stages.opened import Opened, align, require_fit, saved_head
from bpjax.tasks import get_task
from bpjax.tasks.base import Embeds
from bpjax.training.input import resolve_buckets, resolve_targets
from bpjax.training.mesh import make_layout
from bpjax.training.packing import make_bins


def prepare(config: RunConfig) -> Inputs:
    """Reads and tokenises the data of a config.

    Raises:
      UserError: unknown task, missing or malformed data, no tokenizer.
    """
    task = get_task(config.task.name, **config.task.options)
    require_head(config.model.source, task.head)
    task = align(task, saved_head(config.model.source))
    tokenizer = load_tokenizer(config.model.source)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    layout = make_layout(config.mesh.data, config.mesh.fsdp)
    found = Inputs(task, tokenizer, train, evaluation, layout, Opened())
    if isinstance(task, Embeds) and task.relative:
        return found._replace(
            reference=functools.cache(functools.partial(_ask_dense, found, config))
        )
    return found


def _ask_dense(inputs: Inputs, config: RunConfig) -> list[np.ndarray]:
    """What the dense model says of the rows to evaluate on; it is not trained."""
    model, params = inputs.finished(config.teacher.source or config.model.source)
    return evaluator_of(inputs, config).answers(model, params)


def given(config: RunConfig) -> dict[str, Path]:
    """The artefacts that a config names instead of having them made."""
    return {"dense": find_folder(config.teacher.source)} if config.teacher.source else {}


def timed_shapes(config: RunConfig) -> list[tuple[int, int]]:
    """Batch and length that are timed at the end, a budget's own among them."""
    budget = config.budget
    asked = (budget.shape,) if budget.kind == "speedup" else ()
    return parse_shapes(list(dict.fromkeys((*asked, *config.measure.shapes))))


def check_inputs(inputs: Inputs, config: RunConfig) -> None:
    """Finds what would stop every stage: batches, models and data that do not fit.

    Raises:
      UserError: a batch that cannot be divided; a vocabulary, head or length that does not fit.
    """
    _check_batch(inputs, config)
    source = config.model.source
    model, _ = inputs.pretrained(config.model, config.seed)
    check_vocabulary(inputs.tokenizer, model)
    positions = {source: model.max_positions}
    for source in filter(None, (config.teacher.source, config.distillation.source)):
        found, _ = inputs.finished(source)
        require_float(found, source)
        require_fit(inputs.task, source, found, inputs.tokenizer)
        check_same_vocabulary(inputs.tokenizer, source)
        positions[source] = found.max_positions
    _check_lengths(inputs, config, positions)
    if config.batch.packing:
        _check_packing(inputs, config, model)


def _check_batch(inputs: Inputs, config: RunConfig) -> None:
    inputs.layout.part(config.batch.size)
    parts = config.batch.accumulate * inputs.layout.devices
    if config.batch.size % parts:
        raise UserError(
            f"config.batch.size is {config.batch.size}: expected a multiple of {parts}, "
            "batch.accumulate times the devices; change one of them"
        )


def _check_packing(inputs: Inputs, config: RunConfig, model: Config) -> None:
    options, attention = config.batch, config.distillation.attention
    for holds, found, expected in (
        (models.architecture(model).packs, model.model_type, "an encoder of BERT's family"),
        (options.accumulate == 1, f"batch.accumulate {options.accumulate}", "1"),
        (inputs.layout.devices == 1, f"{inputs.layout.devices} devices", "1"),
        (
            not attention.prune,
            "distillation.attention.prune, which compares the scores of whole rows",
            "0",
        ),
    ):
        if not holds:
            raise UserError(
                f"config.batch.packing is {options.packing}, with {found}: expected {expected}; "
                "set batch.packing to 0"
            )
    make_bins(inputs.train.lengths, options.size, options.packing)


def _check_lengths(inputs: Inputs, config: RunConfig, positions: dict[str, int]) -> None:
    lengths = [length for _, length in timed_shapes(config)]
    for features in (inputs.train, inputs.evaluation):
        buckets = resolve_buckets(features.lengths, config.batch.buckets)
        lengths.append(min(x for x in buckets if x >= features.lengths.max()))
        lengths += resolve_targets(features, config.batch.target_buckets)
    lengths.append(config.generation.max_length)
    for source, most in positions.items():
        if max(lengths) > most:
            raise UserError(
                f"{max(lengths)} tokens in a row: expected at most {most}, the "
                f"positions of {source}; lower task.max_length, batch.buckets or measure.shapes, "
                "or of texts to be written task.max_target_length or generation.max_length"
            )
