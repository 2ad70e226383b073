"""Translates between Hugging Face's encoders and ours: tensors' names, config.json's keys."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.models.config import ACTIVATIONS, NORMS, BertConfig
from bpjax.models.families import DISTILBERT, FAMILIES, Family
from bpjax.models.heads import HEADS

Json = Mapping[str, Any]

# Sizes of a shrunken model live under this key of config.json; see `config_to_json`.
SHRUNKEN_KEY = "bpjax"


class Tensor(NamedTuple):
    """One tensor of a checkpoint.

    Attributes:
      name: its Hugging Face name, without the encoder's prefix such as `bert.`.
      shape: its shape in our parameters; kernels are `[in, out]`, stored transposed.
      prefixed: it is the encoder's, whose tensors bear the prefix in a model with a task head.
    """

    name: str
    shape: tuple[int, ...]
    prefixed: bool = True


def tensor_table(config: BertConfig) -> dict[str, Tensor]:
    """Lists every parameter of a model: our path, such as `layer_0/ffn/in/kernel`, to its tensor.

    A layer without heads keeps of its attention only the output's bias and the norm; a layer
    without feed-forward dimensions likewise (METHODS section 2).
    """
    family, hidden = FAMILIES[config.family], config.hidden_size
    table: dict[str, Tensor] = {}

    def norm(path: str, name: str) -> None:
        table[f"{path}/scale"] = Tensor(f"{name}.weight", (hidden,))
        table[f"{path}/bias"] = Tensor(f"{name}.bias", (hidden,))

    def linear(path: str, name: str, inputs: int, outputs: int, prefixed: bool = True) -> None:
        if inputs:  # nothing feeds the output layer of a removed sublayer: its bias is left
            table[f"{path}/kernel"] = Tensor(f"{name}.weight", (inputs, outputs), prefixed)
        table[f"{path}/bias"] = Tensor(f"{name}.bias", (outputs,), prefixed)

    for part, rows in (
        ("word", config.vocab_size),
        ("position", config.max_positions + family.position_offset),
        ("token_type", config.type_vocab_size),
    ):
        if rows:
            table[f"embeddings/{part}/embedding"] = Tensor(
                f"embeddings.{part}_embeddings.weight", (rows, hidden)
            )
    norm("embeddings/norm", "embeddings.LayerNorm")

    for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
        width = heads * config.head_dim
        names = {
            part: (f"layer_{i}/{part}", f"{family.layer.format(i)}.{name}")
            for part, name in family.layer_names.items()
        }
        if width:
            for part in ("query", "key", "value"):
                linear(*names[f"attention/{part}"], hidden, width)
        linear(*names["attention/output"], width, hidden)
        norm(*names["attention/norm"])
        if size:
            linear(*names["ffn/in"], hidden, size)
        linear(*names["ffn/out"], size, hidden)
        norm(*names["ffn/norm"])

    if config.head == "none":
        if family.base_pooler:
            linear("pooler", family.base_pooler, hidden, config.pooled)
    elif HEADS[config.head].per_token:
        name = "qa_outputs" if config.head == "span" else "classifier"
        linear("head", name, hidden, config.num_labels, False)
    else:
        inside = family.pooler == family.base_pooler
        linear("pooler", family.pooler, hidden, config.pooled, inside)
        linear("head", family.classifier, config.pooled, config.num_labels, False)
    return table


def canonical_name(name: str) -> str:
    """A checkpoint's name without the encoder's prefix, TensorFlow's gamma and beta renamed."""
    for family in FAMILIES.values():
        name = name.removeprefix(family.prefix)
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def config_to_json(config: BertConfig) -> dict[str, Any]:
    """What config.json says about a model.

    A dense model (alike layers, all heads there, layer norms) gets plain Hugging Face fields, and
    transformers loads it. A shrunken model has the key `bpjax` with the sizes by layer and the kind
    of its norms. Its number of heads and its intermediate size are then 0, because there is no one
    such number: transformers still reads the tokenizer beside it, but refuses to build the model,
    where any plausible number would let it fill removed layers with random weights.
    """
    family = FAMILIES[config.family]
    named, architecture = family.fields, family.classes[config.head]
    data: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": family.name,
        "vocab_size": config.vocab_size,
        named["hidden_size"]: config.hidden_size,
        named["layers"]: config.num_layers,
        named["heads"]: 0,
        named["intermediate"]: 0,
        named["activation"]: config.activation,
        "max_position_embeddings": config.max_positions + family.position_offset,
        "position_embedding_type": "absolute",
        named["hidden_dropout"]: config.hidden_dropout,
        named["attention_dropout"]: config.attention_dropout,
        "initializer_range": 0.02,
        "pad_token_id": family.pad_token_id,
        "dtype": "float32",
    }
    if family is not DISTILBERT:  # whose files have no such fields
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
        data[SHRUNKEN_KEY] = {
            "heads": list(config.heads),
            "intermediate": list(config.intermediate),
            "head_dim": config.head_dim,
        }
        if config.norm != NORMS[0]:
            data[SHRUNKEN_KEY]["norm"] = config.norm
        if config.pooled != config.hidden_size:
            data[SHRUNKEN_KEY]["pooler_size"] = config.pooled
        if config.original:
            heads, intermediate, hidden_size = config.original
            data[SHRUNKEN_KEY]["original"] = {
                "heads": list(heads),
                "intermediate": list(intermediate),
                "hidden_size": hidden_size,
            }
    return data


