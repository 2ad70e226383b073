"""BART and its relatives against a plain transcription, and what padding and caches must not do."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import relative
from tiny_bart import KINDS, TINY, make_batch, make_params, ragged, run

from bpjax import models
from bpjax.errors import UserError
from bpjax.models import bart
from bpjax.models.bart.variants import VARIANTS
from bpjax.models.layers.embedding import sinusoids
from bpjax.pruning.patterns import build_mask_collection, make_pattern
from bpjax.training.approximations import approximate, finish
from bpjax.training.evaluation import apply

erf = np.vectorize(math.erf, otypes=[np.float64])
SHARES = {"none": 0.0, "all": 1.0}
ACTIVATIONS = {
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x / (1 + np.exp(-x)),
}


def transcribe(config, params, batch):
    """A loop over rows and heads; the states and logits of each row's real tokens."""
    params = jax.tree.map(np.asarray, params)
    variant = VARIANTS[config.model_type]

    def linear(x, weights):
        return x @ weights["kernel"] + weights["bias"]

    def norm(x, weights):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return x * weights["scale"] + weights["bias"]

    def attention(layer, heads, dim, causal, memory, x):
        mixed, memory = [], x if memory is None else memory
        for head in range(heads):
            part = slice(head * dim, (head + 1) * dim)
            q = linear(x, layer["query"])[:, part]
            k, v = (linear(memory, layer[name])[:, part] for name in ("key", "value"))
            weights = np.exp(q @ k.T / np.sqrt(dim))
            weights = np.tril(weights) if causal else weights
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v)
        return linear(np.hstack(mixed), layer["output"])

    def ffn(layer, x):
        return linear(ACTIVATIONS[config.activation](linear(x, layer["in"])), layer["out"])

    def around(x, layer, units, last, inside):
        if not units:
            out = layer[last]["bias"]
        else:
            out = inside(norm(x, layer["norm"]) if variant.pre_norm else x)
        return x + out if variant.pre_norm else norm(x + out, layer["norm"])

    def stack(name, ids, memory=None):
        tree, sizes = params[name], config.stacks[name]
        x = params["shared"]["embedding"][ids] * math.sqrt(config.scaled_by or 1)
        first = 0 if variant.sinusoidal else 2
        x = x + tree["positions"]["embedding"][first : first + len(ids)]
        x = norm(x, tree["norm"]) if variant.norm_embedding else x
        for i, heads in enumerate(sizes.heads):
            layer, dim = tree[f"layer_{i}"], sizes.head_dim
            part, causal = layer["attention"], name == "decoder"
            inside = functools.partial(attention, part, heads, dim, causal, None)
            x = around(x, part, heads, "output", inside)
            if memory is not None:
                part, count = layer["cross_attention"], sizes.cross[i]
                inside = functools.partial(attention, part, count, dim, False, memory)
                x = around(x, part, count, "output", inside)
            part = layer["ffn"]
            x = around(x, part, sizes.ffn[i], "out", functools.partial(ffn, part))
        return norm(x, tree["final_norm"]) if variant.pre_norm else x

    for ids, mask, label in zip(
        batch["input_ids"], batch["attention_mask"], batch["label"], strict=True
    ):
        text = np.asarray(label)[np.asarray(label) >= 0]
        start = text[-1] if variant.wraps else config.decoder_start_token_id
        read = np.asarray(ids)[np.asarray(mask) == 1]
        x = stack("decoder", np.array([start, *text[:-1]]), stack("encoder", read))
        yield x, x @ params["shared"]["embedding"].T + params["head"]["bias"]


@pytest.mark.parametrize("shape", [lambda config: config, ragged], ids=["alike", "ragged"])
@pytest.mark.parametrize("kind", KINDS)
def test_computes_bart(kind, shape):
    with jax.enable_x64(True):
        config = shape(KINDS[kind]).replace(dtype="float64")
        params, batch = make_params(config), make_batch()
        outputs = run(config, params)
        assert outputs.hidden.dtype == outputs.logits.dtype == np.float64
        for row, (hidden, logits) in enumerate(transcribe(config, params, batch)):
            assert relative(outputs.hidden[row, : len(hidden)], hidden) < 1e-12
            assert relative(outputs.logits[row, : len(hidden)], logits) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_reach_real_tokens(kind):
    config = KINDS[kind]
    params, batch = make_params(config), make_batch()
    before = run(config, params)
    mask = batch["attention_mask"]
    longer = batch | {
        "input_ids": jnp.pad(
            jnp.where(mask == 1, batch["input_ids"], 7), ((0, 0), (0, 3)), constant_values=4
        ),
        "attention_mask": jnp.pad(mask, ((0, 0), (0, 3))),
        "label": jnp.pad(batch["label"], ((0, 0), (0, 2)), constant_values=-100),
    }
    after, real = run(config, params, batch=longer), np.asarray(batch["label"]) >= 0
    assert relative(np.asarray(after.logits)[:, :-2][real], np.asarray(before.logits)[real]) < 1e-5


