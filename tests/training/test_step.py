"""The training step: one compilation, donated buffers, what moves and what does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TINY, make_params, pattern_of

from bpjax.models.bert import describe
from bpjax.models.heads import HEADS, NO_LABEL
from bpjax.models.inputs import TEACHER_LOGITS
from bpjax.pruning.methods import make_method
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.patterns import build_mask_collection
from bpjax.pruning.schedules import cubic
from bpjax.training.augment import replace_tokens
from bpjax.training.evaluation import forward
from bpjax.training.loss import accumulated, loss_of
from bpjax.training.optimizer import make_optimizer
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import make_train_step
from bpjax.training.terms import Teacher, init_learned

STILL = TINY.replace(hidden_dropout=0.0, attention_dropout=0.0, heads=(2,), intermediate=(5,))
MOVING = STILL.replace(hidden_dropout=0.5)
CLASSIFY = HEADS["classification"]
# Adam would turn the rounding of gradients that ought to be zero, such as the key biases', into
# whole steps; where results of two computations are compared, the plain gradient is followed.
SGD = optax.sgd(0.1)
OPTIMIZER = make_optimizer(steps=8, warmup_steps=0, learning_rate=0.01, score_learning_rate=0.1)


def make_batch(length=4, rows=3, padding=0, seed=0):
    generator = np.random.default_rng(seed)
    total = rows + padding
    real = (np.arange(total) < rows)[:, None]
    mask = np.where(real, np.arange(length) < generator.integers(2, length + 1, (total, 1)), 0)
    mask[rows:, 0] = 1
    batch = {
        "input_ids": np.where(real, generator.integers(0, 20, (total, length)), 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": np.zeros((total, length), np.int32),
        "label": (np.arange(total) % 3 * real[:, 0]).astype(np.int32),
        "weight": real[:, 0].astype(np.float32),
        "index": np.where(real[:, 0], np.arange(total), -1).astype(np.int32),
    }
    return jax.tree.map(jnp.asarray, batch)


def prune(method="movement", steps=8, density=0.3, threshold=0.9, penalty=5.0, **options):
    pattern = pattern_of("hybrid", (3, 2), STILL)
    schedule = cubic(
        steps=steps,
        warmup_steps=0,
        threshold=(0.0, threshold),
        density=(1.0, density),
        penalty=penalty,
    )
    return Pruning(make_method(method, pattern, **options), pattern, schedule)


DENSE = Pruning(dense(), NO_PATTERN, cubic(steps=8, warmup_steps=0))
SOFT, TOP_K, MAGNITUDE = prune(), prune(binarizer="top_k"), prune("magnitude")
TEACHER = Teacher(STILL, make_params(STILL, seed=5), weight=0.7, temperature=3.0)
STEPS = {}


def make_recipe(config, pruning, optimizer, teacher=None, **options):
    head = HEADS[config.head]
    return Recipe(config, describe(config), head, pruning, optimizer, teacher, **options)


def make_step(*given, **options):
    return make_train_step(make_recipe(*given, **options))


def step_of(pruning=DENSE, config=STILL, teacher=None, optimizer=OPTIMIZER):
    """Each step is made once, for the time of a test here is that of compiling."""
    key = (pruning, config, teacher is None, optimizer)
    if key not in STEPS:
        STEPS[key] = make_step(config, pruning, optimizer, teacher)
    return STEPS[key]


def train(pruning=DENSE, config=STILL, teacher=None, optimizer=OPTIMIZER, batches=None, seed=0):
    """Steps through the batches: the step, its last state and the metrics of each."""
    step = step_of(pruning, config, teacher, optimizer)
    state = init_state(make_params(STILL), pruning, optimizer, jax.random.key(seed))
    found = []
    for batch in batches or [make_batch()]:
        state, metrics = step(state, batch)
        found.append(jax.device_get(metrics))
    return step, state, found


def same(left, right, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), left, right)


@pytest.mark.parametrize(
    ("pruning", "moving"),
    [
        (SOFT, "threshold"),
        (TOP_K, "density"),
        (MAGNITUDE, "density"),
    ],
    ids=["sigmoid_threshold", "top_k", "magnitude"],
)
def test_one_compilation_for_each_batch_shape(pruning, moving):
    batches = [make_batch(length, seed=i) for i, length in enumerate((4, 6, 4, 6, 4, 6, 4, 6))]
    STEPS.clear()  # others have stepped from states of their own, restored ones say
    step, state, metrics = train(pruning, batches=batches)
    assert step.compilations() == 2
    assert int(state.step) == 8
    values = [float(m[moving]) for m in metrics]
    assert len(set(values)) > 2 and values == sorted(values, reverse=moving == "density")


def test_the_states_buffers_are_donated():
    pruning, step = SOFT, step_of(SOFT)
    params = jax.tree.map(jnp.asarray, make_params(STILL))
    before = init_state(params, pruning, OPTIMIZER, jax.random.key(0))
    after, _ = step(before, make_batch())
    assert all(x.is_deleted() for x in jax.tree.leaves((before.params, before.opt_state)))
    assert all(x.is_deleted() for x in jax.tree.leaves(before.method.learned))
    assert not any(x.is_deleted() for x in jax.tree.leaves((after, params)))


def test_altered_rows_are_taught_by_the_teacher_alone():
    # A teacher with the student's own parameters has nothing to teach, whatever the tokens; what
    # moves the student is the labels of the rows that were left alone.
    source = TEACHER._replace(params=make_params(STILL), replace=1.0)
    batch = make_batch(rows=64)
    step = make_step(STILL, DENSE, SGD, source)
    state = init_state(make_params(STILL), DENSE, SGD, jax.random.key(0))
    *_, exchange = jax.random.split(jax.random.fold_in(state.rng, 0), 3)
    _, labelled = replace_tokens(batch, 1.0, exchange)
    assert 16 < labelled["weight"].sum() < 48
    expected = CLASSIFY.loss(forward(STILL, make_params(STILL), labelled), labelled)
    # Logits of the rows as they were: they no longer hold.
    stale = {**batch, TEACHER_LOGITS: jnp.full((64, 3), 7.0).at[:, 0].set(0)}
    _, metrics = step(state, stale)
    assert float(metrics["distillation"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["task_loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_activations_are_matched_in_the_same_pass():
    params = make_params(STILL)
    for same_as_teacher in (True, False):
        source = params if same_as_teacher else make_params(STILL, seed=5)
        teacher = TEACHER._replace(params=source, terms=((0.5, "hidden"), (2.0, "attention")))
        step = make_step(STILL, DENSE, SGD, teacher)
        state = init_state(params, DENSE, SGD, jax.random.key(0))
        _, metrics = step(state, make_batch())
        found = {name: float(metrics[name]) for name in ("hidden", "attention", "distillation")}
        if same_as_teacher:
            assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)
        else:
            assert min(found.values()) > 1e-3
        expected = 0.7 * found["distillation"] + 0.3 * float(metrics["task_loss"])
        expected += 0.5 * found["hidden"] + 2.0 * found["attention"]
        assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_cofi_learns_from_layers_of_a_wider_and_deeper_teacher():
    pattern = pattern_of("cofi", (1, 1), STILL)
    schedule = cubic(steps=8, warmup_steps=0, density=(1.0, 0.3))
    pruning = Pruning(make_method("cofi", pattern), pattern, schedule)
    large = STILL.replace(hidden_size=10, heads=(2,) * 3, intermediate=(5,) * 3)
    teacher = Teacher(large, make_params(large, seed=5), weight=1.0, terms=((2.0, "layers"),))
    step = make_step(STILL, pruning, OPTIMIZER, teacher)
    start = init_learned(teacher, describe(STILL), describe(large))
    np.testing.assert_array_equal(start, np.eye(6, 10))
    state = init_state(make_params(STILL), pruning, OPTIMIZER, jax.random.key(0), start)
    for i in range(3):
        state, metrics = step(state, make_batch(seed=i))
        expected = metrics["distillation"] + 2 * metrics["layers"] + metrics["penalty"]
        assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert step.compilations() == 1
    assert float(metrics["layers"]) > 0 and float(metrics["density"]) < 1
    assert (state.projection != start).any()
    assert state.method.learned["multipliers"]["quadratic"] > 0
    assert init_state(make_params(STILL), pruning, OPTIMIZER, state.rng).projection is None


def test_the_dense_method_is_plain_training():
    batches = [make_batch(seed=i) for i in range(3)]
    _, state, metrics = train(optimizer=SGD, batches=batches)
    assert set(metrics[0]) == {"loss", "task_loss", "gradient_norm"}

    @jax.value_and_grad
    def differentiate(params, batch):
        return CLASSIFY.loss(forward(STILL, params, batch), batch)

    params, differentiate = make_params(STILL), jax.jit(differentiate)
    for batch, found in zip(batches, metrics, strict=True):
        value, gradient = differentiate(params, batch)
        assert found["loss"] == pytest.approx(float(value), rel=1e-5)
        # As it was before clipping, of which tests/test_optimizer.py tells.
        assert found["gradient_norm"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
        params = jax.tree.map(lambda x, g: x - 0.1 * g, params, gradient)
    same(state.params, params, rtol=1e-4, atol=1e-6)


def test_the_loss_is_mixed_of_task_teacher_and_penalty():
    batch = make_batch()
    _, _, (first, second) = train(SOFT, teacher=TEACHER, optimizer=SGD, batches=[batch, batch])
    assert first["penalty"] == 0 and second["penalty"] > 0  # λ rises with the threshold
    for metrics in (first, second):
        mixed = 0.7 * metrics["distillation"] + 0.3 * metrics["task_loss"] + metrics["penalty"]
        assert metrics["loss"] == pytest.approx(mixed, rel=1e-6)
    logits = forward(STILL, make_params(STILL), batch)
    expected = CLASSIFY.distill(logits, forward(STILL, TEACHER.params, batch), batch, 3.0)
    assert first["distillation"] == pytest.approx(float(expected), rel=1e-5)
    assert first["task_loss"] == pytest.approx(float(CLASSIFY.loss(logits, batch)), rel=1e-5)


def test_the_teacher_is_not_changed():
    before = jax.tree.map(np.array, TEACHER.params)
    step, _, _ = train(SOFT, teacher=TEACHER, optimizer=SGD, batches=[make_batch()] * 3)
    assert not any(x.is_deleted() for x in jax.tree.leaves(step.teacher_params))
    same(step.teacher_params, before, rtol=0)


@pytest.mark.parametrize(
    ("weights", "scores"), [(0.01, 0.0), (0.0, 0.1)], ids=["weights", "scores"]
)
def test_weights_and_scores_move_by_their_own_rates(weights, scores):
    optimizer = make_optimizer(
        steps=8, warmup_steps=0, learning_rate=weights, score_learning_rate=scores
    )
    _, state, _ = train(SOFT, optimizer=optimizer, batches=[make_batch()] * 2)
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), state.params, make_params(STILL))
    assert any(jax.tree.leaves(moved)) == bool(weights)
    assert all(bool(x.any()) for x in jax.tree.leaves(state.method.learned)) == bool(scores)


def test_the_masks_are_in_the_forward_pass():
    method, pattern, schedule, _ = MAGNITUDE
    state = init_state(make_params(STILL), MAGNITUDE, OPTIMIZER, jax.random.key(0))
    state = state._replace(step=jnp.int32(8))
    values = method.masks(state.method, state.params, schedule(8), None)
    batch = make_batch()
    logits = forward(STILL, state.params, batch, build_mask_collection(pattern, values))
    expected = float(CLASSIFY.loss(logits, batch))
    _, metrics = step_of(MAGNITUDE)(state, batch)
    assert float(metrics["task_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["density"]) == pytest.approx(0.3, abs=0.1)


def test_dropout_differs_by_step_and_repeats_by_seed():
    frozen = make_optimizer(steps=8, warmup_steps=0, learning_rate=0.0)
    run = functools.partial(train, config=MOVING, optimizer=frozen, batches=[make_batch()] * 3)
    losses = [[float(m["loss"]) for m in run(seed=seed)[2]] for seed in (0, 0, 1)]
    assert len(set(losses[0])) == 3
    assert losses[0] == losses[1] != losses[2]


def test_a_padding_row_changes_nothing():
    batch, padded = make_batch(rows=3), make_batch(rows=3, padding=2)
    padded = {name: x.at[:3].set(batch[name]) for name, x in padded.items()}
    results = [train(SOFT, teacher=TEACHER, optimizer=SGD, batches=[b, b]) for b in (batch, padded)]
    (_, left, metrics), (_, right, others) = results
    same(metrics, others, rtol=1e-5)
    same(left.params, right.params, rtol=1e-4, atol=1e-6)
    same(left.method.learned, right.method.learned, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", [{"accumulate": 4}, {"remat": True}], ids=str)
def test_less_memory_and_the_same_step(change):
    # Five rows and three of padding: parts of unlike weight.
    batch, change = make_batch(rows=5, padding=3), dict(change)
    config = STILL.replace(remat=change.pop("remat", False))
    results = []
    for step in (
        make_step(STILL, SOFT, SGD, TEACHER),
        make_step(config, SOFT, SGD, TEACHER, **change),
    ):
        state = init_state(make_params(STILL), SOFT, SGD, jax.random.key(0))
        results.append(step(state, batch))
    (plain, told), (other, said) = results
    same(plain.params, other.params, rtol=1e-5, atol=1e-7)
    same(plain.method.learned, other.method.learned, rtol=1e-5, atol=1e-7)
    same(told, said, rtol=1e-5, atol=1e-7)


def ragged_batch(head):
    """Rows of unlike lengths and three of padding; half of the tokens have no label."""
    batch = make_batch(6, rows=13, padding=3, seed=2)
    last = batch["attention_mask"].sum(1) - 1
    labels = {
        "span": {"start_position": 0 * last, "end_position": last},
        "regression": {"label": batch["label"].astype(jnp.float32)},
        "tokens": {"label": jnp.where(batch["input_ids"] % 2, NO_LABEL, batch["input_ids"] % 3)},
    }
    return batch | labels.get(head, {})


@pytest.mark.parametrize(
    ("head", "accumulate", "terms"),
    [
        ("regression", 16, ((0.5, "hidden"),)),
        ("span", 2, ((2.0, "attention"),)),
        ("tokens", 4, ((1.0, "layers"),)),
        ("embedding", 8, ((3.0, "similarity"),)),
    ],
)
def test_parts_of_a_batch_add_up_to_its_gradient(head, accumulate, terms):
    """Each term is a mean over something else, of which parts have more or less.

    Labels of about half of the rows are left out, masks are drawn, and the layers that are nearest
    in a part are not those of the batch.
    """
    labels = {"span": 2, "regression": 1, "embedding": 6}.get(head, 3)
    config = STILL.replace(heads=(2, 2), intermediate=(5, 5), head=head, num_labels=labels)
    pattern = pattern_of("hybrid", (3, 2), config)
    schedule = cubic(steps=8, warmup_steps=0, penalty=5.0)
    pruning = Pruning(make_method("l0", pattern), pattern, schedule)
    teacher = Teacher(config, make_params(config, seed=5), 0.7, 3.0, 0.5, terms)
    recipe, batch = make_recipe(config, pruning, SGD, teacher), ragged_batch(head)
    # A map with which some parts have other nearest layers than the batch.
    learned = jax.random.normal(jax.random.key(118), (6, 6)) if head == "tokens" else None
    state = init_state(make_params(config), pruning, SGD, jax.random.key(0), learned)
    given = state.trained, state, batch, schedule(4), teacher.params
    whole = jax.jit(jax.grad(functools.partial(loss_of, recipe), has_aux=True))(*given)
    divided = recipe._replace(accumulate=accumulate)
    found = jax.jit(functools.partial(accumulated, divided))(*given)
    same(found, whole, rtol=1e-5, atol=1e-6)


def test_each_part_has_a_dropout_of_its_own():
    # Rows stand twice, so that both parts hold the same ones: only their keys tell them apart.
    whole = make_batch(rows=4)
    doubled = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), whole)
    recipe = make_recipe(MOVING, DENSE, SGD, accumulate=2)
    state = init_state(make_params(MOVING), DENSE, SGD, jax.random.key(0))
    scheduled = DENSE.schedule(state.step)
    _, found = jax.jit(functools.partial(accumulated, recipe))(
        state.trained, state, doubled, scheduled, {}
    )

    @jax.jit
    def loss(number):
        apart = state._replace(rng=jax.random.fold_in(state.rng, number))
        return loss_of(recipe, state.trained, apart, whole, scheduled, {})[0]

    first, second = float(loss(0)), float(loss(1))
    assert abs(first - second) > 1e-2
    assert float(found["loss"]) == pytest.approx((first + second) / 2, rel=1e-5)


def test_a_head_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="head none has no loss"):
        make_step(STILL.replace(head="none"), DENSE, SGD)


def test_a_head_without_a_loss_learns_from_its_teacher_alone():
    config = STILL.replace(head="embedding")
    teacher = Teacher(config, make_params(config, seed=5), 0.7, terms=((2.0, "similarity"),))
    step = make_step(config, DENSE, SGD, teacher)
    state = init_state(make_params(config), DENSE, SGD, jax.random.key(0))
    _, told = step(state, make_batch())
    assert "task_loss" not in told
    expected = 0.7 * told["distillation"] + 2 * told["similarity"]
    assert float(told["loss"]) == pytest.approx(float(expected), rel=1e-6)


def test_parameters_in_bfloat16_are_a_copy():
    # The state's own move by less than bfloat16 can tell.
    optimizer = make_optimizer(steps=8, warmup_steps=0, learning_rate=1e-5)
    moved = []
    for dtype in (None, "bfloat16"):
        step = make_step(STILL, SOFT, optimizer, params_dtype=dtype)
        state = init_state(make_params(STILL), SOFT, optimizer, jax.random.key(0))
        state, _ = step(state, make_batch())
        before = make_params(STILL)
        moved.append(jax.tree.map(lambda x, y: float(jnp.abs(x - y).mean()), state.params, before))
    same(*(sum(jax.tree.leaves(x)) for x in moved), rtol=0.1)
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_the_memory_of_a_step_is_known():
    step, state, _ = train(SOFT)
    batch = make_batch()
    given = sum(x.nbytes for x in jax.tree.leaves((state.params, state.opt_state, batch)))
    assert step.memory(state, batch) > given
