"""The model against a plain transcription of BERT, and what padding, types and dropout must do."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import DOUBLE, TINY, linear, make_batch, make_params, pattern_of, relative, run

from bpjax import models
from bpjax.errors import UserError
from bpjax.models.bert import BertConfig
from bpjax.models.layers import attention, dropout
from bpjax.pruning.patterns import build_mask_collection

RAGGED = TINY.replace(heads=(0, 2, 1, 0), intermediate=(3, 0, 5, 0))


def transcribe(config, params, ids, mask, types):
    """BERT with a loop over rows and heads; returns the states of real tokens, row by row."""
    params = jax.tree.map(np.asarray, params)
    erf = np.vectorize(math.erf, otypes=[np.float64])

    def linear(x, weights):
        return x @ weights["kernel"] + weights["bias"]

    def norm(x, weights):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps)
        return x * weights["scale"] + weights["bias"]

    rows = []
    for row, length in enumerate(np.asarray(mask).sum(1)):
        tables = {name: x.get("embedding") for name, x in params["embeddings"].items()}
        x = tables["word"][ids[row, :length]] + tables["position"][:length]
        x = norm(x + tables["token_type"][types[row, :length]], params["embeddings"]["norm"])
        for i, (heads, size) in enumerate(zip(config.heads, config.intermediate, strict=True)):
            layer = params[f"layer_{i}"]["attention"]
            mixed = []
            for head in range(heads):
                part = slice(head * config.head_dim, (head + 1) * config.head_dim)
                q, k, v = (linear(x, layer[name])[:, part] for name in ("query", "key", "value"))
                weights = np.exp(q @ k.T / np.sqrt(config.head_dim))
                mixed.append(weights / weights.sum(-1, keepdims=True) @ v)
            out = linear(np.hstack(mixed), layer["output"]) if heads else layer["output"]["bias"]
            x = norm(x + out, layer["norm"])
            layer = params[f"layer_{i}"]["ffn"]
            out = layer["out"]["bias"]
            if size:
                inner = linear(x, layer["in"])
                out = linear(inner * (1 + erf(inner / np.sqrt(2))) / 2, layer["out"])
            x = norm(x + out, layer["norm"])
        rows.append(x)
    return rows


@pytest.mark.parametrize("config", [TINY, RAGGED])
def test_computes_bert(config):
    with jax.enable_x64(True):
        config = config.replace(dtype="float64")
        params, (ids, mask, types) = make_params(config), make_batch()
        outputs = run(config, params)
        rows = transcribe(config, params, *map(np.asarray, (ids, mask, types)))
        for hidden, expected in zip(outputs.hidden, rows, strict=True):
            assert relative(hidden[: len(expected)], expected) < 1e-12
        first = np.stack([row[0] for row in rows])
        pooled = np.tanh(first @ params["pooler"]["kernel"] + params["pooler"]["bias"])
        logits = pooled @ params["head"]["kernel"] + params["head"]["bias"]
        assert relative(outputs.logits, logits) < 1e-12


def test_masks_of_ones_change_nothing():
    params, pattern = make_params(), pattern_of("hybrid", (4, 3))
    ones = {group.name: jnp.ones(group.shape) for group in pattern.groups}
    dense, masked = run(TINY, params), run(TINY, params, build_mask_collection(pattern, ones))
    np.testing.assert_array_equal(dense.hidden, masked.hidden)
    np.testing.assert_array_equal(dense.logits, masked.logits)


def test_refuses_masks_of_another_model():
    pattern = pattern_of("hybrid", (4, 3), TINY.replace(intermediate=(7, 3)))
    values = {group.name: jnp.ones(group.shape) for group in pattern.groups}
    with pytest.raises(ValueError, match=r"mask of shape \(1, 7\): expected \(1, 5\)"):
        run(TINY, make_params(), build_mask_collection(pattern, values))


def test_padding_does_not_reach_real_tokens():
    params, (ids, mask, types) = make_params(), make_batch()
    before = run(TINY, params)
    other = jnp.where(mask == 1, ids, (ids + 7) % TINY.vocab_size)
    longer = [jnp.pad(x, ((0, 0), (0, 3))) for x in (other, mask, 1 - mask + types * mask)]
    after = run(TINY, params, batch=longer)
    real = np.asarray(mask, bool)
    assert relative(np.asarray(after.hidden)[:, :5][real], np.asarray(before.hidden)[real]) < 1e-6
    assert relative(after.logits, before.logits) < 1e-6


def test_a_row_of_padding_stays_finite():
    ids, mask, types = make_batch()
    outputs = run(TINY, make_params(), batch=(ids, jnp.zeros_like(mask), types))
    assert np.isfinite(outputs.hidden).all()


def test_token_types_and_positions_matter():
    params, (ids, mask, types) = make_params(), make_batch()
    before = run(TINY, params).logits
    assert relative(run(TINY, params, batch=(ids, mask, 1 - types)).logits, before) > 1e-3
    swapped = ids.at[0].set(ids[0, jnp.array([0, 2, 1, 3, 4])])
    after = run(TINY, params, batch=(swapped, mask, types)).logits
    assert relative(after[0], before[0]) > 1e-4
    np.testing.assert_array_equal(after[1:], before[1:])  # rows do not see each other


def test_refuses_rows_longer_than_the_positions():
    batch = [jnp.ones((1, TINY.max_positions + 1), jnp.int32)] * 3
    with pytest.raises(UserError, match="input of 9 tokens: expected at most 8"):
        run(TINY, make_params(), batch=batch)


def test_bfloat16_is_close():
    params = make_params()
    wide, narrow = run(TINY, params), run(TINY.replace(dtype="bfloat16"), params)
    assert (narrow.hidden.dtype, narrow.logits.dtype) == (jnp.bfloat16, jnp.float32)
    assert 1e-5 < relative(narrow.hidden, wide.hidden) < 0.05

    def loss(params):
        return run(TINY.replace(dtype="bfloat16"), params).logits.sum()

    gradient = jax.eval_shape(jax.grad(loss), params)
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("head", "labels", "shape"),
    [("none", 2, None), ("span", 2, (3, 5, 2)), ("classification", 4, (3, 4)),
     ("regression", 1, (3, 1)), ("tokens", 4, (3, 5, 4))],
)  # fmt: skip
def test_heads(head, labels, shape):
    config = TINY.replace(head=head, num_labels=labels)
    params = make_params(config)
    logits = run(config, params).logits
    assert (logits if shape is None else logits.shape) == shape
    assert ("pooler" in params) == (head not in ("span", "tokens"))
    assert ("head" in params) == (head != "none")


@pytest.mark.parametrize("head", ["span", "tokens"])
def test_logits_by_token_are_a_linear_map_of_the_states(head):
    config = TINY.replace(head=head, num_labels=2, attention_dropout=0.0, hidden_dropout=0.5)
    params = make_params(config)
    outputs = run(config, params)

    def head_of(states):
        return states @ params["head"]["kernel"] + params["head"]["bias"]

    np.testing.assert_allclose(outputs.logits, head_of(outputs.hidden), rtol=1e-5, atol=1e-6)
    # As in transformers: the states of tokens are dropped from, those of spans are not.
    outputs = run(config, params, deterministic=False, rngs={"dropout": jax.random.key(0)})
    dropped = jnp.abs(outputs.logits - head_of(outputs.hidden)).max() > 1e-3
    assert dropped == (head == "tokens")


def test_hidden_states():
    params = make_params(RAGGED)
    outputs = run(RAGGED, params, hidden_states=True)
    states = [*outputs.hidden_states.values()]
    assert [x.shape for x in states] == [(3, 5, 6)] * (1 + RAGGED.num_layers)
    np.testing.assert_array_equal(states[-1], outputs.hidden)
    less = RAGGED.replace(heads=RAGGED.heads[:2], intermediate=RAGGED.intermediate[:2])
    np.testing.assert_array_equal(outputs.hidden_states["layer_1"], run(less, params).hidden)
    assert run(RAGGED, params).hidden_states == {}


def test_a_sublayer_that_is_gone_keeps_its_bias_and_norm():
    layer = make_params(RAGGED)["layer_3"]
    assert jax.tree.map(jnp.shape, layer) == {
        "attention": {"output": {"bias": (6,)}, "norm": {"scale": (6,), "bias": (6,)}},
        "ffn": {"out": {"bias": (6,)}, "norm": {"scale": (6,), "bias": (6,)}},
    }


def test_fresh_parameters():
    params = models.init(TINY.replace(vocab_size=2000), jax.random.key(0, impl="rbg"))
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        kind = path[-1].key
        if kind in ("kernel", "embedding"):
            assert 0.01 < float(x.std()) < 0.03
        else:
            np.testing.assert_array_equal(x, np.full(x.shape, kind == "scale"))
    assert abs(float(params["embeddings"]["word"]["embedding"].std()) - 0.02) < 1e-3


# Dropout.


def drop_out(config, seed):
    rngs = {"dropout": jax.random.key(seed)}
    return run(config, make_params(), deterministic=False, rngs=rngs).logits


@pytest.mark.parametrize("rates", [(0.2, 0.0), (0.0, 0.3)])
def test_dropout_changes_outputs_by_its_key(rates):
    config = TINY.replace(hidden_dropout=rates[0], attention_dropout=rates[1])
    first = drop_out(config, 0)
    np.testing.assert_array_equal(first, drop_out(config, 0))
    assert relative(first, drop_out(config, 1)) > 1e-3
    assert relative(first, run(config, make_params()).logits) > 1e-3


def test_dropout_of_zero_is_the_identity():
    config = TINY.replace(hidden_dropout=0, attention_dropout=0)
    np.testing.assert_array_equal(drop_out(config, 0), run(config, make_params()).logits)


@pytest.mark.parametrize("shape", [(40, 50, 3), (30, 1), (1, 8191), (50, 64)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_drops_its_share_and_scales_the_rest(shape, rate):
    dropped = np.asarray(dropout.drop(jnp.ones(shape), rate, jax.random.key(3)))
    level = round(rate * 256) / 256
    deviation = math.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(np.mean(dropped == 0) - level) < 4 * deviation
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - level), rtol=1e-6)


def test_drops_neighbours_independently():
    # Four neighbours share a random word: each must still have its own bits.
    zeros = np.asarray(dropout.drop(jnp.ones((2000, 8)), 0.5, jax.random.key(0))) == 0
    correlation = np.corrcoef(zeros.T) - np.eye(8)
    assert np.abs(correlation).max() < 4 / math.sqrt(2000)


def test_the_highest_rate_drops_nearly_all():
    dropped = np.asarray(dropout.drop(jnp.ones((100, 256)), 0.999, jax.random.key(0)))
    assert 0 < np.mean(dropped != 0) < 0.02


# Attention, in its two forms.


def attention_inputs(dtype=jnp.float32, length=7):
    keys = jax.random.split(jax.random.key(0), 3)
    mask = jnp.arange(length) < jnp.array([[length], [3]])
    return [jax.random.normal(key, (2, length, 3, 4), dtype) for key in keys], mask.astype(int)


FORMS = {
    "batched": lambda *inputs, **kwargs: attention._attend_batched(*inputs, 0.0, None, **kwargs),
    "by_head": lambda *inputs, **kwargs: attention._attend_by_head(*inputs, 0.0, None, **kwargs),
    "flash": functools.partial(attention._attend_flash, implementation="xla"),  # no GPU here
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_attention_agree(form):
    inputs, mask = attention_inputs()
    mixed, pull = jax.vjp(lambda q, k, v: FORMS[form](q, k, v, mask), *inputs)
    expected = np.zeros(mixed.shape)
    for row, length in enumerate(np.asarray(mask).sum(1)):
        for head in range(3):
            q, k, v = (np.asarray(x, np.float64)[row, :, head] for x in inputs)
            weights = np.exp(q @ k[:length].T / 2)
            expected[row, :, head] = weights / weights.sum(1, keepdims=True) @ v[:length]
    assert relative(mixed, expected) < 1e-5
    reference = jax.vjp(
        lambda q, k, v: attention._attend_batched(q, k, v, mask, 0.0, None), *inputs
    )[1]
    for found, wanted in zip(pull(mixed), reference(mixed), strict=True):
        assert relative(found, wanted) < 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("queries", "causal"), [(7, True), (2, False), (9, False)])
def test_a_decoders_attention_in_all_forms(form, queries, causal):
    """Queries that meet keys up to their own place, and more or fewer queries than keys."""
    (_, key, value), mask = attention_inputs()
    query = jax.random.normal(jax.random.key(5), (2, queries, 3, 4))
    mixed = FORMS[form](query, key, value, mask, causal=causal)
    scores = np.asarray(attention.scores_of(query, key, causal))
    for row, length in enumerate(np.asarray(mask).sum(1)):
        for head, place in np.ndindex(3, queries):
            seen = min(length, place + 1) if causal else length
            q, k = query[row, place, head], key[row, :, head]
            expected = np.asarray(k @ q / 2)
            np.testing.assert_allclose(scores[row, head, place, :seen], expected[:seen], rtol=1e-4)
            assert not (causal and scores[row, head, place, place + 1 :].any())
            weights = np.exp(expected[:seen])
            wanted = weights / weights.sum() @ value[row, :seen, head]
            assert relative(mixed[row, place, head], wanted) < 1e-4


@pytest.mark.parametrize("form", [attention._attend_batched, attention._attend_by_head])
def test_dropout_in_both_forms_has_the_gradients_of_its_forward_pass(form):
    with jax.enable_x64(True):
        inputs, mask = attention_inputs(jnp.float64)
        key, direction = jax.random.key(1, impl="rbg"), attention_inputs(jnp.float64, 7)[0][::-1]

        @jax.jit
        def loss(inputs):
            return jnp.sum(jnp.sin(form(*inputs, mask, 0.3, key)))

        step = 1e-5
        ends = [loss([x + s * d for x, d in zip(inputs, direction, strict=True)])
                for s in (step, -step)]  # fmt: skip
        gradient = jax.grad(loss)(inputs)
        slope = sum(jnp.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
        assert relative(form(*inputs, mask, 0.3, key), form(*inputs, mask, 0.0, None)) > 0.01


def test_long_rows_take_the_form_that_fits_the_cache(monkeypatch):
    inputs, mask = attention_inputs(length=161)
    found = attention.attend(*inputs, mask)
    assert relative(found, attention._attend_batched(*inputs, mask, 0.0, None)) < 1e-5
    taken = []
    monkeypatch.setattr(attention, "_attend_by_head", lambda q, *_: taken.append(1) or q)
    query, key, value = inputs
    attention.attend(query[:, :4], key, value, mask)  # the beams of a step: small scores
    assert not taken
    attention.attend(query[:, :160], key, value, mask)
    assert taken


@pytest.mark.parametrize(
    ("dtype", "dim", "capability", "dropout", "obstacle"),
    [
        (jnp.bfloat16, 64, "9.0", 0.0, None),
        (jnp.bfloat16, 64, "10.0", 0.0, None),
        (jnp.bfloat16, 64, "7.5", 0.0, "compute capability 7.5, expected 8.0 or later"),
        (jnp.bfloat16, 64, "9.0", 0.1, "attention dropout, expected a rate of 0"),
        (jnp.bfloat16, 60, "9.0", 0.0, "heads of 60, expected a multiple of 8 up to 128"),
        (jnp.bfloat16, 256, "9.0", 0.0, "heads of 256, expected a multiple of 8 up to 128"),
        (jnp.float32, 64, "9.0", 0.0, "float32 operands, expected bfloat16"),
    ],
)
def test_a_gpu_takes_flash_attention_where_cudnn_has_it_and_tells_where_not(
    monkeypatch, caplog, dtype, dim, capability, dropout, obstacle
):
    taken = []
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(attention, "_attend_flash", lambda q, *_: taken.append(1) or q)
    attention._tell.cache_clear()
    query = jnp.ones((2, 4, 1, dim), dtype)
    for _ in range(2):
        attention.attend(
            query, query, query, jnp.ones((2, 4), int), dropout=dropout, rng=jax.random.key(0)
        )
    assert bool(taken) == (obstacle is None)
    told = [record.getMessage() for record in caplog.records if "cuDNN" in record.getMessage()]
    line = f"attention: cuDNN's kernel is not used for {obstacle}"
    assert told == [line] * (obstacle is not None and dtype == jnp.bfloat16)


# The config.


def test_counts_linear_parameters():
    assert linear(BertConfig()) == 84_934_656
    assert linear(RAGGED) == 4 * 6 * 2 * 3 + 2 * 6 * 8


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"heads": (1, 2, 3)}, "heads of 3 layers, intermediate of 2: expected one entry a layer"),
        ({"heads": (1, -1)}, "heads or intermediate -1: expected 0 or more"),
        ({"hidden_size": 0}, "a size of 0: expected 1 or more"),
        ({"head": "tagging"}, "head 'tagging': expected one of none, span, classification"),
        ({"head": "span"}, "span head, 3 labels: expected 2"),
        ({"head": "regression"}, "regression head, 3 labels: expected 1"),
        ({"num_labels": 0}, "classification head, 0 labels: expected 1"),
        ({"dtype": "float16"}, "dtype 'float16': expected one of float32, bfloat16"),
        ({"hidden_dropout": 1.0}, r"dropouts \(1\.0, 0\.3, 1\.0\): expected rates in \[0, 1\)"),
        ({"attention_dropout": -0.1}, r"dropouts .*: expected rates in \[0, 1\)"),
    ],
)
def test_refuses_a_config(changes, match):
    with pytest.raises(UserError, match=match):
        TINY.replace(**changes)


def test_double_precision_is_double_throughout():
    with jax.enable_x64(True):
        outputs = run(DOUBLE, make_params(DOUBLE))
        assert outputs.hidden.dtype == outputs.logits.dtype == np.float64