def test_a_row_of_padding_stays_finite():
    batch = jax.tree.map(jnp.zeros_like, make_batch()) | {"label": jnp.full((3, 6), -100)}
    for config in KINDS.values():
        assert np.isfinite(run(config, make_params(config), batch=batch).logits).all()


def test_no_token_sees_a_later_one():
    batch = make_batch(targets=(6, 6, 6))
    before = run(TINY, make_params(), batch=batch).logits
    changed = batch | {"label": batch["label"].at[:, 3].set(19)}  # read at the fifth place
    after = run(TINY, make_params(), batch=changed).logits
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (np.abs(before - after).max(-1) > 0)[:, 4:].all()


def test_the_source_and_its_order_matter():
    params, batch = make_params(), make_batch()
    before = run(TINY, params).logits
    ids = batch["input_ids"].at[0].set(batch["input_ids"][0, jnp.array([0, 2, 1, 3, 4])])
    after = run(TINY, params, batch=batch | {"input_ids": ids}).logits
    assert relative(after[0], before[0]) > 1e-5
    np.testing.assert_array_equal(after[1:], before[1:])  # rows do not see each other


def test_masks_of_ones_change_nothing():
    for kind, name in (("bart", "hybrid"), ("mbart", "cofi"), ("marian", "cofi")):
        config = KINDS[kind]
        params = make_params(config)
        pattern = make_pattern(name, models.describe(config), (4, 3))
        ones = {group.name: jnp.ones(group.shape) for group in pattern.groups}
        masked = run(config, params, build_mask_collection(pattern, ones))
        assert relative(masked.logits, run(config, params).logits) < 1e-5


def test_states_scores_and_streams_go_by_name():
    for config in (*KINDS.values(), ragged(TINY)):
        batch, structure = make_batch(), models.describe(config)
        outputs = apply(config, make_params(config), batch, activations=True)
        layers = {each.layer for each in structure.sublayers}
        before = {"encoder/embeddings", "decoder/embeddings"}
        assert outputs.hidden_states.keys() == layers | before
        for name, states in outputs.hidden_states.items():
            assert states.shape == (3, 5 if name.startswith("encoder") else 6, 6)
        assert outputs.streams.keys() == {each.name for each in structure.sublayers}
        attentions = {each.name for each in structure.sublayers if each.mixes and each.units}
        assert outputs.attention_scores.keys() == attentions
        for name, scores in outputs.attention_scores.items():
            meets_itself = name.startswith("decoder") and name.endswith("/attention")
            length = 5 if name.startswith("encoder") else 6
            assert scores.shape[2:] == (length, 6 if meets_itself else 5)
            if meets_itself:
                assert (np.triu(scores, 1) == 0).all() and (np.tril(scores) != 0).any()
    last = outputs.hidden_states["decoder/layer_2"]
    np.testing.assert_array_equal(outputs.hidden, last)


def test_without_a_head_the_decoder_reads_the_source():
    config = TINY.replace(head="none", num_labels=2)
    params, batch = make_params(TINY), make_batch()
    bare = {name: x for name, x in params.items() if name != "head"}
    label = jnp.where(batch["attention_mask"] == 1, batch["input_ids"], -100)
    wanted = run(TINY, params, batch=batch | {"label": label})
    found = run(config, bare, batch=batch)
    assert found.logits is None
    np.testing.assert_array_equal(found.hidden, wanted.hidden)
    written = {kernel.tokens for _, kernel in models.describe(config).kernels()}
    assert written == {"attention_mask"}


