"""Translates between Hugging Face's BERT and ours: tensors' names, the keys of config.json."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.models.config import BertConfig

Json = Mapping[str, Any]

# The class of transformers that carries each of our heads.
ARCHITECTURES = {
    "none": "BertModel",
    "span": "BertForQuestionAnswering",
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
}
# Sizes of a shrunken model live under this key of config.json; see `config_to_json`.
SHRUNKEN_KEY = "bpjax"


class Tensor(NamedTuple):
    """One tensor of a checkpoint.

    Attributes:
      name: its Hugging Face name, without the prefix `bert.`.
      shape: its shape in our parameters; kernels are `[in, out]`, stored transposed.
    """

    name: str
    shape: tuple[int, ...]


def tensor_table(config: BertConfig) -> dict[str, Tensor]:
    """Lists every parameter of a model: our path, such as `layer_0/ffn/in/kernel`, to its tensor.

    A layer without heads keeps of its attention only the output's bias and the norm; a layer
    without feed-forward dimensions likewise (METHODS section 2).
    """
    hidden = config.hidden_size
    table: dict[str, Tensor] = {}

    def norm(path: str, name: str) -> None:
        table[f"{path}/scale"] = Tensor(f"{name}.weight", (hidden,))
        table[f"{path}/bias"] = Tensor(f"{name}.bias", (hidden,))

    def linear(path: str, name: str, inputs: int, outputs: int) -> None:
        if inputs:  # nothing feeds the output layer of a removed sublayer: its bias is left
            table[f"{path}/kernel"] = Tensor(f"{name}.weight", (inputs, outputs))
        table[f"{path}/bias"] = Tensor(f"{name}.bias", (outputs,))

    for part, rows in (
        ("word", config.vocab_size),
        ("position", config.max_positions),
        ("token_type", config.type_vocab_size),
    ):
        table[f"embeddings/{part}/embedding"] = Tensor(
            f"embeddings.{part}_embeddings.weight", (rows, hidden)
        )
    norm("embeddings/norm", "embeddings.LayerNorm")

    for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
        ours, theirs = f"layer_{i}", f"encoder.layer.{i}"
        width = heads * config.head_dim
        if width:
            for part in ("query", "key", "value"):
                linear(f"{ours}/attention/{part}", f"{theirs}.attention.self.{part}", hidden, width)
        linear(f"{ours}/attention/output", f"{theirs}.attention.output.dense", width, hidden)
        norm(f"{ours}/attention/norm", f"{theirs}.attention.output.LayerNorm")
        if size:
            linear(f"{ours}/ffn/in", f"{theirs}.intermediate.dense", hidden, size)
        linear(f"{ours}/ffn/out", f"{theirs}.output.dense", size, hidden)
        norm(f"{ours}/ffn/norm", f"{theirs}.output.LayerNorm")

    if config.head != "span":
        linear("pooler", "pooler.dense", hidden, hidden)
    if config.head != "none":
        name = "qa_outputs" if config.head == "span" else "classifier"
        linear("head", name, hidden, config.num_labels)
    return table


def canonical_name(name: str) -> str:
    """A checkpoint's name without the prefix `bert.` and with TensorFlow's gamma, beta renamed."""
    name = name.removeprefix("bert.")
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def config_to_json(config: BertConfig) -> dict[str, Any]:
    """What config.json says about a model.

    A dense model (alike layers, all heads there) gets plain Hugging Face fields, and transformers
    loads it. A shrunken model has the key `bpjax` with the sizes by layer. Its
    `num_attention_heads` and `intermediate_size` are then 0, because there is no one such number:
    transformers still reads the tokenizer beside it, but refuses to build the model, where any
    plausible number would let it fill removed layers with random weights.
    """
    data: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.head]],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": 0,
        "intermediate_size": 0,
        "hidden_act": "gelu",
        "max_position_embeddings": config.max_positions,
        "position_embedding_type": "absolute",
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.hidden_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "initializer_range": 0.02,
        "pad_token_id": 0,
        "dtype": "float32",
    }
    if config.head in ("classification", "regression"):
        labels = [f"LABEL_{i}" for i in range(config.num_labels)]
        data["id2label"] = {str(i): label for i, label in enumerate(labels)}
        data["label2id"] = {label: i for i, label in enumerate(labels)}
        regression = config.head == "regression"
        data["problem_type"] = "regression" if regression else "single_label_classification"

    if _is_dense(config):
        data["num_attention_heads"] = config.heads[0]
        data["intermediate_size"] = config.intermediate[0]
    else:
        data["architectures"] = [f"Bpjax{ARCHITECTURES[config.head]}"]
        data[SHRUNKEN_KEY] = {
            "heads": list(config.heads),
            "intermediate": list(config.intermediate),
            "head_dim": config.head_dim,
        }
        if config.original:
            sizes = zip(("heads", "intermediate"), config.original, strict=True)
            data[SHRUNKEN_KEY]["original"] = {name: list(value) for name, value in sizes}
    return data


def config_from_json(
    data: Json, *, head: str, num_labels: int, dtype: str, where: str
) -> BertConfig:
    """Reads a model's sizes from the contents of a config.json.

    Args:
      data: the decoded file.
      head: the task head to give the model, or "saved": the one that the file names.
      num_labels: outputs of a classification head, unless `head` is "saved".
      dtype: compute type.
      where: the file's name, for messages.

    Raises:
      UserError: not a BERT, or one that computes something else than ours; a size that is missing
        or no whole number.
    """
    for key, expected in (
        ("model_type", "bert"),
        ("hidden_act", "gelu"),
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
    ):
        # Files older than a key mean its default; only the model type has none.
        found = data.get(key, None if key == "model_type" else expected)
        if found != expected:
            raise UserError(
                f"{where}: {key} is {found!r}: expected {expected!r}; choose a BERT encoder"
            )

    hidden = _size(data, "hidden_size", where)
    layers = _size(data, "num_hidden_layers", where)
    original = None
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
        if before := sizes.get("original"):
            original = (
                _sizes(before, "heads", layers, where),
                _sizes(before, "intermediate", layers, where),
            )
    else:
        count = _size(data, "num_attention_heads", where)
        if hidden % count:
            raise UserError(
                f"{where}: num_attention_heads is {count}: expected a divisor of hidden_size "
                f"{hidden}; correct the file"
            )
        heads, head_dim = (count,) * layers, hidden // count
        intermediate = (_size(data, "intermediate_size", where),) * layers

    if head == "saved":
        head, num_labels = _saved_head(data, where)
    return BertConfig(
        vocab_size=_size(data, "vocab_size", where),
        hidden_size=hidden,
        head_dim=head_dim,
        heads=heads,
        intermediate=intermediate,
        max_positions=_size(data, "max_position_embeddings", where, default=512),
        type_vocab_size=_size(data, "type_vocab_size", where, default=2),
        norm_eps=_fraction(data, "layer_norm_eps", 1e-12, where),
        hidden_dropout=_fraction(data, "hidden_dropout_prob", 0.1, where),
        attention_dropout=_fraction(data, "attention_probs_dropout_prob", 0.1, where),
        dtype=dtype,
        head=head,
        num_labels={"span": 2, "regression": 1}.get(head, num_labels),
        original=original,
    )


def _saved_head(data: Json, where: str) -> tuple[str, int]:
    """The head that a config.json names, and its number of labels."""
    named = str((data.get("architectures") or [""])[0]).removeprefix("Bpjax")
    names = data.get("id2label")
    labels = len(names) if names else _size(data, "num_labels", where, default=2)
    if named == ARCHITECTURES["span"]:
        return "span", 2
    if named == ARCHITECTURES["classification"]:
        # transformers, too, takes a single label without a problem type for regression.
        regression = data.get("problem_type") == "regression" or labels == 1
        return ("regression", 1) if regression else ("classification", labels)
    return "none", 2


def _is_dense(config: BertConfig) -> bool:
    alike = len(set(config.heads)) == 1 and len(set(config.intermediate)) == 1
    complete = alike and config.heads[0] * config.head_dim == config.hidden_size
    return complete and config.intermediate[0] > 0


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
