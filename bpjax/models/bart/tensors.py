"""Names of a BART's tensors in checkpoints."""

import functools

import numpy as np

from bpjax.models.architecture import Stored
from bpjax.models.bart.config import BartConfig
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.layers.embedding import sinusoids

PREFIX = "model."
"""Of all but the head's tensors, in a model with a head."""

NAMES = {
    "attention": ("self_attn", "self_attn_layer_norm"),
    "cross_attention": ("encoder_attn", "encoder_attn_layer_norm"),
    "ffn": ("", "final_layer_norm"),
}
"""Of a sublayer and of its norm, within a layer."""

_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}


def tensors(config: BartConfig) -> dict[str, Stored]:
    """Every parameter, by its path: where it lies in a checkpoint.

    A sublayer without units keeps its output's bias, and its norm where that stands behind it. The
    model's tensors bear a prefix in one with a head; they are found with and without.
    """
    variant, hidden = VARIANTS[config.model_type], config.hidden_size
    prefix, other = (PREFIX, "") if config.head != "none" else ("", PREFIX)
    table: dict[str, Stored] = {}

    def add(path: str, name: str, shape: tuple[int, ...]) -> None:
        turn = "transpose" if path.endswith("/kernel") else "keep"
        table[path] = Stored(prefix + name, shape, turn, (other + name,))

    def norm(path: str, name: str) -> None:
        add(f"{path}/scale", f"{name}.weight", (hidden,))
        add(f"{path}/bias", f"{name}.bias", (hidden,))

    def linear(path: str, name: str, inputs: int, outputs: int) -> None:
        if inputs:  # nothing feeds the output layer of a removed sublayer: its bias is left
            add(f"{path}/kernel", f"{name}.weight", (inputs, outputs))
        add(f"{path}/bias", f"{name}.bias", (outputs,))

    add("shared/embedding", "shared.weight", (config.vocab_size, hidden))
    table["shared/embedding"] = table["shared/embedding"]._replace(copies=_copies(prefix, other))
    for stack, sizes in config.stacks.items():
        rows = config.max_positions + variant.first_position
        path = f"{stack}/positions/embedding"
        add(path, f"{stack}.embed_positions.weight", (rows, hidden))
        if variant.sinusoidal and config.dense_sizes is None:
            absent = functools.partial(sinusoids, rows, hidden)
            table[path] = table[path]._replace(absent=absent)
        if variant.norm_embedding:
            norm(f"{stack}/norm", f"{stack}.layernorm_embedding")
        for part, units in sizes.units.items():
            inner, norm_name = NAMES[part]
            for i, count in enumerate(units):
                ours, theirs = f"{stack}/layer_{i}/{part}", f"{stack}.layers.{i}"
                if part == "ffn":
                    if count:
                        linear(f"{ours}/in", f"{theirs}.fc1", hidden, count)
                    linear(f"{ours}/out", f"{theirs}.fc2", count, hidden)
                else:
                    width = count * sizes.head_dim
                    for role, name in _PROJECTIONS.items():
                        if role == "output":
                            linear(f"{ours}/{role}", f"{theirs}.{inner}.{name}", width, hidden)
                        elif count:
                            linear(f"{ours}/{role}", f"{theirs}.{inner}.{name}", hidden, width)
                if count or not variant.pre_norm:
                    norm(f"{ours}/norm", f"{theirs}.{norm_name}")
        if variant.pre_norm:
            norm(f"{stack}/final_norm", f"{stack}.layer_norm")
    if config.head == "seq2seq":
        table["head/bias"] = Stored(
            "final_logits_bias",
            (config.vocab_size,),
            "row",
            absent=functools.partial(np.zeros, config.vocab_size, np.float32),
        )
    return table


def _copies(prefix: str, other: str) -> tuple[str, ...]:
    """Where the table of the word embeddings may lie, once more or alone."""
    inside = [f"{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")]
    return (*(start + name for start in (prefix, other) for name in inside), "lm_head.weight")


def owned(config: BartConfig) -> tuple[str, ...]:
    """Beginnings of names of the model's tensors, with its prefix and without."""
    del config
    return (PREFIX, "shared.", "encoder.", "decoder.")


def unread(config: BartConfig) -> tuple[str, ...]:
    """Ends of names of tensors that change nothing."""
    del config
    return ("encoder.version", "decoder.version")
