"""Batches: what an epoch holds, static shapes, and resuming at any step."""

import itertools

import numpy as np
import pytest

from bpjax.errors import UserError
from bpjax.tasks.base import Features
from bpjax.training.input import (
    PADDING,
    eval_batches,
    plan_epoch,
    resolve_buckets,
    steps_per_epoch,
    train_batches,
)

BUCKETS = (4, 8, 16)


def make_features(count, seed=0, longest=16):
    """Rows whose tokens and label both tell which row it is."""
    lengths = np.random.default_rng(seed).integers(2, longest + 1, count)
    rows = [
        {
            "input_ids": np.full(n, i + 1, np.int32),
            "token_type_ids": np.ones(n, np.int32),
            "label": np.array(i % 7, np.int32),
        }
        for i, n in enumerate(lengths)
    ]
    return Features.of(rows, list(range(count)))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 257])
@pytest.mark.parametrize("buckets", [(), (16,), BUCKETS])
def test_an_epoch_sees_every_row_once(count, buckets):
    lengths = make_features(count).lengths
    plans = plan_epoch(lengths, 8, buckets, seed=3, epoch=1)
    assert len(plans) == steps_per_epoch(count, 8) == -(-count // 8)
    rows = np.concatenate([plan.rows for plan in plans])
    assert sorted(rows[rows != PADDING]) == list(range(count))
    # Only the last batch may be partial, and every row fits its bucket.
    assert all((plan.rows != PADDING).all() for plan in plans[:-1])
    allowed = buckets or (lengths.max(),)
    for plan in plans:
        assert plan.bucket in allowed
        assert lengths[plan.rows[plan.rows != PADDING]].max() <= plan.bucket


def test_buckets_save_padding_and_leftovers_move_up():
    lengths = np.array([3] * 5 + [7] * 5 + [15] * 2, np.int32)
    plans = plan_epoch(lengths, 4, BUCKETS, seed=0, epoch=0)
    # 4 of the short ones, then 1 short + 3 middle, then 2 middle + 2 long.
    assert sorted(plan.bucket for plan in plans) == [4, 8, 16]
    assert sorted(sorted(lengths[plan.rows]) for plan in plans) == [
        [3, 3, 3, 3],
        [3, 7, 7, 7],
        [7, 7, 15, 15],
    ]


def test_seed_and_epoch_decide_the_order():
    lengths = make_features(100).lengths

    def order(seed, epoch):
        return [plan.rows.tolist() for plan in plan_epoch(lengths, 8, BUCKETS, seed, epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    # Short and long batches alternate: training does not go through the lengths in order.
    buckets = [plan.bucket for plan in plan_epoch(lengths, 8, BUCKETS, 1, 0)][:-1]
    assert buckets != sorted(buckets)


def test_batches_are_padded_to_static_shapes():
    features = make_features(21)
    for batch in train_batches(features, 8, BUCKETS, seed=0, epochs=1):
        size, length = batch["input_ids"].shape
        assert size == 8
        assert length in BUCKETS
        assert batch["attention_mask"].shape == batch["token_type_ids"].shape == (8, length)
        assert {batch[k].dtype for k in ("input_ids", "attention_mask", "label", "index")} == {
            np.dtype(np.int32)
        }
        assert batch["weight"].dtype == np.float32
        for place, index in enumerate(batch["index"]):
            if index == PADDING:
                assert batch["weight"][place] == 0
                assert not batch["input_ids"][place].any()
                assert batch["attention_mask"][place].sum() == 1
                continue
            n = features.lengths[index]
            assert batch["weight"][place] == 1
            assert batch["label"][place] == index % 7
            assert batch["attention_mask"][place].tolist() == [1] * n + [0] * (length - n)
            assert batch["input_ids"][place].tolist() == [index + 1] * n + [0] * (length - n)
            assert batch["token_type_ids"][place].sum() == n


@pytest.mark.parametrize("start", [0, 1, 3, 4, 11, 12])
def test_training_resumes_at_any_step(start):
    features = make_features(30)

    def batches(first):
        return list(train_batches(features, 8, BUCKETS, seed=5, epochs=3, start_step=first))

    whole, rest = batches(0), batches(start)
    assert len(whole) == 3 * steps_per_epoch(30, 8)
    assert len(rest) == len(whole) - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_epochs_differ():
    features = make_features(32)
    indices = [b["index"].tolist() for b in train_batches(features, 8, (), 0, epochs=2)]
    first, second = indices[:4], indices[4:]
    assert first != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second))


def test_evaluation_sees_every_row_once_sorted_by_length():
    features = make_features(21)
    batches = list(eval_batches(features, 8, (4, 8, 12, 16)))
    index = np.concatenate([batch["index"] for batch in batches])
    assert len(batches) == 3
    assert sorted(index[index != PADDING]) == list(range(21))
    lengths = features.lengths[index[index != PADDING]]
    assert (np.diff(lengths) >= 0).all()
    assert batches[0]["input_ids"].shape[1] < batches[-1]["input_ids"].shape[1]
    assert sum(batch["weight"].sum() for batch in batches) == 21


def test_bad_buckets_are_refused_in_one_line():
    lengths = np.array([3, 9, 5], np.int32)
    with pytest.raises(UserError, match=r"row 1 has 9 tokens.*largest bucket, 8.*max_length"):
        resolve_buckets(lengths, (4, 8))
    with pytest.raises(UserError, match="bucket 0"):
        resolve_buckets(lengths, (0, 16))
    with pytest.raises(UserError, match="no rows"):
        resolve_buckets(lengths[:0], (16,))
    with pytest.raises(UserError, match="expected at most the largest bucket, 4"):
        plan_epoch(lengths, 2, (4,), 0, 0)
    assert resolve_buckets(lengths, (16, 4, 8, 4)) == (4, 8, 16)
    assert resolve_buckets(lengths, ()) == (9,)
