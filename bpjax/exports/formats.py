"""Export formats; what other software can run here is first compared with the model."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from bpjax.errors import UserError
from bpjax.exports.huggingface import add_code, drop_card, pad
from bpjax.exports.onnx import open_onnx, to_onnx
from bpjax.exports.outputs import DECODER_IDS, inputs_of, outputs_of
from bpjax.exports.stablehlo import open_stablehlo, to_stablehlo
from bpjax.measure.latency import measure_latency, random_batch
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.heads import HEADS
from bpjax.models.inputs import TOKEN_TYPES, Input
from bpjax.models.layers.products import unrounded
from bpjax.models.quantize import dequantize

Call = Callable[[dict[str, Any]], np.ndarray]


class Format(NamedTuple):
    """One form of a saved model.

    Attributes:
      convert: (config, params, folder): turns a folder that `save_pretrained` wrote into this form.
      open: (config, folder): the converted folder as a function of a batch, which gives what
        `outputs_of` does; None where other software loads it.
      change: of sizes and parameters before they are saved in the folder that is converted.
    """

    convert: Callable[[Config, dict[str, Any], Path], None]
    open: Callable[[Config, Path], Call] | None = None
    change: Callable[[Config, dict[str, Any]], tuple[Config, dict[str, Any]]] = dequantize


FORMATS = {
    "hf": Format(add_code),
    "hf-padded": Format(drop_card, change=pad),
    "onnx": Format(to_onnx, open_onnx),
    "stablehlo": Format(to_stablehlo, open_stablehlo),
}
"""What `bpjax export --to` can write. To add a form: one file, and its line here."""

TOLERANCE = 1e-4
_SHAPES = ((1, 5), (3, 24))  # of the batches that are compared
_ROWS = 41  # compared one by one, of a quantised model
_WRITTEN = 16  # tokens of each text while both are timed


def export(
    form: str, config: Config, params: dict[str, Any], tokenizer: Any, folder: Path
) -> dict[str, float]:
    """Saves a model in a form; the folder appears when it is whole and, if it can be, compared.

    Args:
      form: a key of `FORMATS`.
      config: of any model.
      params: its parameters.
      tokenizer: folder whose tokenizer files and model card are copied, or as `save_pretrained`
        takes it.
      folder: to make.

    Returns:
      What `compare` found; nothing for a form that other software loads.

    Raises:
      UserError: an unknown form, a missing package, or a folder that holds something already or
        cannot be written.
      RuntimeError: the export computes something else.
    """
    if form not in FORMATS:
        raise UserError(f"format {form!r}: expected one of {', '.join(FORMATS)}; choose one")
    convert, open_, change = FORMATS[form]
    found: dict[str, float] = {}

    def finish(written: Path) -> None:
        convert(config, params, written)
        if open_:
            found.update(compare(config, params, open_(config, written)))

    save_pretrained(folder, *change(config, params), tokenizer, finish=finish)
    return found


def compare(
    config: Config, params: dict[str, Any], call: Call, timed: tuple[int, int] = (8, 128)
) -> dict[str, float]:
    """Holds an exported model against ours, on random tokens with padding and two segments.

    One that writes is given the tokens of a text one after the other, and each time asked for what
    follows.

    Args:
      config: of the model.
      params: its parameters.
      call: the exported model.
      timed: (batch, length) at which both are timed, in turns; a model that writes is then given
        16 tokens of its text.

    Returns:
      `max_abs_diff` of the answers at real tokens; `ms` of the exported model and `bpjax_ms`,
      medians.

    Raises:
      RuntimeError: they differ by more than `TOLERANCE`, or an answer is not a number. In a
        quantised model the last bit of a float decides now and then how it is rounded, and that is
        then seen: of many short rows it is the median that must not differ.
    """
    params = jax.device_put(params)
    ours = jax.jit(functools.partial(outputs_of, config))
    inputs, apart = inputs_of(config), []
    shapes = [(*shape, 0) for shape in _SHAPES]
    if config.quantization:
        shapes = [(1, 5, seed) for seed in range(_ROWS)]
    for size, length, seed in shapes:
        batch, mask = _padded_batch(inputs, size, min(length, config.max_positions), seed)
        with unrounded():
            difference = np.abs(np.asarray(call(batch)) - np.asarray(ours(params, batch)))
        # Nobody reads what stands at padding; the texts have none.
        padded = HEADS[config.head].per_token and DECODER_IDS not in batch
        apart.append(np.max(difference[np.asarray(mask, bool)] if padded else difference))
    worst = float(np.max(apart))
    usual = float(np.median(apart)) if config.quantization else worst
    if not (usual <= TOLERANCE and np.isfinite(worst)):
        raise RuntimeError(f"the exported model differs by {usual:.1e}, expected {TOLERANCE:.0e}")
    batch = random_batch(inputs, timed[0], min(timed[1], config.max_positions))
    if DECODER_IDS in batch:
        batch[DECODER_IDS] = batch[DECODER_IDS][:, :_WRITTEN]
    times = measure_latency(
        {"ms": lambda: call(batch), "bpjax_ms": lambda: ours(params, batch)}, seconds=20.0
    )
    return {"max_abs_diff": worst, **times}


def _padded_batch(
    inputs: Sequence[Input], size: int, length: int, seed: int = 0
) -> tuple[dict[str, Any], Int[Array, "batch length"]]:
    """Random rows of 3 tokens and more, of two segments where the model tells them apart."""
    batch = random_batch(inputs, size, length, seed)
    mask = (jnp.arange(length) < jnp.arange(size)[:, None] + 3).astype(jnp.int32)
    for each in inputs:
        found = batch[each.name]
        if each.name == TOKEN_TYPES:
            batch[each.name] = (jnp.arange(length) >= 2) * mask * ((each.below or 0) > 1)
        elif each.below:
            # A RoBERTa of transformers counts its positions by what is not this token.
            other = (each.fill + 1) % each.below
            batch[each.name] = jnp.where(found == each.fill, other, found)
        elif each.below == 0 or each.is_mask:
            batch[each.name] = mask
    return batch, mask
