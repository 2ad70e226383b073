"""The model config: one class for dense, masked and shrunken models."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from bpjax.errors import UserError
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.embedding import Embedding
from bpjax.models.heads import HEADS
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.linear import DTYPES, ComputeTypes
from bpjax.models.layers.norm import NORMS
from bpjax.models.layers.quantization import Quantization


@dataclasses.dataclass(frozen=True)
class BertConfig(ComputeTypes):
    """Sizes of a BERT whose layers need not be alike.

    Attributes:
      heads: attention heads left, by layer; 0 leaves a layer only its attention output's bias.
      intermediate: feed-forward dimensions left, by layer; 0 leaves only the output's bias.
      head_dim: size of one attention head, the same everywhere (the paper does not prune it).
      dtype: compute type, "float32" or "bfloat16" ("float64" for proofs); parameters keep theirs.
        "bfloat16_products" computes the layers' matrix products with bfloat16 operands and the rest
        in float32: the faster of the two on a CPU that multiplies bfloat16.
      head: the task head, a key of `heads.HEADS` that the family has.
      num_labels: outputs of the head, see `Head.outputs`.
      labels: the names of what the outputs tell apart; () where they have none.
      problem_type: what config.json says of a classifier, see `labels.CLASSIFIERS`.
      embedding: how that head pools; `num_labels` is then the dimensions of an embedding.
      head_dropout: rate before the head; None is the encoder's default for that head.
      max_positions: tokens in a row at most.
      type_vocab_size: rows of token types; 0 has none.
      model_type: a key of `encoders.ENCODERS`.
      activation: of the feed-forward layers, "gelu" (exact, not its tanh approximation) or "relu".
      norm: "layer" normalises each token; "affine" scales and shifts it only, the same for all.
      pooler_size: outputs of the layer before a classifier; None is `hidden_size`, and 0 is of a
        model without a head that has no such layer.
      embedding_size: of an encoder that projects its embeddings to the hidden size; None does not.
      pad_token_id: of padding; None is the encoder's default. It says where positions start in the
        encoders that count tokens, and is written to config.json.
      initializer_range: standard deviation of new weights.
      dense_sizes: of a shrunken model, `heads`, `intermediate` and `hidden_size` before the
        removal, if known.
      remat: in training, keep each layer's input only and compute the layer again for the gradient.
      quantization: how kernels, tables and the inputs of products are rounded; None: not at all.

    Raises:
      UserError: sizes that do not agree, a rate outside [0, 1), an unknown head, activation,
        norm or dtype.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    head_dim: int = 64
    heads: tuple[int, ...] = (12,) * 12
    intermediate: tuple[int, ...] = (3072,) * 12
    max_positions: int = 512
    type_vocab_size: int = 2
    norm_eps: float | int = 1e-12
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    dtype: str = "float32"
    head: str = "none"
    num_labels: int = 2
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    embedding: Embedding = Embedding()
    head_dropout: float | int | None = None
    activation: str = "gelu"
    norm: str = "layer"
    pooler_size: int | None = None
    embedding_size: int | None = None
    pad_token_id: int | None = None
    initializer_range: float | int = 0.02
    dense_sizes: tuple[tuple[int, ...], tuple[int, ...], int] | None = None
    model_type: str = "bert"
    remat: bool = False
    quantization: Quantization | None = None

    def __post_init__(self):
        """Checks what would otherwise go wrong later, or in silence."""
        by_layer = (*self.heads, *self.intermediate)
        sizes = (
            self.vocab_size,
            self.hidden_size,
            self.head_dim,
            self.max_positions,
            self.pooled or self.head == "none",
            self.embedded,
        )
        heads = [name for name in HEADS if name in ENCODERS[self.model_type].classes]
        asked = max(1, self.num_labels)
        labels = HEADS[self.head].outputs(asked) if self.head in heads else asked
        if self.head == "embedding":
            labels = self.embedding.dimensions(self.hidden_size)
        rates = (self.hidden_dropout, self.attention_dropout, self.head_rate)
        for holds, found, expected in (
            (
                len(self.heads) == len(self.intermediate),
                f"heads of {len(self.heads)} layers, intermediate of {len(self.intermediate)}",
                "one entry a layer in both",
            ),
            (min(by_layer, default=0) >= 0, f"heads or intermediate {min(by_layer)}", "0 or more"),
            (min(sizes) > 0, f"a size of {min(sizes)}", "1 or more"),
            *(
                (getattr(self, field) in known, f"{field} {getattr(self, field)!r}", _one_of(known))
                for field, known in (
                    ("head", heads),
                    ("activation", ACTIVATIONS),
                    ("norm", NORMS),
                    ("dtype", DTYPES),
                )
            ),
            (self.num_labels == labels, f"{self.head} head, {self.num_labels} labels", f"{labels}"),
            (
                len(self.labels) in (0, self.num_labels),
                f"{len(self.labels)} names",
                f"one for each of {self.num_labels} labels",
            ),
            (min(rates) >= 0 and max(rates) < 1, f"dropouts {rates}", "rates in [0, 1)"),
        ):
            if not holds:
                raise UserError(f"model config: {found}: expected {expected}; correct the config")

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return len(self.heads)

    @property
    def pooled(self) -> int:
        """Outputs of the layer before a classifier."""
        return self.hidden_size if self.pooler_size is None else self.pooler_size

    @property
    def embedded(self) -> int:
        """Size of the embeddings."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def head_rate(self) -> float | int:
        """The rate of the dropout before the head."""
        known = ENCODERS[self.model_type].head_dropout if self.model_type in ENCODERS else {}
        if self.head not in known:
            return 0.0
        default = known[self.head][1]
        rates = (self.head_dropout, default, self.hidden_dropout)
        return next(rate for rate in rates if rate is not None)

    @property
    def padding(self) -> int:
        """The token of padding."""
        default = ENCODERS[self.model_type].pad_token_id
        return default if self.pad_token_id is None else self.pad_token_id

    @property
    def first_position(self) -> int:
        """The row of the position embeddings that the first token takes."""
        return self.padding + 1 if ENCODERS[self.model_type].counts_tokens else 0

    def replace(self, **changes: Any) -> "BertConfig":
        """A copy with some fields changed; an embedding has as many outputs as its dimensions."""
        if changes.get("head", self.head) == "embedding":
            embedding = changes.get("embedding", self.embedding)
            hidden = changes.get("hidden_size", self.hidden_size)
            changes = {"num_labels": embedding.dimensions(hidden)} | changes
        return dataclasses.replace(self, **changes)


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
