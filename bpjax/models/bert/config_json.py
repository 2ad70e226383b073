"""config.json of BERT and its family, in and out."""

from collections.abc import Mapping
from typing import Any

from bpjax.errors import UserError
from bpjax.models import sizes as saved_sizes
from bpjax.models.architecture import Json
from bpjax.models.bert.config import BertConfig
from bpjax.models.bert.describe import dense, describe
from bpjax.models.bert.encoders import ENCODERS, Encoder
from bpjax.models.bert.fields import require_known
from bpjax.models.config_fields import read_fraction, read_size, without_aliases
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.labels import write_labels
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.norm import NORMS
from bpjax.models.sizes import SHRUNKEN_KEY, is_size
from bpjax.pruning.structure import sizes_of


def write(config: BertConfig) -> dict[str, Any]:
    """What config.json says about a model.

    A dense model (alike layers, all heads there, layer norms, float parameters) gets plain Hugging
    Face fields, and transformers loads it. Any other has the key `bpjax` with its sizes by
    sublayer, those before the removal, and what else is not as in transformers. Its number of heads
    and its intermediate size are then 0, because there is no one such number: transformers still
    reads the tokenizer beside it, but refuses to build the model, where any plausible number would
    let it fill removed layers with random weights, or take integers for weights.
    """
    encoder = ENCODERS[config.model_type]
    named, architecture = encoder.fields, encoder.classes[config.head]
    data: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": encoder.name,
        "vocab_size": config.vocab_size,
        named["hidden_size"]: config.hidden_size,
        named["layers"]: config.num_layers,
        named["heads"]: 0,
        named["intermediate"]: 0,
        named["activation"]: config.activation,
        "max_position_embeddings": config.max_positions + config.first_position,
        "position_embedding_type": "absolute",
        named["hidden_dropout"]: config.hidden_dropout,
        named["attention_dropout"]: config.attention_dropout,
        "initializer_range": config.initializer_range,
        "pad_token_id": config.padding,
        "dtype": "float32",
    }
    if encoder.token_types:
        data["type_vocab_size"] = config.type_vocab_size
    if encoder.projects:
        data["embedding_size"] = config.embedded
    if encoder.norm_eps is None:
        data["layer_norm_eps"] = config.norm_eps
    if config.head_dropout is not None and config.head in encoder.head_dropout:
        data[encoder.head_dropout[config.head][0]] = config.head_dropout
    data |= write_labels(config.head, config.num_labels, config.labels, config.problem_type)

    if _is_dense(config):
        data[named["heads"]] = config.heads[0]
        data[named["intermediate"]] = config.intermediate[0]
    else:
        data["architectures"] = [f"Bpjax{architecture}"]
        changes: dict[str, Any] = {}
        if config.norm != NORMS[0]:
            changes["norm"] = config.norm
        if config.pooled not in (0, config.hidden_size):
            changes["pooler_size"] = config.pooled
        if config.embedding_size == config.hidden_size:
            changes["project"] = True
        data[SHRUNKEN_KEY] = {
            "format": saved_sizes.FORMAT,
            "sizes": saved_sizes.to_json(sizes_of(describe(config))),
            "head_dim": config.head_dim,
            "changes": changes,
        }
        if before := dense(config):
            data[SHRUNKEN_KEY]["dense_sizes"] = saved_sizes.to_json(sizes_of(describe(before)))
    return data


def read(data: Json, head: str, num_labels: int, where: str) -> BertConfig:
    """Reads a model's sizes from the contents of a config.json.

    Args:
      data: the decoded file.
      head: the task head to give the model.
      num_labels: labels that the head is to tell apart.
      where: the file's name, for messages.

    Raises:
      UserError: it computes something else than ours; a size that is missing or no whole number.
    """
    encoder = ENCODERS[str(data["model_type"])]
    named = encoder.fields
    data = without_aliases(data, encoder.aliases, where)
    require_known(data, where)
    activation = data.get(named["activation"], next(iter(ACTIVATIONS)))
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{where}: {named['activation']} is {activation!r}: expected one of "
            f"{', '.join(ACTIVATIONS)}; choose another encoder"
        )
    hidden = read_size(data, named["hidden_size"], where)
    layers = read_size(data, named["layers"], where)
    sizes = (
        _shrunken(data[SHRUNKEN_KEY], layers, hidden, where)
        if SHRUNKEN_KEY in data
        else _plain(data, encoder, layers, hidden, where)
    )
    padding = data.get("pad_token_id", encoder.pad_token_id)
    if padding is None and not encoder.counts_tokens:
        padding = encoder.pad_token_id
    if not is_size(padding, 0):
        raise UserError(
            f"{where}: pad_token_id is {padding!r}: expected a whole number, the token of padding; "
            "correct the file"
        )
    first = padding + 1 if encoder.counts_tokens else 0
    positions = read_size(data, "max_position_embeddings", where, 512)
    if positions <= first:
        raise UserError(
            f"{where}: max_position_embeddings is {positions}: expected more than {first}, for "
            f"positions start behind pad_token_id {padding}; correct the file"
        )
    types, embedded = encoder.token_types, hidden
    if encoder.projects:
        embedded = read_size(data, "embedding_size", where, 128)
    projects = embedded != hidden or sizes.pop("project", False)
    if head == "embedding":  # until `embed` says how it pools
        num_labels = Embedding().dimensions(hidden)
    return BertConfig(
        model_type=encoder.name,
        vocab_size=read_size(data, "vocab_size", where),
        hidden_size=hidden,
        max_positions=positions - first,
        type_vocab_size=read_size(data, "type_vocab_size", where, types) if types else 0,
        norm_eps=encoder.norm_eps or read_fraction(data, "layer_norm_eps", where, 1e-12),
        hidden_dropout=read_fraction(data, named["hidden_dropout"], where, 0.1),
        attention_dropout=read_fraction(data, named["attention_dropout"], where, 0.1),
        head=head,
        num_labels=HEADS[head].outputs(num_labels),
        head_dropout=_head_dropout(data, encoder, head, where),
        activation=activation,
        embedding_size=embedded if projects else None,
        pad_token_id=None if padding == encoder.pad_token_id else padding,
        initializer_range=read_fraction(data, "initializer_range", where, 0.02),
        **sizes,
    )


