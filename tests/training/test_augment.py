"""Altered rows: which tokens move, where they come from, whose labels still count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.training.augment import replace_tokens

CLS, SEP, PAD = 101, 102, 0


def make_batch(rows=400, length=9):
    """Pairs of segments `[CLS] 1-9 [SEP] 1-9 … [SEP]`, of 5 to 9 tokens; the last row has none."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(5, length + 1, (rows, 1))
    tokens = generator.integers(1, 10, (rows, length))
    tokens[:, 0] = CLS
    tokens[:, 2] = SEP
    np.put_along_axis(tokens, sizes - 1, SEP, axis=1)
    real = np.arange(length) < sizes
    real[-1] = np.arange(length) < 1  # a row of padding, see `collate`
    batch = {
        "input_ids": np.where(real, tokens, PAD).astype(np.int32),
        "attention_mask": real.astype(np.int32),
        "weight": np.ones(rows, np.float32),
    }
    return jax.tree.map(jnp.asarray, batch)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_half_of_the_rows_lose_that_many_tokens_and_their_label(rate):
    batch = make_batch()
    found, labelled = jax.jit(replace_tokens, static_argnums=1)(batch, rate, jax.random.key(1))
    before, after = (np.asarray(x["input_ids"]) for x in (batch, found))
    movable = (before >= 1) & (before <= 9)
    np.testing.assert_array_equal(after[~movable], before[~movable])  # marks and padding stay
    assert (
        (after[movable] >= 1) & (after[movable] <= 9)
    ).all()  # and nowhere take the place of another
    altered = np.asarray(labelled["weight"]) == 0
    assert 0.4 < altered.mean() < 0.6
    np.testing.assert_array_equal(after[~altered], before[~altered])
    # A ninth of what is drawn among nine tokens is the token itself.
    moved = (after != before)[altered][movable[altered]].mean()
    assert moved == pytest.approx(rate * 8 / 9, abs=0.05)
    np.testing.assert_array_equal(found["weight"], batch["weight"])
    np.testing.assert_array_equal(labelled["input_ids"], found["input_ids"])


def test_tokens_are_drawn_as_often_as_they_occur():
    batch = make_batch()
    tokens = batch["input_ids"]
    rare = jnp.where((tokens > 1) & (tokens <= 9) & (tokens != 7), 1, tokens)  # 1 and, less, 7
    found, _ = replace_tokens({**batch, "input_ids": rare}, 1.0, jax.random.key(2))
    before, after = (np.asarray(x)[: len(x)] for x in (rare, found["input_ids"]))
    share = [(x == 7).sum() / np.isin(x, (1, 7)).sum() for x in (before, after)]
    assert share[1] == pytest.approx(share[0], abs=0.03) and 0.05 < share[0] < 0.2


def test_a_batch_of_marks_alone():
    batch = {
        "input_ids": jnp.array([[CLS, SEP, PAD]]),
        "attention_mask": jnp.array([[1, 1, 0]]),
        "weight": jnp.ones(1),
    }
    found, _ = replace_tokens(batch, 1.0, jax.random.key(0))
    np.testing.assert_array_equal(found["input_ids"], batch["input_ids"])
