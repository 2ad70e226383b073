"""Texts of many batches, each in its place."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from jaxtyping import Int, PyTree

from bpjax.generation.search import generate, prompt_length, settings_of
from bpjax.models.architecture import Config
from bpjax.models.generation import Generation
from bpjax.models.inputs import INDEX
from bpjax.models.layers.collections import MASKS


def write(
    config: Config,
    params: dict,
    batches: Iterable[Mapping[str, Any]],
    settings: Generation | None = None,
    masks: dict | None = None,
    bar: str | None = None,
    gather: Callable[[PyTree], PyTree] = lambda tree: tree,
) -> list[Int[np.ndarray, " tokens"]]:
    """What a model writes for every row, in the order of the features.

    Args:
      config: of a model whose head generates.
      params: its parameters.
      batches: of `training.input.eval_batches`; where their number is known the bar tells it.
      settings: how; by default those that the model was saved with.
      masks: the `masks` collection of a masked model; None for a dense one.
      bar: what a progress bar on standard error is called; None: there is none.
      gather: brings arrays together that are divided between processes.

    Returns:
      The tokens of each row, without those that it starts with and what follows the end.

    Raises:
      UserError: as `generate`.
    """
    if settings is not None:
        config = config.replace(generation=settings)
    ends = settings_of(config).eos_token_id
    variables = {"params": params, MASKS: masks or {}}
    rows: dict[int, np.ndarray] = {}
    for batch in tqdm.tqdm(batches, desc=bar, file=sys.stderr, disable=bar is None):
        found = gather((generate(config, variables, batch).tokens, batch[INDEX]))
        prompt = prompt_length(config, batch)
        for row, index in zip(*map(np.asarray, found), strict=True):
            if index >= 0:
                rows[int(index)] = _without_filling(row[prompt:], ends)
    return [rows[index] for index in sorted(rows)]


def _without_filling(tokens: np.ndarray, ends: tuple[int, ...]) -> np.ndarray:
    """Up to the first token that ends a text, with it."""
    found = np.flatnonzero(np.isin(tokens, ends))
    return tokens[: found[0] + 1] if len(found) else tokens


def decode(tokenizer: Any, rows: Sequence[Int[np.ndarray, " _"]]) -> list[str]:
    """The texts that rows of tokens are, without special ones."""
    return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
