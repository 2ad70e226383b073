"""Where a BERT keeps its units, and its config at other sizes."""

from bpjax.errors import UserError
from bpjax.models.bert.config import BertConfig
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.pruning import structure
from bpjax.pruning.structure import Kernel, Sizes, Stream, Structure, Sublayer


def describe(config: BertConfig) -> Structure:
    """Its heads and FFN dimensions, all on one residual stream, "hidden"."""
    sublayers: list[Sublayer] = []
    for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
        sublayers.append(_attention(f"layer_{i}", heads, config))
        sublayers.append(_ffn(f"layer_{i}", size, config))
    tables = ("word", "position", *["token_type"] * bool(config.type_vocab_size))
    by_token = config.head != "none" and HEADS[config.head].per_token
    reader = "head" if by_token else "pooler"
    has_reader = config.head not in ("none", "embedding") or (
        config.head == "none" and ENCODERS[config.model_type].base_pooler and config.pooled
    )
    projected = config.embedding_size is not None
    hidden = Stream(
        size=config.hidden_size,
        tables=() if projected else tuple(("embeddings", table) for table in tables),
        norms=(
            *([] if projected else [("embeddings", "norm")]),
            *((*each.write.path[:-1], "norm") for each in sublayers),
        ),
        readers=((reader,),) if has_reader else (),
        writers=(("embeddings", "project"),) if projected else (),
    )
    return Structure(tuple(sublayers), {"hidden": hidden})


def _attention(layer: str, heads: int, config: BertConfig) -> Sublayer:
    query, key, value, output = (
        Kernel(role, (layer, "attention", role), config.head_dim)
        for role in ("query", "key", "value", "output")
    )
    return Sublayer(
        name=f"{layer}/attention",
        kind="attention",
        units=heads,
        reads=(query, key, value),
        write=output,
        silence=structure.VALUE,
        mixes=2 * config.head_dim,
    )


def _ffn(layer: str, size: int, config: BertConfig) -> Sublayer:
    return Sublayer(
        name=f"{layer}/ffn",
        kind="ffn",
        units=size,
        reads=(Kernel("in", (layer, "ffn", "in")),),
        write=Kernel("out", (layer, "ffn", "out")),
        silence=structure.inner(ACTIVATIONS[config.activation]),
    )


def resize(config: BertConfig, sizes: Sizes) -> BertConfig:
    """A model of other sizes, which remembers those it had before the first removal."""
    units, hidden = sizes.units, sizes.streams["hidden"]
    return config.replace(
        heads=tuple(units[f"layer_{i}/attention"] for i in range(config.num_layers)),
        intermediate=tuple(units[f"layer_{i}/ffn"] for i in range(config.num_layers)),
        hidden_size=hidden,
        pooler_size=None if config.pooled == hidden else config.pooled,
        dense_sizes=config.dense_sizes or (config.heads, config.intermediate, config.hidden_size),
    )


def embed(config: BertConfig, embedding: Embedding) -> BertConfig:
    """The same encoder, whose head gives such embeddings."""
    return config.replace(head="embedding", embedding=embedding)


def dense(config: BertConfig) -> BertConfig | None:
    """The config before anything was removed; None where that is not known."""
    if config.dense_sizes is None:
        return None
    heads, intermediate, hidden = config.dense_sizes
    return config.replace(
        heads=heads, intermediate=intermediate, hidden_size=hidden, dense_sizes=None
    )


def pad(config: BertConfig) -> BertConfig:
    """The config of a plain BERT that the model fits in, with all layers alike.

    Raises:
      UserError: transformers has no such BERT.
    """
    for holds, what in (
        (config.norm == "layer", f"{config.norm} norms, expected layer norms"),
        (
            config.pooled in (0, config.hidden_size) and config.hidden_size % config.head_dim == 0,
            f"{config.hidden_size} hidden dimensions, expected as many as before pruning",
        ),
    ):
        if not holds:
            raise UserError(
                f"format hf-padded: the model has {what}, the only ones that transformers has; "
                "take --to=hf"
            )
    heads, layers = config.hidden_size // config.head_dim, config.num_layers
    _, before, _ = config.dense_sizes or ((), (), 0)
    size = max((*config.intermediate, *before, 1))
    return config.replace(heads=(heads,) * layers, intermediate=(size,) * layers, dense_sizes=None)
