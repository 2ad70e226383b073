"""A layer's latency by the heads and dimensions it has, measured on this device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bpjax.measure.latency import compare_latency
from bpjax.models import bert
from bpjax.models.config import BertConfig
from bpjax.pruning.costs import Cost, Table

# Of the whole, below which the curve is steep: a product of few columns leaves the machine idle.
_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


def measure_cost(
    config: BertConfig,
    forward: Callable[..., Any],
    batch: int,
    length: int,
    *,
    seconds: float = 60.0,
) -> Cost:
    """Times models of which all layers have the same size, all interleaved.

    One sublayer's size varies while the other keeps a quarter; a layer's cost is its share of what
    the models take more than the one without that sublayer.

    Args:
      config: of the whole model.
      forward: `(config, params, batch) -> logits`.
      batch: rows.
      length: tokens in a row.
      seconds: of timing, compilation aside.

    Returns:
      Milliseconds.
    """
    layers = config.num_layers
    most_heads, most_dimensions = max(config.heads), max(config.intermediate)
    heads, dimensions = _sizes(most_heads), _sizes(most_dimensions)
    few_heads, few_dimensions = max(1, most_heads // 4), max(1, most_dimensions // 4)
    wanted = {(h, few_dimensions) for h in heads} | {(few_heads, d) for d in dimensions}
    models = {}
    for h, d in sorted(wanted | {(0, 0)}):
        sized = config.replace(heads=(h,) * layers, intermediate=(d,) * layers)
        models[f"{h} {d}"] = (
            functools.partial(forward, sized),
            bert.init(sized, jax.random.key(0)),
        )
    taken = compare_latency(
        models, [(batch, length)], vocab_size=config.vocab_size, rounds=50, seconds=seconds
    )
    time = {name: next(iter(by_shape.values())) for name, by_shape in taken.items()}

    def table(sizes: list[int], names: list[str]) -> Table:
        costs = [(time[name] - time[names[0]]) / layers for name in names]
        # More never costs less: what looks so is noise.
        rising = np.maximum.accumulate(costs)
        return Table(tuple(map(float, sizes)), tuple(map(float, rising)))

    attention = table(heads, [f"{h} {few_dimensions}" for h in heads])
    ffn = table(dimensions, [f"{few_heads} {d}" for d in dimensions])
    return Cost((attention,) * layers, (ffn,) * layers, time["0 0"])


def _sizes(most: int) -> list[int]:
    return sorted({0, *(max(1, round(most * share)) for share in _SHARES)})
