"""Where a BART keeps its units, and its config at other sizes."""

from collections.abc import Mapping
from typing import Any

from bpjax.errors import UserError
from bpjax.models.bart.config import BartConfig, Stack
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.inputs import ATTENTION_MASK, DECODER_MASK
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.pruning import structure
from bpjax.pruning.structure import Kernel, Sizes, Stream, Structure, Sublayer


def describe(config: BartConfig) -> Structure:
    """Its heads and FFN dimensions, all on one residual stream, "hidden".

    Both stacks and the head share the word embeddings, so that a dimension is of all or of none.
    """
    variant = VARIANTS[config.model_type]
    sublayers = [
        _sublayer(config, stack, f"{stack}/layer_{i}", name, units)
        for stack, sizes in config.stacks.items()
        for i, layer in enumerate(zip(*sizes.units.values(), strict=True))
        for name, units in zip(sizes.units, layer, strict=True)
    ]
    edges = [("norm", variant.norm_embedding), ("final_norm", variant.pre_norm)]
    inside = [each.write.path[:-1] for each in sublayers if each.units or not variant.pre_norm]
    tables = (("shared",), *((stack, "positions") for stack in config.stacks))
    hidden = Stream(
        size=config.hidden_size,
        tables=tables,
        norms=(
            *((stack, name) for stack in config.stacks for name, there in edges if there),
            *((*path, "norm") for path in inside),
        ),
        # Sublayers read the embeddings themselves where no norm stands between.
        writers=() if variant.norm_embedding or variant.pre_norm else tables,
    )
    return Structure(tuple(sublayers), {"hidden": hidden})


def _sublayer(config: BartConfig, stack: str, layer: str, name: str, units: int) -> Sublayer:
    path = (*layer.split("/"), name)
    # Without a text to write the decoder reads the source, shifted.
    written = ATTENTION_MASK if config.head == "none" else DECODER_MASK
    tokens = ATTENTION_MASK if stack == "encoder" else written
    read = ATTENTION_MASK if name == "cross_attention" else tokens
    met = (
        {"in": tokens, "out": tokens}
        if name == "ffn"
        else {"query": tokens, "key": read, "value": read, "output": tokens}
    )
    width = 1 if name == "ffn" else config.stacks[stack].head_dim
    *reads, write = (Kernel(role, (*path, role), width, tokens=x) for role, x in met.items())
    return Sublayer(
        name=f"{layer}/{name}",
        kind=f"{stack}/{name}",
        units=units,
        reads=tuple(reads),
        write=write,
        silence=structure.inner(ACTIVATIONS[config.activation])
        if name == "ffn"
        else structure.VALUE,
        mixes=0 if name == "ffn" else 2 * width,
        norm=(*path, "norm") if VARIANTS[config.model_type].pre_norm else None,
    )


def resize(config: BartConfig, sizes: Sizes) -> BartConfig:
    """A model of other sizes, which remembers those it had before the first removal."""
    left: Mapping[str, Any] = sizes.units  # none of which are grouped

    def resized(name: str) -> Stack:
        stack = config.stacks[name]
        return stack.resized(
            {
                part: tuple(left[f"{name}/layer_{i}/{part}"] for i in range(len(units)))
                for part, units in stack.units.items()
            }
        )

    return config.replace(
        encoder=resized("encoder"),
        decoder=resized("decoder"),
        hidden_size=sizes.streams["hidden"],
        dense_sizes=config.dense_sizes or (config.encoder, config.decoder, config.hidden_size),
    )


def dense(config: BartConfig) -> BartConfig | None:
    """The config before anything was removed; None where that is not known."""
    if config.dense_sizes is None:
        return None
    encoder, decoder, hidden = config.dense_sizes
    return config.replace(encoder=encoder, decoder=decoder, hidden_size=hidden, dense_sizes=None)


def has_all_waves(config: BartConfig) -> bool:
    """Whether transformers, which makes sines and cosines anew, makes those that the model has."""
    before = dense(config) or config
    return not VARIANTS[config.model_type].sinusoidal or before.hidden_size == config.hidden_size


def pad(config: BartConfig) -> BartConfig:
    """The config of a plain BART that the model fits in, with all layers of a stack alike.

    Raises:
      UserError: transformers has no such BART.
    """
    hidden = config.hidden_size
    whole = all(hidden % stack.head_dim == 0 for stack in config.stacks.values())
    for holds, what in (
        (config.norm == "layer", f"{config.norm} norms, expected layer norms"),
        (
            whole and config.scaled_by in (0, hidden) and has_all_waves(config),
            f"{hidden} hidden dimensions, expected as many as before pruning",
        ),
    ):
        if not holds:
            raise UserError(
                f"format hf-padded: the model has {what}, the only ones that transformers has; "
                "take --to=hf"
            )
    before = config.dense_sizes or (config.encoder, config.decoder, hidden)

    def padded(stack: Stack, dense: Stack) -> Stack:
        layers, heads = len(stack.ffn), hidden // stack.head_dim
        size = max((*stack.ffn, *dense.ffn, 1))
        alike = {"attention": heads, "cross_attention": heads, "ffn": size}
        return stack.resized({name: (alike[name],) * layers for name in stack.units})

    return config.replace(
        encoder=padded(config.encoder, before[0]),
        decoder=padded(config.decoder, before[1]),
        dense_sizes=None,
    )
