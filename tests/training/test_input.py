"""Batches: what an epoch holds, static shapes, and resuming at any step."""

import itertools

import numpy as np
import pytest

from bpjax.errors import UserError
from bpjax.models.heads import NO_LABEL
from bpjax.tasks.base import Features
from bpjax.tasks.columns import Column
from bpjax.training.input import (
    PADDING,
    Batching,
    BatchPlan,
    collate,
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
    for batch in train_batches(features, Batching(8, BUCKETS), seed=0, epochs=1):
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
        return list(
            train_batches(features, Batching(8, BUCKETS), seed=5, epochs=3, start_step=first)
        )

    whole, rest = batches(0), batches(start)
    assert len(whole) == 3 * steps_per_epoch(30, 8)
    assert len(rest) == len(whole) - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_epochs_differ():
    features = make_features(32)
    indices = [b["index"].tolist() for b in train_batches(features, Batching(8), 0, epochs=2)]
    first, second = indices[:4], indices[4:]
    assert first != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second))


def test_evaluation_sees_every_row_once_sorted_by_length():
    features = make_features(21)
    batches = list(eval_batches(features, Batching(8, (4, 8, 12, 16))))
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


def test_a_label_a_token_is_padded_as_tokens_are():
    """With a number of its own, which says that there is nothing to learn."""
    ids = [np.full(n, 9, np.int32) for n in (3, 5, 2)]
    rows = [{"input_ids": x, "label": np.arange(1, len(x) + 1, dtype=np.int32)} for x in ids]
    features = Features.of(rows, rows, fills={"label": NO_LABEL})
    batch = collate(features, BatchPlan(6, np.array([1, PADDING, 0])))
    assert batch["label"].dtype == np.int32
    assert batch["label"].tolist() == [
        [1, 2, 3, 4, 5, NO_LABEL],
        [NO_LABEL] * 6,
        [1, 2, 3, NO_LABEL, NO_LABEL, NO_LABEL],
    ]
    assert batch["input_ids"].tolist() == [[9] * 5 + [0], [0] * 6, [9] * 3 + [0] * 3]
    assert batch["attention_mask"].sum(-1).tolist() == [5, 1, 3]
    # Nothing was said of segments: all is of the first.
    assert batch["token_type_ids"].dtype == np.int32 and not batch["token_type_ids"].any()
    assert batch["token_type_ids"].shape == (3, 6)


def test_arrays_of_one_shape_are_stacked():
    """Pixels need no bucket, no mask and no segments."""
    pixels = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    scores = np.linspace(0, 1, 5, dtype=np.float32)
    rows = [{"pixel_values": x, "label": y} for x, y in zip(pixels, scores, strict=True)]
    features = Features.of(rows, rows)
    assert features.lengths.tolist() == [1] * 5
    seen = []
    for batch in train_batches(features, Batching(2), seed=0, epochs=1):
        assert batch.keys() == {"pixel_values", "label", "weight", "index"}
        assert batch["pixel_values"].shape == (2, 3, 4, 4)
        assert batch["pixel_values"].dtype == batch["label"].dtype == np.float32
        for place, index in enumerate(batch["index"]):
            real = int(index != PADDING)
            np.testing.assert_array_equal(batch["pixel_values"][place], real * pixels[index])
            assert batch["label"][place] == real * scores[index]
            seen += [int(index)] * real
    assert sorted(seen) == list(range(5))


def test_two_ragged_inputs_share_the_longer_one_s_bucket():
    rows = [
        {"input_ids": np.full(n, 1, np.int32), "decoder_input_ids": np.full(m, 2, np.int32)}
        for n, m in ((2, 5), (3, 1))
    ]
    features = Features.of(rows, rows)
    assert features.lengths.tolist() == [5, 3]
    (batch,) = eval_batches(features, Batching(2))
    assert batch["input_ids"].shape == batch["decoder_input_ids"].shape == (2, 5)
    assert batch["index"].tolist() == [1, 0]
    assert batch["attention_mask"].sum(-1).tolist() == [3, 2]


def test_rows_are_taken_in_the_order_asked_for():
    features = make_features(9)
    chosen = features.take([4, 0, 7])
    assert chosen.examples == [4, 0, 7]
    for row, index in zip(chosen.rows, chosen.examples, strict=True):
        wanted = features.rows[index]
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(row[name], value)
    assert len(features.take([])) == 0 and features.take([]).lengths.shape == (0,)


def test_columns_must_agree():
    ids = Column.ragged([[1, 2], [3]])
    with pytest.raises(ValueError, match="2 rows of input_ids but 1 examples"):
        Features({"input_ids": ids}, ["one"])
    with pytest.raises(ValueError, match="a row of 2 values: expected 1 at most"):
        ids.pad(np.array([0]), 1)
    for starts in ([0, 2], [1, 3], [0, 4, 3]):
        with pytest.raises(ValueError, match="of 3 values"):
            Column(np.arange(3), np.array(starts))


def test_each_process_brings_its_part():
    """Padded as the whole batch is."""
    features = make_features(21)

    def batches(part):
        how = Batching(8, BUCKETS, part)
        return [*train_batches(features, how, seed=2, epochs=1), *eval_batches(features, how)]

    whole, parts = batches(slice(None)), [batches(slice(0, 4)), batches(slice(4, 8))]
    for batch, *halves in zip(whole, *parts, strict=True):
        for name, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), value)