def shallow(config):
    """With one layer in each stack: gradients compile in half the time."""
    return config.replace(
        encoder=config.encoder.replace(heads=(2,), ffn=(5,)),
        decoder=config.decoder.replace(heads=(1,), ffn=(3,), cross=(2,)),
    )


def test_dropout_goes_by_its_key_with_remat_and_without():
    small = shallow(TINY)
    params = make_params(small)

    def train(config):
        def loss(params, key):
            rngs = {"dropout": key}
            return run(config, params, deterministic=False, rngs=rngs).logits.sum()

        return jax.jit(jax.value_and_grad(loss))

    keys = [jax.random.key(number) for number in (0, 0, 1)]
    step = train(small)
    (first, gradient), (again, _), (other, _) = (step(params, key) for key in keys)
    assert first == again != other
    value, found = train(small.replace(remat=True))(params, keys[0])
    assert relative(value, first) < 1e-5
    for left, right in zip(*map(jax.tree.leaves, (gradient, found)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)

    still = small.replace(
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder=small.encoder.replace(layer_dropout=0.99),
        decoder=small.decoder.replace(layer_dropout=0.99),
    )
    _, gradient = train(still)(params, keys[0])
    # No layer is left: the encoder's embeddings are read by nobody.
    assert not gradient["encoder"]["positions"]["embedding"].any()
    assert gradient["decoder"]["positions"]["embedding"].any()
    np.testing.assert_array_equal(run(still, params).logits, run(small, params).logits)


def test_is_exported_for_any_two_lengths():
    config = KINDS["mbart"]
    params = make_params(config)
    limits = ["n <= 9", "t <= 9", "n >= 1", "t >= 1", "b >= 1"]
    b, n, t = jax.export.symbolic_shape("b, n, t", constraints=limits)
    names = {"input_ids": (b, n), "attention_mask": (b, n), "label": (b, t)}
    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in names.items()}
    forward = jax.jit(lambda batch: run(config, params, batch=batch).logits)
    exported = jax.export.export(forward)(shapes)
    found = exported.call({name: make_batch()[name] for name in names})
    assert relative(found, run(config, params).logits) < 1e-5


def test_bfloat16_is_close():
    params = make_params()
    wide = run(TINY, params).logits
    for dtype in ("bfloat16", "bfloat16_products"):
        narrow = run(TINY.replace(dtype=dtype), params).logits
        assert narrow.dtype == jnp.float32 and 1e-5 < relative(narrow, wide) < 0.05


def test_sinusoids_are_not_trained():
    for kind in ("bart", "marian"):
        config = shallow(KINDS[kind])
        params = make_params(config)
        loss = jax.jit(jax.grad(lambda params, config=config: run(config, params).logits.sum()))
        gradient = loss(params)
        trained = gradient["decoder"]["positions"]["embedding"].any()
        assert trained == (kind == "bart")
    fresh = models.init(KINDS["marian"], jax.random.key(0))
    table = sinusoids(9, 6)
    np.testing.assert_array_equal(fresh["encoder"]["positions"]["embedding"], table)
    expected = [np.sin(4), np.sin(4 / 10000 ** (1 / 3)), np.cos(4)]
    np.testing.assert_allclose(table[4, [0, 1, 3]], expected, rtol=1e-6)


def test_refuses_rows_longer_than_the_positions():
    for batch in (make_batch(sources=(10, 3, 1)), make_batch(targets=(10, 3, 1))):
        with pytest.raises(UserError, match="input of 10 tokens: expected at most 9"):
            run(TINY, make_params(), batch=batch)
    with pytest.raises(UserError, match="input of 10 tokens: expected at most 9"):
        bart.ARCHITECTURE.decoder.start(TINY, {"params": make_params()}, make_batch(), 10)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"encoder": TINY.encoder.replace(heads=(1,))},
            "encoder of 1 and 2 layers: expected one entry a layer",
        ),
        ({"decoder": TINY.decoder.replace(cross=())}, "cross-attention of 0 decoder layers"),
        ({"encoder": TINY.encoder.replace(cross=(1, 1))}, "cross-attention of 2 decoder layers"),
        ({"decoder": TINY.decoder.replace(ffn=(1, -1))}, "a sublayer of -1: expected 0 or more"),
        ({"hidden_size": 0}, "a size of 0: expected 1 or more"),
        ({"head": "classification"}, "head 'classification': expected one of none, seq2seq"),
        ({"num_labels": 3}, "seq2seq head, 3 labels: expected 20"),
        ({"activation": "tanh"}, "activation 'tanh': expected one of gelu"),
        ({"dtype": "float16"}, "dtype 'float16': expected one of float32"),
        ({"dropout": 1.0}, r"dropouts .*: expected rates in \[0, 1\)"),
        ({"pad_token_id": 20}, "pad_token_id 20: expected 0 to 19"),
        ({"decoder_start_token_id": None}, "decoder_start_token_id -1: expected 0 to 19"),
    ],
)
def test_refuses_a_config(changes, match):
    with pytest.raises(UserError, match=match):
        TINY.replace(**changes)


