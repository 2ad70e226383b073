"""Cached logits: those of the teacher, computed once, and never another teacher's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_step import DENSE, STILL, TEACHER, same, train
from tiny import make_params

from bpjax.errors import UserError
from bpjax.models.inputs import TEACHER_LOGITS
from bpjax.tasks.base import Features
from bpjax.training import teacher_logits
from bpjax.training.evaluation import forward
from bpjax.training.input import Batching, train_batches
from bpjax.training.teacher_logits import cached_logits
from bpjax.training.terms import Teacher

SPAN = STILL.replace(head="span", num_labels=2)


def make_features(rows=5, seed=0):
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        length = int(generator.integers(2, 7))
        ids = generator.integers(0, 20, length).astype(np.int32)
        made.append({"input_ids": ids, "token_type_ids": 0 * ids, "label": np.array(1, np.int32)})
    return Features.of(made, made)


BATCHING = Batching(2, (4, 7))


def cache(folder, teacher=TEACHER, features=None, batching=BATCHING):
    return cached_logits(teacher, features or make_features(), batching, folder)


def batches_of(features):
    return list(train_batches(features, Batching(3, (7,)), seed=1, epochs=1))


@pytest.mark.parametrize(
    "teacher", [TEACHER, Teacher(SPAN, make_params(SPAN, seed=6))], ids=["classification", "span"]
)
def test_attached_logits_are_those_that_the_teacher_would_give(tmp_path, teacher):
    features = make_features()
    plain = batches_of(features)
    padding = 0
    for batch, found in zip(plain, cache(tmp_path, teacher).attach(plain), strict=True):
        inputs = jax.tree.map(jnp.asarray, batch)
        expected = np.asarray(forward(teacher.config, teacher.params, inputs))
        real = batch["weight"] > 0
        if expected.ndim == 3:
            real = real[:, None] & (batch["attention_mask"] > 0)
        logits = found[TEACHER_LOGITS]
        assert logits.shape == expected.shape
        np.testing.assert_allclose(logits[real], expected[real], rtol=1e-5, atol=1e-5)
        assert not logits[~real].any()
        padding += (~real).sum()
    assert padding


def test_a_step_learns_the_same_from_them(tmp_path):
    plain = batches_of(make_features())
    cached = list(cache(tmp_path).attach(plain))
    _, computed_state, computed = train(DENSE, teacher=TEACHER, batches=plain)
    _, cached_state, found = train(DENSE, teacher=TEACHER, batches=cached)
    same(found, computed, rtol=1e-4, atol=1e-6)
    assert found[0]["distillation"] > 0
    same(
        cached_state.params["head"]["kernel"],
        computed_state.params["head"]["kernel"],
        rtol=1e-4,
        atol=1e-4,
    )


def test_they_are_computed_once(tmp_path, monkeypatch):
    first = cache(tmp_path)
    monkeypatch.setattr(teacher_logits, "predict", None)
    again = cache(tmp_path)
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_array_equal(again.starts, first.starts)


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": TEACHER._replace(params=make_params(STILL, seed=7))},
        {"teacher": TEACHER._replace(config=STILL.replace(norm_eps=0.5))},
        {"features": make_features(seed=1)},
        {"features": make_features(rows=4)},
        {"batching": BATCHING._replace(buckets=(7,))},
        {"batching": BATCHING._replace(size=3)},
    ],
    ids=["params", "config", "tokens", "rows", "buckets", "batch_size"],
)
def test_nothing_stale_is_read(tmp_path, change):
    cache(tmp_path)
    cache(tmp_path, **change)
    assert len(list(tmp_path.iterdir())) == 2


def test_weight_and_temperature_do_not_matter(tmp_path):
    cache(tmp_path)
    cache(tmp_path, TEACHER._replace(weight=0.1, temperature=9.0))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_digest_sees_what_rows_are_cut_into(tmp_path):
    ids = np.arange(4, dtype=np.int32)

    def features(*parts):
        rows = [{"input_ids": part, "token_type_ids": 0 * part} for part in parts]
        return Features.of(rows, rows)

    cache(tmp_path, features=features(ids))
    cache(tmp_path, features=features(ids[:2], ids[2:]))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_digest_sees_all_that_the_model_reads(tmp_path):
    """And nothing else: other labels need no other logits."""
    ids = np.arange(4, dtype=np.int32)

    def features(**changes):
        rows = [{"input_ids": ids, "token_type_ids": 0 * ids, "label": np.array(1), **changes}]
        return Features.of(rows, rows)

    cache(tmp_path, features=features())
    cache(tmp_path, features=features(label=np.array(2)))
    assert len(list(tmp_path.iterdir())) == 1
    cache(tmp_path, features=features(token_type_ids=ids // 2))
    assert len(list(tmp_path.iterdir())) == 2


def test_refuses_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="distillation.cache: .*file/logits.*: expected a folder"):
        cache(tmp_path / "file" / "logits")


def test_refuses_a_damaged_file(tmp_path):
    cache(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="distillation.cache: .*: expected .*files whole"):
        cache(tmp_path)
