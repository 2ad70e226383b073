"""config.json of BART and its relatives, in and out."""

from collections.abc import Mapping
from typing import Any

from bpjax.errors import UserError
from bpjax.models import sizes as saved_sizes
from bpjax.models.architecture import Json
from bpjax.models.bart.config import BartConfig, Stack
from bpjax.models.bart.describe import dense, describe, has_all_waves, resize
from bpjax.models.bart.fields import ALIASES, DEFAULTS, require_known
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.config_fields import read_fraction, read_size, without_aliases
from bpjax.models.generation import Generation
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.norm import NORMS
from bpjax.models.sizes import SHRUNKEN_KEY, is_size
from bpjax.pruning.structure import sizes_of


def write(config: BartConfig) -> dict[str, Any]:
    """What config.json says about a model.

    A dense model (alike layers, all heads there, layer norms) gets plain Hugging Face fields, and
    transformers loads it. A shrunken model has the key `bpjax` with its sizes by sublayer, those
    before the removal, and what else is not as in transformers. Its numbers of heads and of
    feed-forward dimensions are then 0, because there is no one such number, and transformers
    refuses to build the model.
    """
    variant = VARIANTS[config.model_type]
    architecture = variant.classes[config.head]
    data: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": variant.name,
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
    }
    plain = _is_dense(config)
    for name, stack in config.stacks.items():
        data |= {
            f"{name}_layers": len(stack.ffn),
            f"{name}_attention_heads": stack.heads[0] if plain else 0,
            f"{name}_ffn_dim": stack.ffn[0] if plain else 0,
            f"{name}_layerdrop": stack.layer_dropout,
        }
    tokens = config.generation
    data |= {
        "activation_function": config.activation,
        "max_position_embeddings": config.max_positions,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "init_std": config.initializer_range,
        "scale_embedding": config.scaled_by > 0,
        "pad_token_id": config.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": _some(tokens.eos_token_id),
        "decoder_start_token_id": config.decoder_start_token_id,
        "forced_eos_token_id": _some(tokens.forced_eos_token_id),
        "dtype": "float32",
    }
    if config.problem_type:
        data["problem_type"] = config.problem_type
    if not plain:
        data["architectures"] = [f"Bpjax{architecture}"]
        changes: dict[str, Any] = {}
        if config.norm != NORMS[0]:
            changes["norm"] = config.norm
        if config.scaled_by not in (0, config.hidden_size):
            changes["scaled_by"] = config.scaled_by
        data[SHRUNKEN_KEY] = {
            "format": saved_sizes.FORMAT,
            "sizes": saved_sizes.to_json(sizes_of(describe(config))),
            "head_dim": {name: stack.head_dim for name, stack in config.stacks.items()},
            "changes": changes,
        }
        if before := dense(config):
            data[SHRUNKEN_KEY]["dense_sizes"] = saved_sizes.to_json(sizes_of(describe(before)))
    return data


