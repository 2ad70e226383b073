"""Packed batches: every row once, and what comes out is what rows apart give."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import save_model
from tiny import TINY, make_params, pattern_of

from bpjax.config import default_config, validate
from bpjax.errors import UserError
from bpjax.models.bert import describe
from bpjax.models.heads import HEADS
from bpjax.models.inputs import PACKED
from bpjax.models.layers import attention
from bpjax.pipeline import plan
from bpjax.pruning.methods import make_method
from bpjax.pruning.schedules import cubic
from bpjax.stages.inputs import check_inputs, prepare
from bpjax.tasks.base import Features
from bpjax.training.approximations import approximate
from bpjax.training.evaluation import apply
from bpjax.training.importances import squared_gradients
from bpjax.training.input import Batching, train_batches
from bpjax.training.loss import loss_of
from bpjax.training.packing import make_bins, plan_strata
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import _observed
from bpjax.training.terms import Teacher, init_learned

STILL = TINY.replace(hidden_dropout=0.0, attention_dropout=0.0, max_positions=24)
SIZE = 16


def make_features(count, longest=SIZE, seed=0):
    generator = np.random.default_rng(seed)
    rows = [
        {
            "input_ids": generator.integers(2, TINY.vocab_size, n).astype(np.int32),
            "token_type_ids": (np.arange(n) > n // 2).astype(np.int32),
            "label": np.array(i % 3, np.int32),
        }
        for i, n in enumerate(generator.integers(1, longest + 1, count))
    ]
    return Features.of(rows, range(count))


def packed_batches(features, size=4, packing=SIZE, epochs=1):
    found = train_batches(features, Batching(size, packing=packing), seed=3, epochs=epochs)
    return [jax.tree.map(jnp.asarray, batch) for batch in found]


def apart(batch):
    return {name: value for name, value in batch.items() if name != PACKED}


def real(batch):
    return np.asarray(batch["attention_mask"] * batch["weight"][:, None]) > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=70), st.integers(1, 9), st.integers(0, 9))
def test_an_epoch_has_every_row_once_and_every_batch_fits(lengths, size, seed):
    lengths = np.array(lengths, np.int32)
    bins = make_bins(lengths, size, 30)
    assert sorted(row for rows in bins.rows for row in rows) == [*range(size)]
    plan = plan_strata(lengths, size, seed, epoch=1)
    assert plan.shape == (-(-len(lengths) // size), size)
    assert sorted(plan[plan >= 0]) == [*range(len(lengths))]
    for rows in plan:
        of_batch = np.where(rows < 0, 0, lengths[rows])
        tokens = bins.fill(of_batch)
        assert tokens.shape == (len(bins.rows), 30)
        wanted = [row * bins.length + t for row, n in enumerate(of_batch) for t in range(n)]
        assert sorted(tokens[tokens >= 0]) == wanted


def test_one_shape_serves_all_epochs_and_little_is_empty():
    features = make_features(200)
    batches = packed_batches(features, size=8, epochs=3)
    assert len({batch[PACKED].shape for batch in batches}) == 1
    (first, second) = (np.concatenate([b["index"] for b in batches[i : i + 25]]) for i in (0, 25))
    assert sorted(first) == sorted(second) == [*range(200)] and [*first] != [*second]
    assert np.mean([(batch[PACKED] >= 0).mean() for batch in batches]) > 0.75
    # Batches of all lengths, not of one.
    assert all(np.ptp(features.lengths[batch["index"]]) > 8 for batch in batches)


def test_training_resumes_at_any_step():
    features = make_features(30)
    whole = packed_batches(features, epochs=2)
    batching = Batching(4, packing=SIZE)
    (last,) = train_batches(features, batching, seed=3, epochs=2, start_step=len(whole) - 1)
    assert all(np.array_equal(last[name], whole[-1][name]) for name in last)


@pytest.mark.parametrize("head", ["classification", "span", "none"])
@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", {"model_type": "electra", "embedding_size": 5}]
)
def test_a_model_says_of_packed_rows_what_it_says_of_rows_apart(family, head):
    family = family if isinstance(family, dict) else {"model_type": family}
    labels = HEADS[head].outputs(3)
    config = STILL.replace(head=head, num_labels=labels, **family)
    params = make_params(config)
    for batch in packed_batches(make_features(10)):
        ours, right = (apply(config, params, x, activations=True) for x in (batch, apart(batch)))
        places = real(batch)
        pairs = [(ours.hidden, right.hidden)]
        pairs += [(ours.hidden_states[k], x) for k, x in right.hidden_states.items()]
        for one, other in pairs:
            np.testing.assert_allclose(one[places], other[places], rtol=2e-4, atol=2e-5)
            assert not np.asarray(one)[~places].any()
        if head != "none":
            places = places if HEADS[head].per_token else places.any(-1)
            one, other = ours.logits[places], right.logits[places]
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("form", ["_attend_batched", "_attend_by_head"])
def test_no_row_meets_another_of_its_bin(monkeypatch, form):
    monkeypatch.setattr(attention, "_attend_batched", getattr(attention, form))
    params = make_params(STILL)
    batch, *_ = packed_batches(make_features(12), size=6)
    bins = np.asarray(batch[PACKED])
    length = batch["input_ids"].shape[1]
    bin_of = {row: i for i, b in enumerate(bins) for row in {*(b[b >= 0] // length).tolist()}}
    row, others = 0, [other for other in bin_of if other and bin_of[other] == bin_of[0]]
    assert others
    before = apply(STILL, params, batch)
    ids = batch["input_ids"].at[jnp.array(others)].set(1)
    after = apply(STILL, params, {**batch, "input_ids": ids})
    np.testing.assert_array_equal(before.hidden[row], after.hidden[row])
    assert np.abs(before.hidden[others[0]] - after.hidden[others[0]]).max() > 0.01


def test_loss_and_gradient_are_those_of_rows_apart():
    """Masks, scores, the teacher, hidden states and layers compared: all of a step."""
    pattern = pattern_of("hybrid", (3, 2), STILL)
    schedule = cubic(steps=8, warmup_steps=0, threshold=(0.0, 0.9), density=(1, 1), penalty=5.0)
    pruning = Pruning(make_method("movement", pattern), pattern, schedule)
    teacher = Teacher(
        STILL, make_params(STILL, seed=5), 0.5, 2.0, terms=((0.3, "hidden"), (0.2, "layers"))
    )
    structure = describe(STILL)
    recipe = Recipe(STILL, structure, HEADS["classification"], pruning, optax.sgd(0.1), teacher)
    learned = init_learned(teacher, structure, structure)
    params = make_params(STILL)
    state = init_state(params, pruning, recipe.optimizer, jax.random.key(0), learned)
    find = jax.jit(jax.grad(lambda *given: loss_of(recipe, *given), has_aux=True))
    for batch in packed_batches(make_features(11)):
        scheduled = schedule(jnp.array(4))
        (ours, told), (right, known) = (
            find(state.trained, state, x, scheduled, teacher.params) for x in (batch, apart(batch))
        )
        assert told.keys() == known.keys()
        for name, value in known.items():
            np.testing.assert_allclose(told[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), ours, right
        )


def test_bins_that_take_turns_see_what_rows_apart_see():
    """Importances are the mean over all rows, whichever bin they lie in."""
    pattern, params = pattern_of("struct", (1, 1), STILL), make_params(STILL)
    (batch,) = packed_batches(make_features(6), size=6)
    bins = len(batch[PACKED])
    assert bins > 1 and len({*np.asarray((batch[PACKED] >= 0).sum(-1)).tolist()}) > 1

    @jax.jit
    def squares(batch):
        return squared_gradients(
            STILL, HEADS["classification"], pattern, params, {}, batch, jax.random.key(0)
        )[0]

    seen = [_observed(batch, jnp.array(step)) for step in range(bins)]
    assert sum(rows["weight"] for rows, _ in seen).tolist() == [1.0] * 6
    found = [jax.tree.map(lambda x, s=share: s * x, squares(rows)) for rows, share in seen]
    mean = jax.tree.map(lambda *x: sum(x) / bins, *found)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-7),
        mean,
        squares(apart(batch)),
    )


def test_norms_average_over_the_same_tokens():
    params = make_params(STILL)
    for batch in packed_batches(make_features(7)):
        ours, right = (
            apply(
                STILL,
                params,
                x,
                approximations=approximate(STILL, ("relu", "affine_norm"), 0.5, x),
            )
            for x in (batch, apart(batch))
        )
        places = real(batch)
        np.testing.assert_allclose(ours.hidden[places], right.hidden[places], rtol=2e-4, atol=2e-5)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    save_model(folder / "model")
    rows = [f"{'very ' * (i % 9)}good,{i % 2}" for i in range(40)]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    config = default_config(task="text")
    config.model.source, config.task.data = str(folder / "model"), str(folder / "train.csv")
    config.task.allow_overlap = True
    config.prune.epochs = config.fill.epochs = 1
    config.prune.warmup_steps = config.fill.warmup_steps = config.teacher.warmup_steps = 0
    config.batch.size, config.batch.packing = 8, 60
    config.measure.shapes = ("1x16",)
    return config


def test_a_config_packs(config):
    assert config.pruning.method == "fisher"  # which looks at some rows apart
    planned = plan(config, Path("unused"))
    assert planned["steps"]["prune"] == 4 and planned["step_bytes"] > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch.packing": 8}, "packing is 8: expected at least 38, the tokens of row [0-9]+; rai"),
        ({"batch.accumulate": 2}, "packing is 60, with batch.accumulate 2: expected 1; set batch"),
        (
            {"distillation.attention.prune": 1.0},
            "with distillation.attention.prune, which compares the scores of whole rows: expected",
        ),
    ],
)
def test_what_cannot_be_packed_is_refused(config, changes, told):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    typed = validate(config)
    with pytest.raises(UserError, match=told):
        check_inputs(prepare(typed), typed)
