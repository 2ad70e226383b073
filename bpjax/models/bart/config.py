"""The model config: one class for dense, masked and shrunken models."""

import dataclasses
from typing import Any

from bpjax.errors import UserError
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.generation import Generation
from bpjax.models.heads import HEADS
from bpjax.models.layers.activations import ACTIVATIONS
from bpjax.models.layers.linear import DTYPES, ComputeTypes
from bpjax.models.layers.norm import NORMS
from bpjax.models.layers.quantization import Quantization


@dataclasses.dataclass(frozen=True)
class Stack:
    """Sizes of an encoder or a decoder whose layers need not be alike.

    Attributes:
      heads: of self-attention, by layer; 0 leaves a layer only its attention output's bias.
      ffn: feed-forward dimensions, by layer; 0 leaves only the output's bias.
      cross: heads that read the encoder's output, by layer; () of an encoder.
      head_dim: size of one head.
      layer_dropout: in training, the chance of a layer to be left out of a step.
    """

    heads: tuple[int, ...]
    ffn: tuple[int, ...]
    cross: tuple[int, ...] = ()
    head_dim: int = 64
    layer_dropout: float | int = 0.0

    @property
    def units(self) -> dict[str, tuple[int, ...]]:
        """Units by layer, by the sublayer's name within it, in their order."""
        cross = {"cross_attention": self.cross} if self.cross else {}
        return {"attention": self.heads, **cross, "ffn": self.ffn}

    def resized(self, units: dict[str, tuple[int, ...]]) -> "Stack":
        """A stack of other `units`."""
        cross = units.get("cross_attention", ())
        return self.replace(heads=units["attention"], ffn=units["ffn"], cross=cross)

    def replace(self, **changes: Any) -> "Stack":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class BartConfig(ComputeTypes):
    """Sizes of a BART (Lewis et al. 2020), or of a relative, whose layers need not be alike.

    Attributes:
      vocab_size: rows of the word embeddings, which both stacks and the head share.
      encoder: its layers.
      decoder: its layers.
      max_positions: tokens of a source, and of a text, at most.
      scaled_by: word embeddings are multiplied by its square root, the hidden size before any
        removal; 0 does not scale them.
      dropout: rate behind the embeddings and every sublayer.
      activation_dropout: rate within the feed-forward sublayers.
      dtype: compute type, "float32" or "bfloat16" ("float64" for proofs); parameters keep theirs.
        "bfloat16_products" computes the layers' matrix products with bfloat16 operands and the rest
        in float32.
      head: the task head, "seq2seq" or "none".
      num_labels: outputs of the head: of "seq2seq" the vocabulary.
      labels: (), for tokens have no names.
      problem_type: what config.json says of a classifier; without effect.
      activation: of the feed-forward sublayers, a key of `ACTIVATIONS`.
      norm: "layer" normalises each token; "affine" scales and shifts it only, the same for all.
      pad_token_id: of padding.
      bos_token_id: which begins a text of the tokenizer's; None: none does.
      decoder_start_token_id: that stands in front of what is written; None of a model that puts
        the last token there.
      generation: how it writes.
      initializer_range: standard deviation of new weights.
      dense_sizes: of a shrunken model, `encoder`, `decoder` and `hidden_size` before the removal,
        if known.
      model_type: a key of `variants.VARIANTS`.
      remat: in training, keep each layer's input only and compute the layer again for the gradient.
      quantization: how kernels, tables and the inputs of products are rounded; None: not at all.

    Raises:
      UserError: sizes that do not agree, a rate outside [0, 1), a token outside the vocabulary, an
        unknown head, activation, norm or dtype.
    """

    vocab_size: int = 50265
    hidden_size: int = 768
    encoder: Stack = Stack((12,) * 6, (3072,) * 6)
    decoder: Stack = Stack((12,) * 6, (3072,) * 6, (12,) * 6)
    max_positions: int = 1024
    scaled_by: int = 0
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.0
    dtype: str = "float32"
    head: str = "seq2seq"
    num_labels: int = 50265
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    activation: str = "gelu"
    norm: str = "layer"
    pad_token_id: int = 1
    bos_token_id: int | None = 0
    decoder_start_token_id: int | None = 2
    generation: Generation = Generation(
        decoder_start_token_id=2, eos_token_id=(2,), pad_token_id=1, forced_eos_token_id=(2,)
    )
    initializer_range: float | int = 0.02
    dense_sizes: tuple[Stack, Stack, int] | None = None
    model_type: str = "bart"
    remat: bool = False
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        """Checks what would otherwise go wrong later, or in silence."""
        stacks = {"encoder": self.encoder, "decoder": self.decoder}
        units = [n for stack in stacks.values() for x in stack.units.values() for n in x]
        sizes = (
            self.vocab_size,
            self.hidden_size,
            self.max_positions,
            *(stack.head_dim for stack in stacks.values()),
        )
        variant = VARIANTS[self.model_type]
        labels = self.vocab_size if self.head == "seq2seq" else max(1, self.num_labels)
        rates = (
            self.dropout,
            self.attention_dropout,
            self.activation_dropout,
            *(stack.layer_dropout for stack in stacks.values()),
        )
        start = self.decoder_start_token_id
        tokens = {"pad_token_id": self.pad_token_id}
        if not variant.wraps:
            tokens["decoder_start_token_id"] = -1 if start is None else start
        for holds, found, expected in (
            *(
                (
                    len({len(x) for x in stack.units.values()}) == 1,
                    f"{name} of {' and '.join(str(len(x)) for x in stack.units.values())} layers",
                    "one entry a layer for each sort of sublayer",
                )
                for name, stack in stacks.items()
            ),
            (
                bool(self.decoder.heads) == bool(self.decoder.cross) and not self.encoder.cross,
                f"cross-attention of {len(self.decoder.cross)} decoder layers",
                "of each layer of the decoder, and of none of the encoder",
            ),
            (min(units, default=0) >= 0, f"a sublayer of {min(units, default=0)}", "0 or more"),
            (min(sizes) > 0, f"a size of {min(sizes)}", "1 or more"),
            (self.scaled_by >= 0, f"scaled_by {self.scaled_by}", "0 or more"),
            *(
                (getattr(self, field) in known, f"{field} {getattr(self, field)!r}", _list(known))
                for field, known in (
                    ("head", [name for name in HEADS if name in variant.classes]),
                    ("activation", [*ACTIVATIONS]),
                    ("norm", NORMS),
                    ("dtype", DTYPES),
                )
            ),
            (self.num_labels == labels, f"{self.head} head, {self.num_labels} labels", f"{labels}"),
            (not self.labels, f"names of {len(self.labels)} labels", "none"),
            (min(rates) >= 0 and max(rates) < 1, f"dropouts {rates}", "rates in [0, 1)"),
            *(
                (0 <= token < self.vocab_size, f"{name} {token}", f"0 to {self.vocab_size - 1}")
                for name, token in tokens.items()
            ),
        ):
            if not holds:
                raise UserError(f"model config: {found}: expected {expected}; correct the config")

    @property
    def stacks(self) -> dict[str, Stack]:
        """Both, by name, the encoder first."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    @property
    def norm_eps(self) -> float:
        """Of all norms: config.json has no say in it."""
        return 1e-5

    def replace(self, **changes: Any) -> "BartConfig":
        """A copy with some fields changed; of tokens there are as many as in the vocabulary."""
        if changes.get("head", self.head) == "seq2seq":
            changes = {"num_labels": changes.get("vocab_size", self.vocab_size)} | changes
        return dataclasses.replace(self, **changes)


def _list(names: Any) -> str:
    return f"one of {', '.join(names)}"