def _head_dropout(data: Json, encoder: Encoder, head: str, where: str) -> float | None:
    """The rate before that head, where the file has one of its own that is not the default."""
    name, default = encoder.head_dropout.get(head, ("", None))
    if data.get(name) is None or name == encoder.fields["hidden_dropout"]:
        return None
    rate = read_fraction(data, name, where, 0.0)
    return None if rate == default else rate


def _plain(data: Json, encoder: Encoder, layers: int, hidden: int, where: str) -> dict[str, Any]:
    """The sizes in a file of transformers: all layers alike, less the heads of `pruned_heads`."""
    named = encoder.fields
    count = read_size(data, named["heads"], where)
    if hidden % count:
        raise UserError(
            f"{where}: {named['heads']} is {count}: expected a divisor of "
            f"{named['hidden_size']} {hidden}; correct the file"
        )
    heads = [count] * layers
    intermediate = (read_size(data, named["intermediate"], where),) * layers
    pruned = data.get("pruned_heads") or {}
    for layer, gone in pruned.items() if isinstance(pruned, Mapping) else ():
        known = str(layer).isdecimal() and int(layer) < layers and isinstance(gone, list)
        if not (known and len({x for x in gone if is_size(x, 0) and x < count}) == len(gone)):
            raise UserError(
                f"{where}: pruned_heads has {str({layer: gone})[:80]}: expected heads below "
                f"{count} of layers below {layers}, each once; correct the file"
            )
        heads[int(layer)] -= len(gone)
    sizes: dict[str, Any] = {
        "heads": tuple(heads),
        "head_dim": hidden // count,
        "intermediate": intermediate,
    }
    if min(heads) < count:
        sizes["dense_sizes"] = ((count,) * layers, intermediate, hidden)
    return sizes


def _shrunken(found: Any, layers: int, hidden: int, where: str) -> dict[str, Any]:
    """The fields of a config whose layers differ, from the key `bpjax` of either format."""
    if not isinstance(found, Mapping):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY} is {found!r}: expected heads, intermediate and head_dim; "
            "save the model again"
        )
    head_dim = read_size(found, "head_dim", where)
    if "format" not in found:
        return _version_1(found, layers, hidden, head_dim, where)
    names = tuple(f"layer_{i}/{part}" for part in ("attention", "ffn") for i in range(layers))

    def sizes(key: str, streams: int | None) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        read = saved_sizes.from_json(found.get(key), names, ("hidden",), f"{where}: {key}")
        if streams not in (None, read.streams["hidden"]):
            raise UserError(
                f"{where}: {SHRUNKEN_KEY}.{key} has {read.streams['hidden']} hidden dimensions: "
                f"expected {streams} as the file says elsewhere; save the model again"
            )
        counts = tuple(int(read.units[name]) for name in names)  # type: ignore[arg-type]
        return counts[:layers], counts[layers:], read.streams["hidden"]

    changes = found.get("changes", {})
    fields: dict[str, Any] = {"head_dim": head_dim}
    fields["heads"], fields["intermediate"], _ = sizes("sizes", hidden)
    if "dense_sizes" in found:
        fields["dense_sizes"] = sizes("dense_sizes", None)
    if "pooler_size" in changes:
        fields["pooler_size"] = read_size(changes, "pooler_size", where)
    if "project" in changes:
        fields["project"] = True
    return fields | {"norm": changes.get("norm", NORMS[0])}


def _version_1(
    found: Mapping[str, Any], layers: int, hidden: int, head_dim: int, where: str
) -> dict[str, Any]:
    """What bpjax 0.1 saved."""
    fields: dict[str, Any] = {
        "head_dim": head_dim,
        "heads": _sizes(found, "heads", layers, where),
        "intermediate": _sizes(found, "intermediate", layers, where),
        "norm": found.get("norm", NORMS[0]),
    }
    if "pooler_size" in found:
        fields["pooler_size"] = read_size(found, "pooler_size", where)
    if before := found.get("original"):
        fields["dense_sizes"] = (
            _sizes(before, "heads", layers, where),
            _sizes(before, "intermediate", layers, where),
            read_size(before, "hidden_size", where, hidden),
        )
    return fields


def _is_dense(config: BertConfig) -> bool:
    plain = config.norm == NORMS[0] and config.pooled in (0, config.hidden_size)
    plain &= config.quantization is None
    # transformers projects embeddings where they have another size.
    plain &= config.embedding_size != config.hidden_size
    alike = len(set(config.heads)) == 1 and len(set(config.intermediate)) == 1
    if not (plain and alike):
        return False
    return config.heads[0] * config.head_dim == config.hidden_size and config.intermediate[0] > 0


def _sizes(data: Json, key: str, layers: int, where: str) -> tuple[int, ...]:
    values = data.get(key)
    if (
        not isinstance(values, list)
        or len(values) != layers
        or not all(is_size(value, 0) for value in values)
    ):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY}.{key} is {values!r}: expected {layers} whole numbers, one a "
            "layer; save the model again"
        )
    return tuple(values)
