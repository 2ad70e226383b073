"""What an architecture is to the rest of bpjax: a record of functions of its config.

A folder beside this file holds one architecture, and a line in `models.ARCHITECTURES` names it.
Nothing outside that folder knows which architecture a model has.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from bpjax.models.embedding import Embedding
from bpjax.models.generation import Decoder
from bpjax.models.inputs import Input
from bpjax.models.layers.quantization import Quantization
from bpjax.pruning.structure import Sizes, Structure

Json = Mapping[str, Any]
"""The contents of a config.json."""


@runtime_checkable
class Config(Protocol):
    """Sizes and settings of one model: frozen and hashable, the static key of every compilation.

    Fields beside these are the architecture's own business.
    """

    @property
    def model_type(self) -> str:
        """A key of `models.ARCHITECTURES`."""

    @property
    def head(self) -> str:
        """A key of `heads.HEADS`."""

    @property
    def num_labels(self) -> int:
        """Outputs of the head."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names; () where they have none."""

    @property
    def problem_type(self) -> str | None:
        """What config.json calls a classifier's problem, see `labels.CLASSIFIERS`."""

    @property
    def initializer_range(self) -> float | int:
        """Standard deviation of new weights."""

    @property
    def dtype(self) -> str:
        """Compute type; parameters keep theirs."""

    @property
    def quantization(self) -> Quantization | None:
        """How kernels, tables and inputs of products are rounded; None: not at all."""

    @property
    def vocab_size(self) -> int:
        """Rows of the word embeddings."""

    @property
    def max_positions(self) -> int:
        """Tokens in a row at most."""

    def replace(self, **changes: Any) -> "Config":
        """A copy with some fields changed."""


class Outputs(NamedTuple):
    """What a forward pass returns.

    Attributes:
      hidden: the last layer's states, `[batch, length, hidden]`; None where only the logits are
        known, of a teacher that was not run.
      logits: what the head gives, see `heads.Head`; None without a head.
      hidden_states: when asked for, the output of the embeddings and then of each layer by its name
        (`Sublayer.layer`): "embeddings", "layer_0", …; in a model of an encoder and a decoder
        "encoder/embeddings", "encoder/layer_0", …, "decoder/embeddings", "decoder/layer_0", ….
      attention_scores: when asked for, of each sublayer that has heads, by its name, before the
        softmax, padding included; the modules sow them as `scores` in the collection
        `intermediates`, from where `training.evaluation.apply` fills this in.
      streams: likewise, the residual stream that each sublayer writes to, behind it and before any
        norm, sown as `stream`.
    """

    hidden: Float[Array, "batch length hidden"] | None
    logits: Float[Array, "batch *labels"] | None
    hidden_states: Mapping[str, Float[Array, "batch _ hidden"]] = {}
    attention_scores: Mapping[str, Float[Array, "batch _ _ _"]] = {}
    streams: Mapping[str, Float[Array, "*places size"]] = {}


class Stored(NamedTuple):
    """Where one of our arrays lies in a checkpoint.

    Attributes:
      name: that it is saved by. Entries of one name lie end to end along the stored array's first
        axis, in the table's order: a fused matrix.
      shape: ours.
      turn: how the stored array becomes ours, a key of `checkpoint.TURNS`.
      also: names that mean the same in other files.
      fresh: whether a new array may be drawn: "never"; "missing", where there is none; "any", also
        where there is one of another shape, for a head.
      copies: names of tensors that are tied to it: a file may have any of them, beside it or in its
        place, and all must be the same.
      absent: what it is where a file has none; None: it must be there.
      dtype: of ours, "float32" or "int8".
    """

    name: str
    shape: tuple[int, ...]
    turn: str = "keep"
    also: tuple[str, ...] = ()
    fresh: str = "never"
    copies: tuple[str, ...] = ()
    absent: Callable[[], np.ndarray] | None = None
    dtype: str = "float32"


class Architecture(NamedTuple):
    """One architecture.

    Attributes:
      model_types: in config.json.
      read: `(config.json, head, num_labels, its name for messages) -> config`. Every field that
        changes what is computed is honoured or refused; the head and the names of its labels are
        read apart, see `labels.read_head`.
      write: the contents of a config.json. A dense model gets the fields that transformers reads.
      build: the module. It takes the model's inputs by name and `deterministic`, and returns
        `Outputs`.
      describe: where the model keeps its units.
      resize: `(config, sizes) -> config` of a model of other sizes, after surgery say.
      dense: the config before anything was removed; None where that is not known.
      pad: the config of the dense sizes that transformers' own class has, for zeros to be added.
      inputs: what the module reads of a batch, by name.
      tensors: every parameter, by its path joined with "/": where it lies in a checkpoint.
      owned: prefixes of names in a checkpoint of which each must have a place in the model,
        whatever its head.
      unread: ends of names in a checkpoint that such a model does not read.
      heads: by model type, the class of transformers for each head that the architecture has.
      approximations: cheaper operations that can be trained in, and the fields of the config that
        then change.
      tiny: the smallest config with every feature, for tests.
      torch_code: a file that loads models of sizes that differ by layer into transformers.
      torch_heads: ends of the names of its classes for heads that bpjax does not have.
      complete: `(config, names in the checkpoint) -> config`, where config.json leaves something
        open that the names tell.
      embed: the config of the same encoder with a head that gives such embeddings; not called where
        `heads` has none.
      embedding: of a config with that head, what `embed` was given.
      decoder: how a model writes whose head generates; None of an architecture without such a head.
      packs: whether the module takes rows packed into bins, `inputs.PACKED`.
    """

    model_types: tuple[str, ...]
    read: Callable[[Json, str, int, str], Any]
    write: Callable[[Any], dict[str, Any]]
    build: Callable[[Any], nn.Module]
    describe: Callable[[Any], Structure]
    resize: Callable[[Any, Sizes], Any]
    dense: Callable[[Any], Any]
    pad: Callable[[Any], Any]
    inputs: Callable[[Any], tuple[Input, ...]]
    tensors: Callable[[Any], dict[str, Stored]]
    owned: Callable[[Any], tuple[str, ...]]
    unread: Callable[[Any], tuple[str, ...]]
    heads: Callable[[str], Mapping[str, str]]
    approximations: Mapping[str, Mapping[str, Any]]
    tiny: Callable[..., Any]
    torch_code: Path | None = None
    torch_heads: tuple[str, ...] = ()
    complete: Callable[[Any, Sequence[str]], Any] = lambda config, names: config
    embed: Callable[[Any, Embedding], Any] = lambda config, embedding: config
    embedding: Callable[[Any], Embedding] = lambda config: Embedding()
    decoder: Decoder | None = None
    packs: bool = False
