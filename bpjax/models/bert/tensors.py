"""Names of a BERT's tensors in checkpoints."""

import re
from collections.abc import Sequence

from bpjax.models.architecture import Stored
from bpjax.models.bert.config import BertConfig
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.heads import HEADS


def tensors(config: BertConfig) -> dict[str, Stored]:
    """Every parameter, by a path such as `layer_0/ffn/in/kernel`: where it lies in a checkpoint.

    A layer without heads keeps of its attention only the output's bias and the norm; a layer
    without feed-forward dimensions likewise (METHODS section 2). The encoder's tensors bear its
    prefix, such as `bert.`, in a model with a task head; they are found with and without.
    """
    encoder, hidden = ENCODERS[config.model_type], config.hidden_size
    prefix = "" if config.head in ("none", "embedding") else encoder.prefix
    table: dict[str, Stored] = {}

    def add(
        path: str, name: str, shape: tuple[int, ...], *, inside: bool = True, fresh: str = "never"
    ) -> None:
        full = prefix + name if inside else name
        turn = "transpose" if path.endswith("/kernel") else "keep"
        table[path] = Stored(full, shape, turn, _also(full, name, encoder.prefix), fresh)

    def norm(path: str, name: str, size: int = hidden) -> None:
        add(f"{path}/scale", f"{name}.weight", (size,))
        add(f"{path}/bias", f"{name}.bias", (size,))

    def linear(
        path: str,
        name: str,
        inputs: int,
        outputs: int,
        *,
        inside: bool = True,
        fresh: str = "never",
    ) -> None:
        if inputs:  # nothing feeds the output layer of a removed sublayer: its bias is left
            add(f"{path}/kernel", f"{name}.weight", (inputs, outputs), inside=inside, fresh=fresh)
        add(f"{path}/bias", f"{name}.bias", (outputs,), inside=inside, fresh=fresh)

    for part, rows in (
        ("word", config.vocab_size),
        ("position", config.max_positions + config.first_position),
        ("token_type", config.type_vocab_size),
    ):
        if rows:
            name = f"embeddings.{part}_embeddings.weight"
            add(f"embeddings/{part}/embedding", name, (rows, config.embedded))
    norm("embeddings/norm", "embeddings.LayerNorm", config.embedded)
    if config.embedding_size is not None:
        linear("embeddings/project", "embeddings_project", config.embedded, hidden)

    for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
        width = heads * config.head_dim
        names = {
            part: (f"layer_{i}/{part}", f"{encoder.layer.format(i)}.{name}")
            for part, name in encoder.layer_names.items()
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
        if encoder.base_pooler and config.pooled:
            linear("pooler", encoder.base_pooler, hidden, config.pooled, fresh="missing")
    elif config.head == "embedding":
        pass  # it has no parameters
    elif HEADS[config.head].per_token:
        name = "qa_outputs" if config.head == "span" else "classifier"
        linear("head", name, hidden, config.num_labels, inside=False, fresh="any")
    else:
        inside = encoder.pooler == encoder.base_pooler
        linear("pooler", encoder.pooler, hidden, config.pooled, inside=inside, fresh="missing")
        classifier, outputs = encoder.classifier, config.num_labels
        linear("head", classifier, config.pooled, outputs, inside=False, fresh="any")
    return table


def owned(config: BertConfig) -> tuple[str, ...]:
    """Beginnings of names of the encoder's tensors, with its prefix and without."""
    encoder = ENCODERS[config.model_type]
    inner = ("embeddings", encoder.layer.partition("{}")[0], "pooler.")
    return (encoder.prefix, *inner)


def unread(config: BertConfig) -> tuple[str, ...]:
    """Ends of names of tensors that change nothing: constants, and a pooler that no head reads."""
    constants = ("embeddings.position_ids", "embeddings.token_type_ids")
    encoder = ENCODERS[config.model_type]
    by_row = config.head not in ("none", "embedding") and not HEADS[config.head].per_token
    reads = config.head == "none" or (by_row and encoder.pooler == encoder.base_pooler)
    if encoder.base_pooler is None or reads:
        return constants
    return (*constants, f"{encoder.base_pooler}.weight", f"{encoder.base_pooler}.bias")


def complete(config: BertConfig, names: Sequence[str]) -> BertConfig:
    """Takes the pooler from a model without a head whose checkpoint has none."""
    pooler = ENCODERS[config.model_type].base_pooler
    if config.head != "none" or pooler is None:
        return config
    there = any(name.endswith(f"{pooler}.weight") for name in names)
    return config if there else config.replace(pooler_size=0)


def _also(full: str, name: str, prefix: str) -> tuple[str, ...]:
    """Other names of a tensor: with or without the prefix, and TensorFlow's gamma and beta."""
    names = (name, prefix + name)
    old = (re.sub(r"\.weight$", ".gamma", re.sub(r"\.bias$", ".beta", each)) for each in names)
    return tuple(each for each in dict.fromkeys((*names, *old)) if each != full)
