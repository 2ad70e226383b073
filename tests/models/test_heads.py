"""Heads: losses and distillation by their equations, in double precision, and what they predict."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TINY, make_params

from bpjax.errors import UserError
from bpjax.models.bert import BertConfig, describe
from bpjax.models.bert.encoders import BERT, ENCODERS
from bpjax.models.heads import HEADS, NO_LABEL, Head, weighted_mean
from bpjax.pruning.methods.dense import NO_PATTERN, dense
from bpjax.pruning.schedules import cubic
from bpjax.stages.equivalence import predictions_changed
from bpjax.tasks.base import Features
from bpjax.training.evaluation import forward, predict
from bpjax.training.input import Batching, eval_batches
from bpjax.training.state import Pruning, Recipe, init_state
from bpjax.training.step import make_train_step
from bpjax.training.teacher_logits import cached_logits
from bpjax.training.terms import Teacher

# Two rows that count, of four and two tokens, and one that fills the batch up.
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
WEIGHT = np.array([1.0, 1.0, 0.0])
LABELS = {
    "classification": {"label": np.array([2, 0, 1])},
    "regression": {"label": np.array([0.5, -2.0, 9.0])},
    "span": {"start_position": np.array([1, 0, 0]), "end_position": np.array([3, 1, 0])},
    # The first token of the first row has no label, and none at padding counts.
    "tokens": {"label": np.array([[NO_LABEL, 0, 2, 1], [1, 1, 2, NO_LABEL], [0, 0, 0, 0]])},
}
SHAPES = {
    "classification": (3, 3),
    "regression": (3, 1),
    "span": (3, 4, 2),
    "tokens": (3, 4, 3),
    "embedding": (3, 5),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def batch_of(**more):
    return jax.tree.map(jnp.asarray, {"attention_mask": MASK, "weight": WEIGHT} | more)


def draw(name, seed=0):
    return np.random.default_rng(seed).normal(scale=2.0, size=SHAPES[name])


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def cross_entropy(logits, label):
    return -np.log(softmax(logits)[label])


def divergence(student, teacher, temperature):
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return (p * np.log(p / q)).sum() * temperature**2


def expected_loss(name, outputs, labels):
    """By loops over the two rows that count and their real tokens."""
    if name == "classification":
        return np.mean([cross_entropy(outputs[i], labels["label"][i]) for i in range(2)])
    if name == "regression":
        return np.mean([(outputs[i, 0] - labels["label"][i]) ** 2 for i in range(2)])
    if name == "span":
        places = labels["start_position"], labels["end_position"]
        rows = [outputs[0], outputs[1, :2]]
        return np.mean([cross_entropy(rows[i][:, j], places[j][i]) for i in (0, 1) for j in (0, 1)])
    found = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    return np.mean([cross_entropy(outputs[at], labels["label"][at]) for at in found])


def expected_distillation(name, student, teacher, temperature):
    differ = functools.partial(divergence, temperature=temperature)
    if name == "embedding":
        return np.mean([((student[i] - teacher[i]) ** 2).sum() for i in range(2)])
    if name == "regression":
        return np.mean([(student[i] - teacher[i]) ** 2 for i in range(2)])
    if name == "classification":
        return np.mean([differ(student[i], teacher[i]) for i in range(2)])
    if name == "span":
        rows = [(student[0], teacher[0]), (student[1, :2], teacher[1, :2])]
        return np.mean([differ(s[:, j], t[:, j]) for s, t in rows for j in (0, 1)])
    real = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    return np.mean([differ(student[at], teacher[at]) for at in real])


@pytest.mark.parametrize("name", LABELS)
def test_the_loss_is_its_equation(name):
    head, batch = HEADS[name], batch_of(**LABELS[name])
    outputs = draw(name)
    value, gradient = jax.value_and_grad(head.loss)(jnp.asarray(outputs), batch)
    assert float(value) == pytest.approx(expected_loss(name, outputs, LABELS[name]), rel=1e-12)
    assert np.isfinite(gradient).all() and gradient[:2].any()
    assert not gradient[2].any()  # the row that fills the batch up
    if head.per_token:
        assert not gradient[1, 2:].any()  # padding
    assert head.loss(jnp.asarray(outputs), batch | {"weight": jnp.zeros(3)}) == 0
    assert head.loss(jnp.asarray(outputs, jnp.bfloat16), batch).dtype.itemsize >= 4
    assert set(LABELS[name]) == {label.name for label in head.labels}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("name", SHAPES)
def test_distillation_is_its_equation(name, temperature):
    distill, batch = HEADS[name].distill, batch_of()
    student, teacher = draw(name), draw(name, seed=1)
    given = jnp.asarray(student), jnp.asarray(teacher)
    expected = expected_distillation(name, student, teacher, temperature)
    value, gradients = jax.value_and_grad(distill, (0, 1))(*given, batch, temperature)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    assert not gradients[1].any()  # the teacher's
    assert gradients[0][:2].any() and not gradients[0][2].any()
    assert distill(*given, batch | {"weight": jnp.zeros(3)}, temperature) == 0
    value, gradient = jax.value_and_grad(distill)(given[0], given[0], batch, temperature)
    assert float(value) == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


@pytest.mark.parametrize("name", ["span", "tokens"])
def test_longer_padding_changes_nothing(name):
    head, batch = HEADS[name], batch_of(**LABELS[name])
    student, teacher = draw(name), draw(name, seed=1)
    longer = {
        key: jnp.pad(value, ((0, 0), (0, 3))) if value.ndim > 1 else value
        for key, value in batch.items()
    }
    more = [jnp.pad(x, ((0, 0), (0, 3), (0, 0)), constant_values=7.0) for x in (student, teacher)]
    given = jnp.asarray(student), jnp.asarray(teacher)
    value = head.distill(*given, batch, 2.0)
    assert float(head.distill(*more, longer, 2.0)) == pytest.approx(float(value), rel=1e-12)
    value = head.loss(given[0], batch)
    assert float(head.loss(more[0], longer)) == pytest.approx(float(value), rel=1e-12)


def test_a_sure_teacher_of_tokens_teaches_an_unsure_student():
    # Sure of class 0 at each token: taken for spans, there is nothing between the two.
    teacher = jnp.zeros((1, 4, 3)).at[:, :, 0].set(50.0)
    batch = {"attention_mask": jnp.ones((1, 4), int), "weight": jnp.ones(1)}
    value = HEADS["tokens"].distill(jnp.zeros((1, 4, 3)), teacher, batch, 1.0)
    assert float(value) == pytest.approx(np.log(3))
    assert HEADS["span"].distill(jnp.zeros((1, 4, 2)), teacher[..., :2], batch, 1.0) == 0


def test_changed_predictions_are_counted_by_row():
    best = np.eye(3)
    before = [best[[0, 1, 2]], best[[1, 1]]]
    changed = functools.partial(predictions_changed, HEADS["tokens"], before)
    # Two of three tokens of one row are something else now, and their columns' best are not.
    after = [np.array([[9.0, 0, 0], [8, 5, 0], [7, 0, 5]]), before[1]]
    assert (after[0].argmax(0) == before[0].argmax(0)).all()
    assert changed(after) == 1 and changed(before) == 0
    starts_and_ends = np.array([[3.0, 0], [0, 0], [0, 3]])
    assert predictions_changed(HEADS["span"], [starts_and_ends], [starts_and_ends[::-1]]) == 1
    rows = [np.array([1.0, 0]), np.array([0.0, 1])]
    assert predictions_changed(HEADS["classification"], rows, [rows[0], rows[0]]) == 1


def test_numbers_are_no_predictions_that_change():
    assert HEADS["regression"].decide is None and HEADS["embedding"].decide is None
    assert predictions_changed(HEADS["regression"], [np.array([1.0])], [np.array([2.0])]) is None


def test_a_classification_of_one_label_is_no_regression():
    one = BertConfig(head="classification", num_labels=1)
    assert HEADS[one.head].decide(np.array([-3.0])) == 0
    student, teacher = jnp.array([[1.0]]), jnp.array([[5.0]])
    batch = {"attention_mask": jnp.ones((1, 2)), "weight": jnp.ones(1)}
    assert HEADS["classification"].distill(student, teacher, batch, 2.0) == 0
    assert HEADS["regression"].distill(student, teacher, batch, 2.0) == 16


def test_every_record_goes_by_its_name():
    for name, head in HEADS.items():
        assert head.name == name
        assert head.outputs(3) == {"span": 2, "regression": 1}.get(name, 3)
        assert bool(head.loss) <= bool(head.labels) and bool(head.distill) == (name != "none")
    for family in ENCODERS.values():
        assert family.classes.keys() == HEADS.keys() - {"language", "seq2seq"}


@pytest.mark.parametrize("head", ["language", "tail"])
def test_a_head_that_the_architecture_has_not_is_refused(head):
    heads = "none, span, classification, multi_label, regression, tokens, embedding"
    with pytest.raises(UserError, match=f"head '{head}': expected one of {heads}; correct"):
        BertConfig(head=head)


def test_the_bias_of_a_head_of_several_labels_is_their_log_odds():
    labels = np.zeros((998, 3), np.float32)
    labels[:499, 1], labels[:, 2] = 1, 1
    found = HEADS["multi_label"].bias(labels)
    # One row of each kind is added: a label that no row has stays finite.
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), [0.001, 0.5, 0.999], rtol=1e-6)


def ranks_loss(outputs, batch):
    return weighted_mean(jnp.square(outputs).sum((1, 2)), batch["weight"])


def ranks_distill(student, teacher, batch, temperature):
    places = batch["attention_mask"] * batch["weight"][:, None]
    apart = jnp.abs(student - jax.lax.stop_gradient(teacher)).sum(-1) / temperature
    return weighted_mean(apart, places)


def test_a_head_is_added_by_its_record(monkeypatch, tmp_path):
    """Nothing else knows of it but the architecture, which says that it has such a head."""
    ranks = Head(
        name="ranks",
        per_token=True,
        outputs=lambda labels: labels,
        labels=(),
        loss=ranks_loss,
        distill=ranks_distill,
        decide=lambda outputs: outputs[:, 0].argsort(),
        auto_class="AutoModel",
        card_task="text-ranking",
    )
    monkeypatch.setitem(HEADS, "ranks", ranks)
    monkeypatch.setitem(BERT.classes, "ranks", "BertForRanks")
    config = TINY.replace(head="ranks", num_labels=2, hidden_dropout=0.0, attention_dropout=0.0)
    params, taught = make_params(config), Teacher(config, make_params(config, seed=1), 0.5, 2.0)
    ids = [np.arange(n, dtype=np.int32) for n in (2, 5, 3)]
    features = Features.of([{"input_ids": x, "token_type_ids": 0 * x} for x in ids], ids)
    # One row is filled up with padding; the teacher's outputs are computed once and brought along.
    (batch,) = eval_batches(features, Batching(4))
    (batch,) = cached_logits(taught, features, Batching(2), tmp_path).attach([batch])
    batch = jax.tree.map(jnp.asarray, batch)
    ours, theirs = (forward(config, x, batch) for x in (params, taught.params))

    optimizer = optax.sgd(0.1)
    pruning = Pruning(dense(), NO_PATTERN, cubic(steps=1, warmup_steps=0))
    step = make_train_step(Recipe(config, describe(config), ranks, pruning, optimizer, taught))
    state = init_state(params, pruning, optimizer, jax.random.key(0))
    _, metrics = step(state, batch)
    task, distillation = ranks_loss(ours, batch), ranks_distill(ours, theirs, batch, 2.0)
    assert float(metrics["task_loss"]) == pytest.approx(float(task), rel=1e-5)
    assert float(metrics["distillation"]) == pytest.approx(float(distillation), rel=1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(task + distillation) / 2, rel=1e-5)

    rows = predict(config, params, eval_batches(features, Batching(2)), None)
    assert [row.shape for row in rows] == [(2, 2), (5, 2), (3, 2)]
    assert predictions_changed(ranks, rows, [row[::-1] for row in rows]) == 3
