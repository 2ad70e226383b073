"""The model config: one class for dense, masked and shrunken models."""

import dataclasses
from typing import Any

from bpjax.errors import UserError

HEADS = ("none", "span", "classification", "regression")
DTYPES = ("float32", "bfloat16", "float64")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT whose layers need not be alike.

    Attributes:
      heads: attention heads left, by layer; 0 leaves a layer only its attention output's bias.
      intermediate: feed-forward dimensions left, by layer; 0 leaves only the output's bias.
      head_dim: size of one attention head, the same everywhere (the paper does not prune it).
      dtype: compute type, "float32" or "bfloat16" ("float64" for proofs); parameters keep theirs.
      head: the task head: "none", "span" (start and end), "classification" or "regression".
      num_labels: outputs of a classification head; 1 for regression, 2 for span.

    Raises:
      UserError: sizes that do not agree, a rate outside [0, 1), an unknown head or dtype.
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

    def __post_init__(self):
        """Checks what would otherwise go wrong later, or in silence."""
        by_layer = (*self.heads, *self.intermediate)
        sizes = (self.vocab_size, self.hidden_size, self.head_dim, self.max_positions)
        labels = {"span": 2, "regression": 1}.get(self.head, max(1, self.num_labels))
        rates = (self.hidden_dropout, self.attention_dropout)
        for holds, found, expected in (
            (
                len(self.heads) == len(self.intermediate),
                f"heads of {len(self.heads)} layers, intermediate of {len(self.intermediate)}",
                "one entry a layer in both",
            ),
            (min(by_layer, default=0) >= 0, f"heads or intermediate {min(by_layer)}", "0 or more"),
            (min(sizes) > 0, f"a size of {min(sizes)}", "1 or more"),
            (self.head in HEADS, f"head {self.head!r}", f"one of {', '.join(HEADS)}"),
            (self.num_labels == labels, f"{self.head} head, {self.num_labels} labels", f"{labels}"),
            (self.dtype in DTYPES, f"dtype {self.dtype!r}", f"one of {', '.join(DTYPES)}"),
            (min(rates) >= 0 and max(rates) < 1, f"dropouts {rates}", "rates in [0, 1)"),
        ):
            if not holds:
                raise UserError(f"model config: {found}: expected {expected}; correct the config")

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return len(self.heads)

    def replace(self, **changes: Any) -> "BertConfig":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def linear_parameters(self) -> int:
        """Count of the weights in the encoder's kernels: what the papers call encoder size."""
        attention = sum(4 * self.hidden_size * self.head_dim * n for n in self.heads)
        return attention + sum(2 * self.hidden_size * n for n in self.intermediate)
