"""What the README shows is true: the example of a method is a method."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from test_methods import knobs
from tiny import PATTERNS, TINY, make_params, pattern_of, relative, run

from bpjax.models import bert
from bpjax.pruning import masks
from bpjax.pruning.methods.base import Method, MethodState, keep_state, no_penalty
from bpjax.pruning.patterns import Pattern, apply_masks, spread
from bpjax.pruning.surgery import shrink

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def method():
    code = re.search(
        r"```python\n# bpjax/pruning/methods/random.py\n(.*?)```", README.read_text(), re.S
    )
    names = {
        "jax": jax,
        "jnp": jnp,
        "masks": masks,
        "Method": Method,
        "MethodState": MethodState,
        "Pattern": Pattern,
        "keep_state": keep_state,
        "no_penalty": no_penalty,
    }
    exec(code[1], names)
    return names["random"]


@pytest.mark.parametrize(("name", "block"), PATTERNS)
def test_the_example_of_a_method_prunes_and_shrinks(method, name, block):
    pattern, params = pattern_of(name, block), make_params()
    made = method(pattern)
    state = made.init(jax.random.key(0), params)
    values = jax.jit(made.masks)(state, params, knobs(density=0.4), None)
    for group in pattern.groups:
        assert int(values[group.name].sum()) == int(0.4 * values[group.name].size)
    masked = spread(pattern, values)
    small = shrink(apply_masks(params, masked), bert.describe(TINY), bert.activation(TINY))
    smaller = TINY.replace(heads=small.heads, intermediate=small.intermediate)
    assert relative(run(smaller, small.params).logits, run(TINY, params, masked).logits) < 1e-5
