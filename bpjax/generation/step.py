"""What a search asks of a model, and what it gives back."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, Int, PyTree

Step = Callable[
    [Int[Array, "sources beams"], Int[Array, ""], PyTree],
    tuple[Float[Array, "sources beams vocabulary"], PyTree],
]
"""(last tokens, their place in the texts, what the cache has of these): the logits, float32, of
what follows, and what the cache then has."""


class Generated(NamedTuple):
    """Texts, one a source.

    Attributes:
      tokens: with the prompt in front, and `Generation.fill` after the end.
      scores: the sum of the log probabilities of a text's new tokens, over how many there are to
        the power of `length_penalty`. Of beams these are the probabilities of the model, less what
        the settings exclude; without beams those that the settings leave, which sum to 1.
    """

    tokens: Int[Array, "sources max_length"]
    scores: Float[Array, " sources"]
