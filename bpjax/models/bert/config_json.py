"""config.json of BERT and its family, in and out."""

from collections.abc import Mapping
from typing import Any

from bpjax.errors import UserError
from bpjax.models import sizes as saved_sizes
from bpjax.models.architecture import Json
from bpjax.models.bert.config import NORMS, BertConfig
from bpjax.models.bert.describe import dense, describe
from bpjax.models.bert.encoders import DISTILBERT, ENCODERS, Encoder
from bpjax.models.heads import HEADS
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.sizes import SHRUNKEN_KEY, is_size
from bpjax.pruning.structure import sizes_of


def write(config: BertConfig) -> dict[str, Any]:
    """What config.json says about a model.

    A dense model (alike layers, all heads there, layer norms) gets plain Hugging Face fields, and
    transformers loads it. A shrunken model has the key `bpjax` with its sizes by sublayer, those
    before the removal, and what else is not as in transformers. Its number of heads and its
    intermediate size are then 0, because there is no one such number: transformers still reads the
    tokenizer beside it, but refuses to build the model, where any plausible number would let it
    fill removed layers with random weights.
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
        "max_position_embeddings": config.max_positions + encoder.position_offset,
        "position_embedding_type": "absolute",
        named["hidden_dropout"]: config.hidden_dropout,
        named["attention_dropout"]: config.attention_dropout,
        "initializer_range": 0.02,
        "pad_token_id": encoder.pad_token_id,
        "dtype": "float32",
    }
    if encoder is not DISTILBERT:  # whose files have no such fields
        data |= {"type_vocab_size": config.type_vocab_size, "layer_norm_eps": config.norm_eps}
    if config.head not in ("none", "span"):
        labels = [f"LABEL_{i}" for i in range(config.num_labels)]
        data["id2label"] = {str(i): label for i, label in enumerate(labels)}
        data["label2id"] = {label: i for i, label in enumerate(labels)}
    if config.head in ("classification", "regression"):
        regression = config.head == "regression"
        data["problem_type"] = "regression" if regression else "single_label_classification"

    if _is_dense(config):
        data[named["heads"]] = config.heads[0]
        data[named["intermediate"]] = config.intermediate[0]
    else:
        data["architectures"] = [f"Bpjax{architecture}"]
        changes: dict[str, Any] = {}
        if config.norm != NORMS[0]:
            changes["norm"] = config.norm
        if config.pooled != config.hidden_size:
            changes["pooler_size"] = config.pooled
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
      head: the task head to give the model, or "saved": the one that the file names.
      num_labels: labels that the head is to tell apart, unless `head` is "saved".
      where: the file's name, for messages.

    Raises:
      UserError: it computes something else than ours; a size that is missing or no whole number.
    """
    encoder = ENCODERS[str(data["model_type"])]
    named = encoder.fields
    for key, expected in (
        (named["activation"], tuple(ACTIVATIONS)),
        ("position_embedding_type", ("absolute",)),
        ("is_decoder", (False,)),
    ):
        # Files older than a key mean its default.
        found = data.get(key, expected[0])
        if found not in expected:
            raise UserError(
                f"{where}: {key} is {found!r}: expected {' or '.join(map(repr, expected))}; "
                "choose another encoder"
            )

    hidden = _size(data, named["hidden_size"], where)
    layers = _size(data, named["layers"], where)
    if SHRUNKEN_KEY in data:
        sizes = _shrunken(data[SHRUNKEN_KEY], layers, hidden, where)
    else:
        count = _size(data, named["heads"], where)
        if hidden % count:
            raise UserError(
                f"{where}: {named['heads']} is {count}: expected a divisor of "
                f"{named['hidden_size']} {hidden}; correct the file"
            )
        sizes = {
            "heads": (count,) * layers,
            "head_dim": hidden // count,
            "intermediate": (_size(data, named["intermediate"], where),) * layers,
        }

    if head == "saved":
        head, num_labels = _saved_head(data, encoder, where)
    positions = _size(data, "max_position_embeddings", where, 512 + encoder.position_offset)
    types = encoder.token_types
    return BertConfig(
        model_type=encoder.name,
        vocab_size=_size(data, "vocab_size", where),
        hidden_size=hidden,
        max_positions=positions - encoder.position_offset,
        type_vocab_size=_size(data, "type_vocab_size", where, types) if types else 0,
        norm_eps=_fraction(data, "layer_norm_eps", 1e-12, where),
        hidden_dropout=_fraction(data, named["hidden_dropout"], 0.1, where),
        attention_dropout=_fraction(data, named["attention_dropout"], 0.1, where),
        head=head,
        num_labels=HEADS[head].outputs(num_labels),
        activation=data.get(named["activation"], next(iter(ACTIVATIONS))),
        **sizes,
    )


def _shrunken(found: Any, layers: int, hidden: int, where: str) -> dict[str, Any]:
    """The fields of a config whose layers differ, from the key `bpjax` of either format."""
    if not isinstance(found, Mapping):
        raise UserError(
            f"{where}: {SHRUNKEN_KEY} is {found!r}: expected heads, intermediate and head_dim; "
            "save the model again"
        )
    head_dim = _size(found, "head_dim", where)
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
        fields["pooler_size"] = _size(changes, "pooler_size", where)
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
        fields["pooler_size"] = _size(found, "pooler_size", where)
    if before := found.get("original"):
        fields["dense_sizes"] = (
            _sizes(before, "heads", layers, where),
            _sizes(before, "intermediate", layers, where),
            _size(before, "hidden_size", where, hidden),
        )
    return fields


def _saved_head(data: Json, encoder: Encoder, where: str) -> tuple[str, int]:
    """The head that a config.json names, and its number of labels."""
    named = str((data.get("architectures") or [""])[0]).removeprefix("Bpjax")
    names = data.get("id2label")
    labels = len(names) if names else _size(data, "num_labels", where, default=2)
    if named == encoder.classes["span"]:
        return "span", 2
    if named == encoder.classes["tokens"]:
        return "tokens", labels
    if named == encoder.classes["classification"]:
        # transformers, too, takes a single label without a problem type for regression.
        regression = data.get("problem_type") == "regression" or labels == 1
        return ("regression", 1) if regression else ("classification", labels)
    return "none", 2


def _is_dense(config: BertConfig) -> bool:
    plain = config.norm == NORMS[0] and config.pooled == config.hidden_size
    alike = len(set(config.heads)) == 1 and len(set(config.intermediate)) == 1
    if not (plain and alike):
        return False
    return config.heads[0] * config.head_dim == config.hidden_size and config.intermediate[0] > 0


def _size(data: Json, key: str, where: str, default: int | None = None) -> int:
    value = data.get(key, default)
    if not is_size(value, 1):
        found = repr(value) if key in data else "missing"
        raise UserError(
            f"{where}: {key} is {found}: expected a whole number above 0; correct the file"
        )
    return int(value)


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


def _fraction(data: Json, key: str, default: float, where: str) -> float:
    value = data.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise UserError(f"{where}: {key} is {value!r}: expected a number in [0, 1); correct it")
    return float(value)
