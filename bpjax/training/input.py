"""Batches of static shapes: seeded, bucketed by length, resumable at any step."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int

from bpjax.errors import UserError
from bpjax.models.inputs import (
    ATTENTION_MASK,
    DECODER_MASK,
    INDEX,
    INPUT_IDS,
    LABEL,
    PACKED,
    TARGET_LENGTH,
    TOKEN_TYPES,
    WEIGHT,
)
from bpjax.tasks.base import Features
from bpjax.training.evaluation import Batch
from bpjax.training.packing import make_bins, plan_strata

PADDING = -1  # `index` of a padding row
WHOLE = slice(None)


class Batching(NamedTuple):
    """How rows are put together.

    Attributes:
      size: rows of a batch.
      buckets: padded lengths allowed; empty is the longest row alone.
      part: of each batch's rows, that this process brings.
      target_buckets: padded lengths allowed of what a decoder writes; empty is the longest alone.
      packing: tokens of a bin that rows to train on are laid into end to end, see
        `training.packing`, instead of being padded to buckets; 0: none.
    """

    size: int
    buckets: Sequence[int] = ()
    part: slice = WHOLE
    target_buckets: Sequence[int] = ()
    packing: int = 0


class BatchPlan(NamedTuple):
    """Which rows a batch holds.

    Attributes:
      bucket: padded length.
      rows: row of the features by place in the batch, PADDING where there is none.
      target: padded length of what a decoder writes; 0 where there is no decoder.
    """

    bucket: int
    rows: Int[np.ndarray, " batch"]
    target: int = 0

    def cut(self, part: slice) -> "BatchPlan":
        """Some of the rows, padded as the whole batch is."""
        return self._replace(rows=self.rows[part])


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Steps of one epoch: every row is seen once and the last batch may be partial."""
    return -(-rows // batch_size)


def resolve_buckets(
    lengths: Int[np.ndarray, " rows"], buckets: Sequence[int], which: str = ""
) -> tuple[int, ...]:
    """The bucket lengths in rising order; the longest row alone when none are given.

    Args:
      lengths: of all rows.
      buckets: padded lengths allowed.
      which: "target_" of what a decoder writes, for messages.

    Raises:
      UserError: there are no rows, a bucket is not a positive integer, or a row is longer than the
      largest bucket.
    """
    if len(lengths) == 0:
        raise UserError(
            "no rows to make batches of: expected at least one example; check the task's data"
        )
    longest = int(lengths.max())
    resolved = tuple(sorted(set(buckets))) or (longest,)
    if resolved[0] < 1:
        raise UserError(
            f"bucket {resolved[0]}: expected a length of at least 1; remove it from {which}buckets"
        )
    if longest > resolved[-1]:
        raise UserError(
            f"row {int(lengths.argmax())} has {longest} tokens, expected at most the largest "
            f"bucket, {resolved[-1]}; "
            f"add bucket {longest} to {which}buckets or lower max_{which}length"
        )
    return resolved


def plan_epoch(
    lengths: Int[np.ndarray, " rows"],
    batch_size: int,
    buckets: Sequence[int],
    seed: int,
    epoch: int,
) -> list[BatchPlan]:
    """Deals the rows of one epoch into batches of similar length.

    Rows are permuted and dealt to the smallest bucket that holds them. What does not fill a batch
    moves on to the next larger bucket, so that every row is seen exactly once and only the last
    batch may be partial. The full batches are then shuffled.

    Args:
      lengths: tokens of each row.
      batch_size: rows of a batch.
      buckets: padded lengths allowed; empty is the longest row alone.
      seed: of the run.
      epoch: counted from 0; each has its own permutation.

    Returns:
      `steps_per_epoch` batches in the order of training.

    Raises:
      UserError: a row does not fit the largest bucket.
    """
    resolved = resolve_buckets(lengths, buckets)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    of_row = np.searchsorted(resolved, lengths[order])
    plans: list[BatchPlan] = []
    left = order[:0]
    for number, bucket in enumerate(resolved):
        pool = np.concatenate([left, order[of_row == number]])
        full = len(pool) // batch_size * batch_size
        plans += [BatchPlan(bucket, rows) for rows in pool[:full].reshape(-1, batch_size)]
        left = pool[full:]
    plans = [plans[i] for i in rng.permutation(len(plans))]
    if len(left):
        plans.append(_pad_plan(left, lengths, batch_size, resolved))
    return plans


def _pad_plan(
    rows: Int[np.ndarray, " some"],
    lengths: Int[np.ndarray, " rows"],
    batch_size: int,
    buckets: Sequence[int],
) -> BatchPlan:
    """A batch of at most `batch_size` rows in the smallest bucket that holds them."""
    bucket = buckets[int(np.searchsorted(buckets, lengths[rows].max()))]
    padded = np.full(batch_size, PADDING, rows.dtype)
    padded[: len(rows)] = rows
    return BatchPlan(bucket, padded)


def with_targets(features: Features, plan: BatchPlan, buckets: Sequence[int]) -> BatchPlan:
    """The plan with the smallest bucket that holds the targets of all its rows, if there are any.

    Args:
      features: that the plan is of.
      plan: of a whole batch, so that all processes pad alike.
      buckets: padded lengths allowed, in rising order, see `resolve_targets`.
    """
    if not buckets:
        return plan
    longest = features.by_axis[TARGET_LENGTH][plan.rows[plan.rows != PADDING]].max()
    return plan._replace(target=buckets[int(np.searchsorted(buckets, longest))])


def resolve_targets(features: Features, buckets: Sequence[int]) -> tuple[int, ...]:
    """The bucket lengths of what a decoder writes; none where the features have no such.

    Raises:
      UserError: as `resolve_buckets`.
    """
    lengths = features.by_axis.get(TARGET_LENGTH)
    return () if lengths is None else resolve_buckets(lengths, buckets, "target_")


def collate(features: Features, plan: BatchPlan) -> Batch:
    """Pads the rows of a plan to its bucket.

    Returns:
      The columns, ragged ones `[batch, bucket]`, those of what a decoder writes `[batch, target]`;
      weight float32 [batch], 0 for padding rows; index int32 [batch], the row in the features or
      PADDING. With input_ids come attention_mask (1 = real token) and, where there is no such
      column, token_type_ids of the first segment, int32 [batch, bucket]; with targets
      decoder_attention_mask, int32 [batch, target].
    """
    rows, bucket = plan.rows, plan.bucket
    batch: Batch = {
        name: column.pad(rows, plan.target if column.axis == TARGET_LENGTH else bucket)
        for name, column in features.columns.items()
    }

    def real(name: str, length: int) -> Int[np.ndarray, "batch _"]:
        lengths = np.where(rows == PADDING, 0, features.columns[name].lengths[rows])
        # A padding row attends to one token: a softmax over nothing is NaN, and NaN times weight 0
        # is still NaN.
        return (np.arange(length) < np.maximum(lengths, 1)[:, None]).astype(np.int32)

    if INPUT_IDS in batch:
        batch[ATTENTION_MASK] = real(INPUT_IDS, bucket)
        batch.setdefault(TOKEN_TYPES, np.zeros_like(batch[ATTENTION_MASK]))
    if plan.target:
        batch[DECODER_MASK] = real(LABEL, plan.target)
    batch[WEIGHT] = (rows != PADDING).astype(np.float32)
    batch[INDEX] = rows.astype(np.int32)
    return batch


class _Steps:
    """Random access to the batches of all epochs by step, as grain wants its sources."""

    def __init__(self, per_epoch: int, epochs: int, deal: "_Deal") -> None:
        self._per_epoch, self._epochs, self._make = per_epoch, epochs, deal.make
        # The prefetching threads are never further apart than two epochs.
        self._plan = functools.lru_cache(maxsize=2)(deal.plan)

    def __len__(self) -> int:
        return self._per_epoch * self._epochs

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(int(step), self._per_epoch)
        return self._make(self._plan(epoch)[place])


class _Deal(NamedTuple):
    """How an epoch is dealt into batches, and a batch made of what was dealt."""

    plan: Callable[[int], Any]
    make: Callable[[Any], Batch]


def _padded(features: Features, batching: Batching, seed: int) -> _Deal:
    size, buckets, part, targets, _ = batching

    def make(plan: BatchPlan) -> Batch:
        return collate(features, with_targets(features, plan, targets).cut(part))

    return _Deal(functools.partial(plan_epoch, features.lengths, size, buckets, seed), make)


def _packed(features: Features, batching: Batching, seed: int) -> _Deal:
    lengths, size = features.lengths, batching.size
    bins = make_bins(lengths, size, batching.packing)

    def make(rows: Int[np.ndarray, " batch"]) -> Batch:
        tokens = bins.fill(np.where(rows == PADDING, 0, lengths[rows]))
        return {**collate(features, BatchPlan(bins.length, rows)), PACKED: tokens}

    return _Deal(functools.partial(plan_strata, lengths, size, seed), make)


def train_batches(
    features: Features, batching: Batching, seed: int, epochs: int, start_step: int = 0
) -> Iterator[Batch]:
    """Training batches from `start_step` to the end of the last epoch, prefetched by grain.

    A batch is a function of (features, batching, seed, step) alone: to resume, give the step to go
    on with.

    Args:
      features: rows to train on.
      batching: size and padded lengths of a batch.
      seed: of the run.
      epochs: passes over the rows.
      start_step: steps already done, counted over all epochs.

    Raises:
      UserError: a row does not fit the largest bucket, or the bins.
    """
    deal = (_packed if batching.packing else _padded)(features, _resolve(features, batching), seed)
    steps = _Steps(steps_per_epoch(len(features), batching.size), epochs, deal)
    if start_step >= len(steps):
        return iter(())
    dataset = grain.MapDataset.source(steps)[start_step:]
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def eval_batches(features: Features, batching: Batching) -> Iterator[Batch]:
    """Every row once, sorted by length so that little is padding; `index` says which row is which.

    Args:
      features: rows to evaluate on.
      batching: size and padded lengths of a batch; the last one is filled up with padding rows.

    Raises:
      UserError: a row does not fit the largest bucket.
    """
    lengths, (size, buckets, part, targets, _) = features.lengths, _resolve(features, batching)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        plan = with_targets(features, _pad_plan(rows, lengths, size, buckets), targets)
        yield collate(features, plan.cut(part))


def _resolve(features: Features, batching: Batching) -> Batching:
    """With all buckets in rising order."""
    return batching._replace(
        buckets=resolve_buckets(features.lengths, batching.buckets),
        target_buckets=resolve_targets(features, batching.target_buckets),
    )
