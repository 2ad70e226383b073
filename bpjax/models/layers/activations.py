"""Activations by the names that configs have for them."""

import functools
from collections.abc import Callable

import jax
from jaxtyping import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),  # exact, not by tanh
    "relu": jax.nn.relu,
}
