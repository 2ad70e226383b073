"""StableHLO: a model with its weights in one file, for any batch and length, without bpjax.

`jax.export.deserialize(path.read_bytes()).call(input_ids, attention_mask, token_type_ids)` runs it.
A model that writes texts is two: what begins with a source, and what adds a token.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from bpjax import models
from bpjax.errors import UserError
from bpjax.exports.outputs import DECODER_IDS, inputs_of, outputs_of
from bpjax.models.architecture import Config
from bpjax.models.generation import Cache
from bpjax.models.heads import HEADS
from bpjax.models.inputs import Input, source_inputs
from bpjax.models.sources import WEIGHTS

FILE = "model.stablehlo"
START, STEP = "start.stablehlo", "step.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")

Dims = Mapping[str, Any]
"""Symbols by what they are the size of."""


def to_stablehlo(config: Config, params: dict[str, Any], folder: Path) -> None:
    """Puts `model.stablehlo`, a serialised `jax.export.Exported`, in place of a folder's weights.

    It takes the model's inputs one after the other, of any batch and length, and gives logits as
    bpjax does, or the hidden states of a model without a head. In its place a model that writes has
    `start.stablehlo`, which takes the inputs of a source and the array `[batch, room]` that the
    texts are to be written to, of which only the size counts, and gives a cache; and
    `step.stablehlo`, which takes the last tokens `[batch, beams]`, their place and the cache, whose
    arrays `own` have a row a beam, and gives the logits of what follows, `[batch, beams,
    vocabulary]`, and the cache with these tokens in it.

    Raises:
      UserError: more weights than such a file can hold.
    """
    size = sum(np.asarray(each).nbytes for each in jax.tree.leaves(params))
    if size >= flatbuffers.Builder.MAX_BUFFER_SIZE:
        raise _too_large(size)
    make = _writer if HEADS[config.head].generates else _whole
    for name, (call, given) in make(config, params).items():
        exported = export.export(jax.jit(call), platforms=PLATFORMS)(*given)
        try:
            found = exported.serialize()
        except flatbuffers.builder.BuilderSizeError as error:  # the program takes some room, too
            raise _too_large(size) from error
        (folder / name).write_bytes(found)
    (folder / WEIGHTS).unlink()


Programs = Mapping[str, tuple[Callable[..., Any], Sequence[Any]]]
"""By their file: a function, and arrays of the shapes that it takes."""


def _whole(config: Config, params: dict[str, Any]) -> Programs:
    inputs = models.inputs(config)
    dims = _dims(config, ["batch"], [n for each in inputs for n in each.shape])

    def call(*arrays: jax.Array) -> jax.Array:
        named = zip((each.name for each in inputs), arrays, strict=True)
        return outputs_of(config, params, dict(named))

    return {FILE: (call, [_array(each, dims) for each in inputs])}


def _writer(config: Config, params: dict[str, Any]) -> Programs:
    decoder, variables = models.architecture(config).decoder, {"params": params}
    assert decoder is not None, f"{config.model_type} has no decoder"
    inputs = source_inputs(models.inputs(config))
    lengths = [n for each in inputs for n in each.shape]

    def start(*arrays: jax.Array) -> dict[str, Any]:
        *source, tokens = arrays
        batch = dict(zip((each.name for each in inputs), source, strict=True))
        return decoder.start(config, variables, batch, tokens.shape[1])._asdict()

    def step(
        tokens: jax.Array, position: jax.Array, cache: dict[str, Any]
    ) -> tuple[jax.Array, dict[str, Any]]:
        logits, after = decoder.step(config, variables, tokens, position, Cache(**cache))
        return logits, after._asdict()

    def given(dims: Dims) -> list[jax.ShapeDtypeStruct]:
        text = (dims["batch"], dims.get("room", 1))
        return [*(_array(each, dims) for each in inputs), jax.ShapeDtypeStruct(text, jnp.int32)]

    first = given(_dims(config, ["batch"], [*lengths, "room"]))
    # Without any heads of its own a decoder needs no room, and every symbol must be in a shape.
    room = ["room"] if jax.tree.leaves(jax.eval_shape(start, *first)["own"]) else []
    dims = _dims(config, ["batch", "beams"], [*lengths, *room])
    batch, beams = dims["batch"], dims["beams"]
    cache = jax.eval_shape(start, *given(dims))
    cache["own"] = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((batch * beams, *x.shape[1:]), x.dtype), cache["own"]
    )
    last, place = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((batch, beams), ()))
    return {START: (start, first), STEP: (step, [last, place, cache])}


def _dims(config: Config, sizes: Sequence[str], lengths: Sequence[str | int]) -> Dims:
    """Symbols of numbers of 1 and more, and of lengths up to what the model takes."""
    tokens = [n for n in dict.fromkeys(lengths) if isinstance(n, str)]
    names = [*sizes, *tokens]
    scope = export.SymbolicScope(
        [f"{name} >= 1" for name in names] + [f"{n} <= {config.max_positions}" for n in tokens]
    )
    found = export.symbolic_shape(", ".join(names), scope=scope)
    return dict(zip(names, found, strict=True))


def _array(each: Input, dims: Dims) -> jax.ShapeDtypeStruct:
    shape = (dims["batch"], *(dims[n] if isinstance(n, str) else n for n in each.shape))
    return jax.ShapeDtypeStruct(shape, jnp.dtype(each.dtype))


def _too_large(size: int) -> UserError:
    limit = flatbuffers.Builder.MAX_BUFFER_SIZE
    return UserError(
        f"format stablehlo: the model has {size / 1e9:.2f} GB of weights: expected less than "
        f"{limit / 1e9:.2f} GB with the program, all that its file can hold; take --to=onnx"
    )


def open_stablehlo(config: Config, folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """What was saved, as a function of a batch."""
    names = [each.name for each in inputs_of(config)]
    if not HEADS[config.head].generates:
        call = _load(folder / FILE)
        return lambda batch: np.asarray(call(*(batch[name] for name in names)))
    start, step = _load(folder / START), _load(folder / STEP)

    def write(batch: dict[str, Any]) -> np.ndarray:
        cache, found = start(*(batch[name] for name in names)), []
        for place, last in enumerate(np.asarray(batch[DECODER_IDS]).T):
            logits, cache = step(last[:, None], place, cache)
            found.append(logits[:, 0])
        return np.stack(found, axis=1)

    return write


def _load(path: Path) -> Callable[..., Any]:
    return jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