@pytest.mark.parametrize("kind", ["bart", "mbart"])
def test_cheaper_operations_take_the_place_of_others(kind):
    """Each norm averages over the tokens of its own stack."""
    config, names = KINDS[kind], ("relu", "affine_norm")
    params, batch = make_params(config), make_batch()
    whole = {name: approximate(config, names, share, batch) for name, share in SHARES.items()}
    before = run(config, params)
    same = apply(config, params, batch, approximations=whole["none"])
    np.testing.assert_allclose(same.logits, before.logits, rtol=1e-4, atol=1e-5)
    last = apply(config, params, batch, approximations=whole["all"])
    after, folded = finish(config, names, params, {}, [batch])
    assert (after.activation, after.norm) == ("relu", "affine")
    real = np.asarray(batch["label"]) >= 0
    found = apply(after, folded, batch).logits
    assert relative(np.asarray(found)[real], np.asarray(last.logits)[real]) < 1e-4
    assert relative(np.asarray(found)[real], np.asarray(before.logits)[real]) > 1e-3


# Writing, a token at a time.


@pytest.mark.parametrize(
    ("kind", "shape"),
    [*((kind, lambda config: config) for kind in KINDS), ("bart", ragged), ("pegasus", ragged)],
    ids=[*KINDS, "bart-ragged", "pegasus-ragged"],
)
def test_step_by_step_is_the_whole_pass(kind, shape):
    """Each of two beams of a source writes a text of its own, which a whole pass is given, too."""
    with jax.enable_x64(True):
        config = shape(KINDS[kind]).replace(dtype="float64")
        decoder, params = bart.ARCHITECTURE.decoder, make_params(config)
        batch, length, beams = make_batch(), 5, 2
        pattern = make_pattern("hybrid", models.describe(config), (3, 2))
        generator = np.random.default_rng(3)
        values = {
            g.name: jnp.asarray(generator.random(g.shape) < 0.7, float) for g in pattern.groups
        }
        masks = build_mask_collection(pattern, values)
        variables = {"params": params, "masks": masks}
        first = decoder.prompt(config, batch)
        assert first.shape == (3, 1) and (first == 2).all()
        texts = np.asarray(generator.integers(3, 20, (3, beams, length)))
        texts[:, :, 0] = np.asarray(first)

        cache = decoder.start(config, variables, batch, length)
        assert all(x.shape[0] == 3 for x in jax.tree.leaves(cache.own))
        cache = cache._replace(own=jax.tree.map(lambda x: jnp.repeat(x, beams, 0), cache.own))
        step = jax.jit(lambda tokens, i, cache: decoder.step(config, variables, tokens, i, cache))
        found = []
        for i in range(length):
            logits, cache = step(jnp.asarray(texts[:, :, i]), jnp.asarray(i), cache)
            found.append(logits)
        assert step._cache_size() == 1
        found = np.stack(found, 2)
        for beam in range(beams):
            label = np.concatenate([texts[:, beam, 1:], texts[:, beam, :1]], 1)  # mBART's wraps
            whole = run(config, params, masks, batch | {"label": jnp.asarray(label)})
            assert relative(found[:, beam], whole.logits) < 1e-12


def test_a_model_without_a_first_token_says_so():
    generation = TINY.generation.replace(decoder_start_token_id=None)
    config = KINDS["mbart"].replace(generation=generation, decoder_start_token_id=None)
    run(config, make_params(config))
    with pytest.raises(UserError, match="decoder_start_token_id is None: expected the token"):
        bart.ARCHITECTURE.decoder.prompt(config, make_batch())
