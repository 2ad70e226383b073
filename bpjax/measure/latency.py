"""Latency of models measured against each other: interleaved, warmed up, compiled ahead."""

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bpjax.errors import UserError
from bpjax.models.inputs import TOKEN_TYPES, Input

Forward = Callable[[Any, dict[str, jax.Array]], Any]
"""`(params, batch) -> logits`, batch as the training input makes it, without labels."""

SHAPES = ((8, 128), (1, 128))
"""The (batch, length) that reports speak of when nothing else is asked for."""

FEWEST_ROUNDS = 3


def measure_latency(
    fns: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 20,
    warmup: int = 3,
    seconds: float = float("inf"),
) -> dict[str, float]:
    """Median milliseconds of one call, by name.

    The functions take turns: a round calls each of them once, and every second round in reverse
    order. A machine that slows down, or a cache that the one leaves cold for the other, then
    touches all alike, which is what a ratio of medians needs.

    Args:
      fns: what to time. Results are waited for (`jax.block_until_ready`).
      rounds: timed calls of each function at most.
      warmup: rounds before those that count.
      seconds: stop counting after this time, though not before three rounds; the warm-up is
        cut short, after one round, at a quarter of it.

    Raises:
      ValueError: no functions or no rounds.
    """
    if not fns or rounds < 1:
        raise ValueError(f"{len(fns)} functions, {rounds} rounds: expected at least one of each")
    names = list(fns)

    start = time.perf_counter()
    for i in range(warmup):
        if i > 0 and time.perf_counter() - start > seconds / 4:
            break
        for name in names:
            jax.block_until_ready(fns[name]())

    taken: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for i in range(rounds):
        if i >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
            break
        for name in names if i % 2 == 0 else reversed(names):
            before = time.perf_counter()
            jax.block_until_ready(fns[name]())
            taken[name].append(time.perf_counter() - before)
    return {name: 1000 * statistics.median(times) for name, times in taken.items()}


def compare_latency(
    models: Mapping[str, tuple[Forward, Any]],
    shapes: Sequence[tuple[int, int]] = SHAPES,
    *,
    inputs: Sequence[Input],
    rounds: int = 20,
    warmup: int = 3,
    seconds: float = 30.0,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Forward latency of several models on the same random tokens, in milliseconds.

    Each model is compiled ahead for each shape, so that no compilation and no tracing is timed.
    All tokens are real ones: padding saves nothing in a static shape.

    Args:
      models: forward function and parameters, by name.
      shapes: (batch, length) pairs.
      inputs: of the models; see `inputs.common` where their vocabularies differ.
      rounds: timed calls of each model and shape at most.
      warmup: untimed rounds before.
      seconds: time to spend on one shape, compilation aside.
      seed: of the token ids.

    Returns:
      By model, by "BATCHxLENGTH".
    """
    results: dict[str, dict[str, float]] = {name: {} for name in models}
    for batch, length in shapes:
        tokens = random_batch(inputs, batch, length, seed)
        calls = {name: _compile(*model, tokens) for name, model in models.items()}
        medians = measure_latency(calls, rounds=rounds, warmup=warmup, seconds=seconds)
        for name, milliseconds in medians.items():
            results[name][f"{batch}x{length}"] = milliseconds
    return results


def parse_shapes(shapes: Sequence[str]) -> list[tuple[int, int]]:
    """(batch, length) pairs from texts such as "8x128".

    Raises:
      UserError: another form, or a size below 1.
    """
    for shape in shapes:
        if not re.fullmatch("[1-9][0-9]*x[1-9][0-9]*", str(shape)):
            raise UserError(f"shape {shape!r}: expected BATCHxLENGTH such as 8x128; write it so")
    return [(int(batch), int(length)) for batch, length in (shape.split("x") for shape in shapes)]


def random_batch(
    inputs: Sequence[Input], batch: int, length: int, seed: int = 0
) -> dict[str, jax.Array]:
    """A batch of random tokens, or pixels, without padding, all of the first segment.

    Args:
      inputs: of the model, see `models.inputs`.
      batch: rows.
      length: tokens in a row, of every input whose length differs by row.
      seed: of the tokens.
    """
    generator, found = np.random.default_rng(seed), {}
    for each in inputs:
        shape = (batch, *(length if isinstance(n, str) else n for n in each.shape))
        if each.is_mask:
            found[each.name] = np.ones(shape, each.dtype)
        elif each.below is None:
            found[each.name] = generator.standard_normal(shape).astype(each.dtype)
        elif each.name == TOKEN_TYPES:
            found[each.name] = np.zeros(shape, each.dtype)
        else:
            found[each.name] = generator.integers(each.below, size=shape, dtype=each.dtype)
    return jax.device_put(found)


def _compile(forward: Forward, params: Any, inputs: dict[str, jax.Array]) -> Callable[[], Any]:
    # Parameters from a file are numpy arrays: without this, every call would copy them over.
    params = jax.device_put(params)
    compiled = jax.jit(forward).lower(params, inputs).compile()
    return lambda: compiled(params, inputs)
