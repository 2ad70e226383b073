"""BARTs write what they score: texts of beam search against a forward pass over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PATTERNS, random_values
from tiny_bart import KINDS, TINY, make_batch, make_params, ragged, run

from bpjax import models
from bpjax.generation import generate
from bpjax.models.generation import Generation
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.surgery import shrink

CONFIGS = {"ragged bart": ragged(TINY), "pegasus": KINDS["pegasus"]}
SETTINGS = Generation(
    decoder_start_token_id=2,
    eos_token_id=(2, 4, 5),
    pad_token_id=1,
    num_beams=3,
    max_length=8,
    length_penalty=0.5,
    early_stopping="never",
)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_text_scores_what_a_forward_pass_gives_it(kind):
    config = CONFIGS[kind].replace(generation=SETTINGS, decoder_start_token_id=2)
    params, batch = make_params(config), make_batch()
    found = generate(config, {"params": params}, batch)
    texts = np.asarray(found.tokens[:, 1:])
    batch |= {"label": jnp.asarray(texts)}
    logits = jax.jit(lambda params: run(config, params, batch=batch).logits)(params)
    scores = np.asarray(jax.nn.log_softmax(logits, axis=-1))
    for text, each, score in zip(texts, scores, found.scores, strict=True):
        ends = np.flatnonzero(np.isin(text, SETTINGS.eos_token_id))
        length = ends[0] + 1 if len(ends) else len(text)
        total = each[np.arange(length), text[:length]].sum()
        assert score == pytest.approx(total / length**0.5, rel=1e-4)


def test_a_masked_model_writes_what_the_smaller_one_does():
    config = TINY.replace(generation=SETTINGS)
    params, batch = make_params(config), make_batch()
    pattern = make_pattern("hybrid", models.describe(config), PATTERNS[1][1])
    masks = build_mask_collection(pattern, random_values(pattern, density=0.4))
    masked = generate(config, {"params": params, "masks": masks}, batch)
    small = shrink(jax.jit(apply_masks)(params, masks), models.describe(config), rank_by=params)
    smaller = models.resize(config, small.sizes)
    assert smaller.decoder.units != config.decoder.units
    found = generate(smaller, {"params": small.params}, batch)
    np.testing.assert_array_equal(found.tokens, masked.tokens)
    np.testing.assert_allclose(found.scores, masked.scores, rtol=1e-4)
