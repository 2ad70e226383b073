"""Sublayers that lost units, fitted to the whole model by least squares, without training."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from bpjax.models import describe
from bpjax.models.architecture import Config
from bpjax.models.heads import HEADS, real_tokens
from bpjax.models.layers.linear import Linear
from bpjax.pruning.fits import FITS, Sums
from bpjax.pruning.kept import KeptUnits
from bpjax.pruning.structure import at, put
from bpjax.training.evaluation import Batch, apply


def reconstruct(
    config: Config,
    params: dict,
    masks: dict,
    kept: KeptUnits,
    batches: Callable[[], Iterable[Batch]],
    how: str,
) -> dict:
    """Fits the kernels that write to residual streams, one after the other from the input.

    Behind each sublayer the stream of the masked model, whose earlier sublayers are fitted by then,
    is brought as near as can be to that of the whole one, by least squares over the real tokens of
    calibration rows. Behind the last sublayer that mixes tokens a head that reads one token of a
    row only wants the first.

    Args:
      config: of the model.
      params: unmasked: the whole model, and what is fitted.
      masks: the collection `masks`.
      kept: the units that the masks leave.
      batches: calibration rows, anew at each call.
      how: a key of `fits.FITS`: "scales" (Kwon et al. 2022, section 4.3) or "ridge".

    Returns:
      Parameters, of which only rows of units that are kept changed, and biases.
    """
    structure, fitted = describe(config), params
    # Of one shape, to one stream of the same tokens: one program serves them.
    kinds = {
        each.name: (each.write.stream, each.write.tokens, each.units * each.write.width)
        for each in structure.sublayers
    }
    last = max((i for i, x in enumerate(structure.sublayers) if x.mixes), default=-1)
    for place, each in enumerate(structure.sublayers):
        if not each.units:
            continue
        head = HEADS[config.head]
        first_only = place >= last and not (head.per_token or head.reads_all)
        found = at(fitted, each.write.path)
        inputs, size = found["kernel"].shape
        alike = tuple(name for name, kind in kinds.items() if kind == kinds[each.name])
        chosen = jnp.asarray(alike.index(each.name)), jnp.asarray(first_only)
        sums = Sums(jnp.zeros((inputs + 1, inputs + 1)), jnp.zeros((inputs + 1, size)))
        for batch in batches():
            sums = _add(config, alike, *chosen, sums, params, fitted, masks, batch)
        if "bias" not in found:
            sums = Sums(sums.gram.at[-1].set(0).at[:, -1].set(0), sums.cross.at[-1].set(0))
        bias = found.get("bias", jnp.zeros(found["kernel"].shape[1]))
        kernel = np.concatenate([found["kernel"], bias[None]]).astype(np.float64)
        rows = np.append(np.repeat(np.asarray(kept.units[each.name]), each.write.width), True)
        gram, cross = (np.asarray(x, np.float64) for x in sums)
        change = np.zeros(kernel.shape)
        part = Sums(gram[np.ix_(rows, rows)], cross[rows])
        change[rows] = FITS[how](each, part, kernel[rows])
        kernel = (kernel + change).astype(np.float32)
        fitted = put(fitted, (*each.write.path, "kernel"), jnp.asarray(kernel[:-1]))
        if "bias" in found:
            fitted = put(fitted, (*each.write.path, "bias"), jnp.asarray(kernel[-1]))
    return fitted


@functools.partial(jax.jit, static_argnums=(0, 1))
def _add(
    config: Config,
    names: tuple[str, ...],
    place: Int[Array, ""],
    first_only: Bool[Array, ""],
    sums: Sums,
    whole: dict,
    fitted: dict,
    masks: dict,
    batch: Batch,
) -> Sums:
    """Adds a batch to the sums of one of several sublayers: one program serves them all.

    Args:
      config: of the model.
      names: of sublayers whose write kernels have one shape and one stream.
      place: which of them.
      first_only: whether the first token of a row counts alone.
      sums: of the batches before.
      whole: parameters of the whole model.
      fitted: those of the masked one.
      masks: the collection `masks`.
      batch: of calibration rows.
    """
    sublayers = describe(config).sublayers
    paths = {each.write.path: each.name for each in sublayers}

    def run(params: dict, masks: dict | None) -> tuple[Array, Array]:
        inputs: dict[str, Array] = {}

        def listen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = context.module.path
            if isinstance(context.module, Linear) and path in paths and args:
                inputs[paths[path]] = args[0]
            return call(*args, **kwargs)

        with nn.intercept_methods(listen):
            streams = apply(config, params, batch, masks, activations=True).streams
        x, stream = (_choose(place, [found[name] for name in names]) for found in (inputs, streams))
        return x.reshape(-1, x.shape[-1]), stream.reshape(-1, stream.shape[-1])

    (_, wanted), (x, found) = run(whole, None), run(fitted, masks)
    (tokens,) = {each.write.tokens for each in sublayers if each.name in names}
    counts = real_tokens(batch, tokens)
    counts = counts * ((jnp.arange(counts.shape[1]) == 0) | ~first_only)
    x = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
    weighted = x * counts.reshape(-1, 1)
    return Sums(sums.gram + weighted.T @ x, sums.cross + weighted.T @ (wanted - found))


def _choose(place: Int[Array, ""], values: Sequence[Array]) -> Array:
    """One of several arrays, one after the other, so that they need not all be kept."""
    chosen, *others = values
    for number, value in enumerate(others, start=1):
        chosen = jnp.where(place == number, value, chosen)
    return chosen
