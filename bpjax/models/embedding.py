"""How a model makes one embedding of a text: pooling, length, and what stands before the text."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bpjax.errors import UserError

POOLINGS = ("cls", "max", "mean")
"""In the order in which sentence-transformers lays them side by side where a file does not say."""


@dataclasses.dataclass(frozen=True)
class Embedding:
    """What a model of sentence-transformers is beside its encoder.

    Attributes:
      pooling: of the states of a row's real tokens, some of `POOLINGS`, laid side by side: the
        first ("cls"), or by dimension the largest ("max") or the mean.
      normalize: whether the embedding is brought to length 1.
      max_length: tokens kept of a text, special ones included; None: as many as there are positions
        for.
      prompts: texts by name that may stand before what is embedded.
      default_prompt: the name of the one that does unless another is asked for; None: none does.
      similarity: what its embeddings are to be compared by, as sentence-transformers calls it.

    Raises:
      UserError: another pooling, or a default prompt that is none of the prompts.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = False
    max_length: int | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    default_prompt: str | None = None
    similarity: str | None = None

    def __post_init__(self) -> None:
        unknown = next((name for name in self.pooling if name not in POOLINGS), None)
        if unknown or not self.pooling:
            raise UserError(
                f"pooling {unknown!r}: expected some of {', '.join(POOLINGS)}; choose a model that "
                "pools so"
            )
        names = [name for name, _ in self.prompts]
        if self.default_prompt is not None and self.default_prompt not in names:
            raise UserError(
                f"default_prompt_name {self.default_prompt!r}: expected a name among prompts "
                f"({', '.join(names) or 'there are none'}); correct it"
            )

    @property
    def prompt(self) -> str:
        """What stands before every text."""
        return dict(self.prompts)[self.default_prompt] if self.default_prompt is not None else ""

    def dimensions(self, hidden_size: int) -> int:
        """Of an embedding."""
        return len(self.pooling) * hidden_size

    def pool(
        self, states: Float[Array, "batch length hidden"], mask: Int[Array, "batch length"]
    ) -> Float[Array, "batch dimensions"]:
        """The embeddings of rows, in fp32 at least.

        Args:
          states: the last layer's.
          mask: 1 for real tokens, 0 for padding.
        """
        states = states.astype(jnp.promote_types(states.dtype, jnp.float32))
        real = mask[:, :, None]

        def one(name: str) -> Array:
            if name == "cls":
                return states[:, 0]
            if name == "max":
                return jnp.where(real > 0, states, -jnp.inf).max(1)
            return (states * real).sum(1) / jnp.maximum(real.sum(1), 1e-9)

        found = jnp.concatenate([one(name) for name in self.pooling], axis=-1)
        return normalized(found) if self.normalize else found


def normalized(vectors: Float[Array, "*rows dimensions"]) -> Float[Array, "*rows dimensions"]:
    """Vectors of length 1; zeros stay zeros, and have no gradient that is not a number."""
    squares = jnp.square(vectors).sum(-1, keepdims=True)
    # As PyTorch's normalize, which divides by 1e-12 at least.
    return vectors / jnp.maximum(jnp.sqrt(jnp.maximum(squares, 1e-30)), 1e-12)