def config_from_json(
    data: Json, *, head: str, num_labels: int, dtype: str, where: str
) -> BertConfig:
    """Reads a model's sizes from the contents of a config.json.

    Args:
      data: the decoded file.
      head: the task head to give the model, or "saved": the one that the file names.
      num_labels: labels that the head is to tell apart, unless `head` is "saved".
      dtype: compute type.
      where: the file's name, for messages.

    Raises:
      UserError: none of `FAMILIES`, or one that computes something else than ours; a size that is
        missing or no whole number.
    """
    family = FAMILIES.get(str(data.get("model_type")))
    if family is None:
        raise UserError(
            f"{where}: model_type is {data.get('model_type')!r}: expected one of "
            f"{', '.join(FAMILIES)}; choose such an encoder"
        )
    named = family.fields
    for key, expected in (
        (named["activation"], ACTIVATIONS),
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
    original, norm, pooler_size = None, NORMS[0], None
    if SHRUNKEN_KEY in data:
        sizes = data[SHRUNKEN_KEY]
        if not isinstance(sizes, Mapping):
            raise UserError(
                f"{where}: {SHRUNKEN_KEY} is {sizes!r}: expected heads, intermediate and head_dim; "
                "save the model again"
            )
        heads = _sizes(sizes, "heads", layers, where)
        intermediate = _sizes(sizes, "intermediate", layers, where)
        head_dim = _size(sizes, "head_dim", where)
        norm = sizes.get("norm", norm)
        if "pooler_size" in sizes:
            pooler_size = _size(sizes, "pooler_size", where)
        if before := sizes.get("original"):
            original = (
                _sizes(before, "heads", layers, where),
                _sizes(before, "intermediate", layers, where),
                _size(before, "hidden_size", where, hidden),
            )
    else:
        count = _size(data, named["heads"], where)
        if hidden % count:
            raise UserError(
                f"{where}: {named['heads']} is {count}: expected a divisor of "
                f"{named['hidden_size']} {hidden}; correct the file"
            )
        heads, head_dim = (count,) * layers, hidden // count
        intermediate = (_size(data, named["intermediate"], where),) * layers

    if head == "saved":
        head, num_labels = _saved_head(data, family, where)
    positions = _size(data, "max_position_embeddings", where, 512 + family.position_offset)
    types = family.token_types
    return BertConfig(
        family=family.name,
        vocab_size=_size(data, "vocab_size", where),
        hidden_size=hidden,
        head_dim=head_dim,
        heads=heads,
        intermediate=intermediate,
        max_positions=positions - family.position_offset,
        type_vocab_size=_size(data, "type_vocab_size", where, types) if types else 0,
        norm_eps=_fraction(data, "layer_norm_eps", 1e-12, where),
        hidden_dropout=_fraction(data, named["hidden_dropout"], 0.1, where),
        attention_dropout=_fraction(data, named["attention_dropout"], 0.1, where),
        dtype=dtype,
        head=head,
        num_labels=HEADS[head].outputs(num_labels),
        activation=data.get(named["activation"], ACTIVATIONS[0]),
        norm=norm,
        pooler_size=pooler_size,
        original=original,
    )


def _saved_head(data: Json, family: Family, where: str) -> tuple[str, int]:
    """The head that a config.json names, and its number of labels."""
    named = str((data.get("architectures") or [""])[0]).removeprefix("Bpjax")
    names = data.get("id2label")
    labels = len(names) if names else _size(data, "num_labels", where, default=2)
    if named == family.classes["span"]:
        return "span", 2
    if named == family.classes["tokens"]:
        return "tokens", labels
    if named == family.classes["classification"]:
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


def _is_size(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _size(data: Json, key: str, where: str, default: int | None = None) -> int:
    value = data.get(key, default)
    if not _is_size(value, 1):
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
        or not all(_is_size(value, 0) for value in values)
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
