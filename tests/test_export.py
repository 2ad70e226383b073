"""Exported models compute what the shrunken ones do."""

import numpy as np
import pytest
from tiny import TINY, make_params, relative, run

from bpjax.deploy.export import pad

RAGGED = TINY.replace(heads=(0, 2), intermediate=(3, 0))


@pytest.mark.parametrize("original", [None, (TINY.heads, (5, 5))])
def test_a_padded_model_is_dense_and_the_same(original):
    config = RAGGED.replace(original=original)
    params = make_params(config)
    dense, padded = pad(config, params)
    assert dense.heads == (3, 3)  # hidden size 6, heads of 2
    assert dense.intermediate == ((5, 5) if original else (3, 3))
    assert relative(run(dense, padded).logits, run(config, params).logits) < 1e-6
    assert relative(run(dense, padded).hidden, run(config, params).hidden) < 1e-6
    kernel = np.asarray(padded["layer_0"]["ffn"]["in"]["kernel"])
    np.testing.assert_array_equal(kernel[:, :3], params["layer_0"]["ffn"]["in"]["kernel"])
    assert not kernel[:, 3:].any()


def test_a_model_without_any_dimensions():
    config = TINY.replace(heads=(0, 0), intermediate=(0, 0))
    params = make_params(config)
    dense, padded = pad(config, params)
    assert dense.intermediate == (1, 1)
    assert relative(run(dense, padded).logits, run(config, params).logits) < 1e-6
