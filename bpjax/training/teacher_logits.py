"""A teacher's logits, kept so that they are computed once and not in every step."""

import hashlib
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from bpjax import models
from bpjax.distributed import everywhere, write_once
from bpjax.errors import UserError
from bpjax.models.heads import HEADS, Head
from bpjax.models.inputs import INDEX, TEACHER_LOGITS
from bpjax.tasks.base import Features
from bpjax.tasks.columns import Column, starts_of
from bpjax.training.evaluation import Batch, predict
from bpjax.training.input import Batching, eval_batches, steps_per_epoch
from bpjax.training.mesh import ONE_DEVICE, Layout
from bpjax.training.terms import Teacher


class TeacherLogits(NamedTuple):
    """A teacher's logits for all rows of a split, end to end.

    Attributes:
      values: `[total, outputs]`; one line a row, or a token where `per_token`.
      starts: where each row's lines begin, and `total` at the end.
      head: of the teacher.
    """

    values: Float[np.ndarray, "total outputs"]
    starts: Int[np.ndarray, " rows_and_end"]
    head: Head

    def attach(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Adds `teacher_logits` to batches of the same features, zeros at padding."""
        column = Column(self.values, self.starts)
        for batch in batches:
            per_token = self.head.per_token
            logits = column.pad(batch[INDEX], batch[self.head.mask].shape[1] if per_token else 1)
            yield {**batch, TEACHER_LOGITS: logits if per_token else logits[:, 0]}


def cached_logits(
    teacher: Teacher,
    features: Features,
    batching: Batching,
    folder: Path,
    layout: Layout = ONE_DEVICE,
) -> TeacherLogits:
    """The teacher's logits, without dropout, from `folder` or computed and saved there.

    A file's name is a digest of all that its numbers depend on: the teacher's parameters and
    config, the tokens of every row, and how they are batched. So a folder may serve many runs.

    Args:
      teacher: the model.
      features: the rows to be trained on.
      batching: in which the logits are computed.
      folder: made if missing.
      layout: where they are computed.

    Raises:
      UserError: the folder cannot be written, or a file there is damaged.
    """
    head = HEADS[teacher.config.head]
    path = folder / f"{_digest(teacher, features, batching)}.safetensors"
    try:
        # Before minutes are spent on what then cannot be saved.
        folder.mkdir(parents=True, exist_ok=True)
        if not everywhere(path.exists()):  # another run may write it meanwhile
            batches = _with_bar(
                eval_batches(features, batching), steps_per_epoch(len(features), batching.size)
            )
            rows = predict(teacher.config, teacher.params, batches, None, layout)
            write_once(_save, path, rows if head.per_token else [row[None] for row in rows])
        return TeacherLogits(**load_file(path), head=head)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"distillation.cache: {path}: {error}: expected a folder that can be written, and its "
            "files whole; remove the file, or choose another folder"
        ) from error


def _save(path: Path, rows: list[np.ndarray]) -> None:
    # Runs that share the folder may get here at once.
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    save_file({"values": np.concatenate(rows), "starts": starts_of(rows)}, partial)
    partial.replace(path)


def _with_bar(batches: Iterable[Batch], total: int) -> Iterator[Batch]:
    yield from tqdm(batches, "teacher logits", total, file=sys.stdout, mininterval=1.0)


def _digest(teacher: Teacher, features: Features, batching: Batching) -> str:
    # Not its part: who computes which rows changes nothing.
    lengths = tuple(batching.buckets), tuple(batching.target_buckets)
    known = teacher.config, (batching.size, *lengths)
    digest = hashlib.sha256(repr(known).encode())
    for name, value in jax.tree.leaves_with_path(teacher.params):
        digest.update(jax.tree_util.keystr(name).encode())
        digest.update(np.ascontiguousarray(value).data)
    read = {each.name for each in models.inputs(teacher.config)}
    for key, column in features.columns.items():
        if key in read:
            digest.update(repr((key, column.fill, column.values.shape)).encode())
            digest.update(np.ascontiguousarray(column.values).data)
            digest.update(b"" if column.starts is None else column.starts.tobytes())
    return digest.hexdigest()[:32]
