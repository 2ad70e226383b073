"""The model config: one class for dense, masked and shrunken models."""

import dataclasses
from typing import Any

HEADS = ("none", "span", "classification", "regression")


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
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    head_dim: int = 64
    heads: tuple[int, ...] = (12,) * 12
    intermediate: tuple[int, ...] = (3072,) * 12
    max_positions: int = 512
    type_vocab_size: int = 2
    norm_eps: float = 1e-12
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    dtype: str = "float32"
    head: str = "none"
    num_labels: int = 2

    def __post_init__(self):
        """Checks that the per-layer sizes agree and the head is a known one."""
        if len(self.heads) != len(self.intermediate):
            raise ValueError(
                f"heads names {len(self.heads)} layers, intermediate {len(self.intermediate)}: "
                "expected one entry a layer in both"
            )
        if self.head not in HEADS:
            raise ValueError(f"head {self.head!r}: expected one of {', '.join(HEADS)}")

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