def read(data: Json, head: str, num_labels: int, where: str) -> BartConfig:
    """Reads a model's sizes from the contents of a config.json.

    Args:
      data: the decoded file.
      head: the task head to give the model.
      num_labels: labels of a head that has some.
      where: the file's name, for messages.

    Raises:
      UserError: it computes something else than ours; a size that is missing or no whole number.
    """
    variant = VARIANTS[str(data["model_type"])]
    data = without_aliases(data, ALIASES, where)
    require_known(data, variant, where)
    data = {**DEFAULTS, **variant.defaults, **data}
    activation, scales = data["activation_function"], data["scale_embedding"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise UserError(
            f"{where}: activation_function is {activation!r}: expected one of "
            f"{', '.join(ACTIVATIONS)}; choose another model"
        )
    if not isinstance(scales, bool | None):
        raise UserError(
            f"{where}: scale_embedding is {scales!r}: expected true or false; correct the file"
        )
    hidden, vocabulary = (read_size(data, name, where) for name in ("d_model", "vocab_size"))
    spared = ("bos_token_id", *["decoder_start_token_id"] * variant.wraps)
    tokens: dict[str, Any] = {
        name: None
        if data[name] is None and name in spared
        else _token(data[name], name, vocabulary, where)
        for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id")
    }
    start = tokens["decoder_start_token_id"]
    config = BartConfig(
        model_type=variant.name,
        vocab_size=vocabulary,
        hidden_size=hidden,
        encoder=_stack(data, "encoder", hidden, where),
        decoder=_stack(data, "decoder", hidden, where),
        max_positions=read_size(data, "max_position_embeddings", where),
        scaled_by=hidden if scales else 0,
        dropout=read_fraction(data, "dropout", where),
        attention_dropout=read_fraction(data, "attention_dropout", where),
        activation_dropout=read_fraction(data, "activation_dropout", where),
        head=head,
        num_labels=vocabulary if head == "seq2seq" else num_labels,
        activation=activation,
        initializer_range=read_fraction(data, "init_std", where),
        **tokens,
        # As far as this file says; more of it stands in a generation_config.json.
        generation=Generation(
            decoder_start_token_id=tokens["bos_token_id"] if start is None else start,
            eos_token_id=_tokens(data, "eos_token_id", vocabulary, where),
            pad_token_id=tokens["pad_token_id"],
            forced_eos_token_id=_tokens(data, "forced_eos_token_id", vocabulary, where),
        ),
    )
    return _shrunken(data[SHRUNKEN_KEY], config, where) if SHRUNKEN_KEY in data else config


def _stack(data: Json, name: str, hidden: int, where: str) -> Stack:
    """The sizes in a file of transformers: all layers alike."""
    layers = read_size(data, f"{name}_layers", where)
    dropout = read_fraction(data, f"{name}_layerdrop", where)
    heads, size = 1, 1  # until the key `bpjax` says
    if SHRUNKEN_KEY not in data:
        heads = read_size(data, f"{name}_attention_heads", where)
        size = read_size(data, f"{name}_ffn_dim", where)
    if hidden % heads:
        raise UserError(
            f"{where}: {name}_attention_heads is {heads}: expected a divisor of d_model {hidden}; "
            "correct the file"
        )
    cross = (heads,) * layers if name == "decoder" else ()
    return Stack((heads,) * layers, (size,) * layers, cross, hidden // heads, dropout)


def _shrunken(found: Any, config: BartConfig, where: str) -> BartConfig:
    """The model whose layers differ, from the key `bpjax`."""
    if not isinstance(found, Mapping):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY} is {found!r}: expected sizes and head_dim; save the model "
            "again"
        )
    changes, widths = found.get("changes", {}), found.get("head_dim")
    if not isinstance(widths, Mapping):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY}.head_dim is {widths!r}: expected that of each stack; save "
            "the model again"
        )
    stacks = {
        name: stack.replace(head_dim=read_size(widths, name, where))
        for name, stack in config.stacks.items()
    }
    config = config.replace(**stacks, norm=changes.get("norm", NORMS[0]))
    if "scaled_by" in changes:
        config = config.replace(scaled_by=read_size(changes, "scaled_by", where))
    names = [each.name for each in describe(config).sublayers]

    def sized(key: str) -> BartConfig:
        sizes = saved_sizes.from_json(found.get(key), names, ("hidden",), f"{where}: {key}")
        return resize(config, sizes).replace(dense_sizes=None)

    left = sized("sizes")
    if left.hidden_size != config.hidden_size:
        raise UserError(
            f"{where}: {SHRUNKEN_KEY}.sizes has {left.hidden_size} hidden dimensions: expected "
            f"{config.hidden_size} as the file says elsewhere; save the model again"
        )
    if "dense_sizes" in found:
        before = sized("dense_sizes")
        left = left.replace(dense_sizes=(before.encoder, before.decoder, before.hidden_size))
    return left


def _is_dense(config: BartConfig) -> bool:
    hidden = config.hidden_size
    return (
        config.norm == NORMS[0]
        and config.quantization is None
        and config.scaled_by in (0, hidden)
        and has_all_waves(config)
        and all(
            len(set(stack.ffn)) == 1
            and stack.ffn[0] > 0
            and {count * stack.head_dim for count in (*stack.heads, *stack.cross)} == {hidden}
            for stack in config.stacks.values()
        )
    )


def _some(tokens: tuple[int, ...]) -> int | list[int] | None:
    """As a file has them: one is a number, none null."""
    return [*tokens] if len(tokens) > 1 else next(iter(tokens), None)


def _tokens(data: Json, name: str, vocabulary: int, where: str) -> tuple[int, ...]:
    found = data[name]
    listed = found if isinstance(found, list) else [] if found is None else [found]
    return tuple(_token(each, name, vocabulary, where) for each in listed)


def _token(token: Any, name: str, vocabulary: int, where: str) -> int:
    if not is_size(token, 0) or token >= vocabulary:
        raise UserError(
            f"{where}: {name} is {token!r}: expected a token of the vocabulary, below {vocabulary};"
            " correct the file"
        )
    return int(token)
