"""What tasks on a user's own tables share: which rows there are, and how they are divided."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks import base
from bpjax.tasks.cache import kept_table
from bpjax.tasks.table_labels import Labels
from bpjax.tasks.table_parts import Part, Read
from bpjax.tasks.table_source import (
    TEXT_FILES,
    TRAIN,
    VALIDATION,
    parallel_files,
    read_table,
    splits_of,
)
from bpjax.tasks.table_splits import check_kept, check_overlap, hash_rows, split_off, tell_rare
from bpjax.tasks.tables import Layout, Table, parse_columns

READ = 1  # of the code that reads files of text: see `cache.kept_table`

QUOTES = ("auto", "csv", "none")


@dataclasses.dataclass(frozen=True)
class PartTask:
    """A task on rows in two parts. A subclass says where these come from, and makes the features.

    Attributes:
      max_length: tokens kept of an input, special tokens included; longer ones are cut.
      holdout: training rows held out and evaluated on instead.
      limit: of the training rows, how many are used, always the same ones; 0 is all.
    """

    max_length: int = 128
    holdout: int = 0
    limit: int = 0

    def __post_init__(self) -> None:
        base.require_positive(max_length=self.max_length)

    @property
    def read(self) -> Read:
        """The rows to train on and to evaluate on."""
        raise AssertionError("a task on rows says where they come from")

    def train(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the training rows, less the held-out ones and those beyond `limit`."""
        rows, _ = self._divide()
        if self.limit:
            rows = rows.take(base.take(range(len(rows)), self.limit))
        return self._features(rows, tokenizer)

    def evaluation(self, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        """Features of the rows to evaluate on, or of the held-out rows when `holdout` > 0."""
        _, rows = self._divide()
        return self._features(rows, tokenizer)

    def _divide(self) -> tuple[Part, Part]:
        """The rows to train on and to evaluate on; rows of one text are held out together."""
        _, classes, train, evaluation = self.read
        if not self.holdout:
            return train, evaluation
        texts = hash_rows(train.table, train.table.roles)
        texts = texts if train.places is None else texts[train.places]
        kept, held = map(train.take, base.hold_out(texts.tolist(), self.holdout))
        check_kept(train.table.path, held.label(), kept.label(), classes)
        return kept, held

    def _features(self, rows: Part, tokenizer: PreTrainedTokenizerBase) -> base.Features:
        raise AssertionError("a task on rows makes its features")


@dataclasses.dataclass(frozen=True)
class TableTask(PartTask):
    """A task on a user's own tables. A subclass says which columns it reads and what labels mean.

    Attributes:
      data: the table to train on: a .csv, .tsv, .jsonl, .conll or .parquet file, or the folder of a
        saved Hugging Face dataset.
      eval: the table to evaluate on; empty: the split named validation of a saved dataset that has
        several, else a part of the table to train on.
      eval_fraction: how much of it that is, of each class, always the same rows.
      columns: names of the columns of a file without a header, such as text,label.
      label_names: a file of the names of the labels, one a line, where the table has their numbers
        from 0.
      quotes: of a TSV file, whether quotes stand around cells (csv) or are text (none); auto: as
        the file tells, if it does.
      allow_overlap: take rows to evaluate on that are trained on too.
      order: the names of the classes in the order that a model numbers them; () is the table's.
    """

    data: str = ""
    eval: str = ""
    eval_fraction: float | int = 0.1
    columns: str = ""
    label_names: str = ""
    quotes: str = "auto"
    allow_overlap: bool = False
    order: tuple[str, ...] = dataclasses.field(default=(), metadata=base.NO_OPTION)

    name: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eval_fraction < 1:
            raise UserError(
                f"eval_fraction {self.eval_fraction!r}: expected a number between 0 and 1; change "
                "task.eval_fraction"
            )
        require_one_of("quotes", self.quotes, QUOTES)
        parse_columns(self.columns)

    @property
    def layout(self) -> Layout:
        """What its files do not say of themselves."""
        return Layout(parse_columns(self.columns), self.quotes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, as a model numbers them."""
        return self.order or self.read.classes

    @property
    def num_labels(self) -> int:
        """Number of classes; 1 for a regression."""
        return len(self.labels) or 1

    def with_labels(self, labels: tuple[str, ...]) -> base.Task:
        """The same task with its classes numbered in another order."""
        same: Any = dataclasses.replace(self, order=labels)  # a Task as its subclass is
        return same

    @property
    def read(self) -> Read:
        """The tables, read once as long as the files stay as they are.

        Raises:
          UserError: no table, or one that is malformed or says something in two ways.
        """
        if not self.data:
            raise UserError(
                f"task {self.name}: data is '': expected the path of a table to train on; set "
                "task.data"
            )
        paths = filter(None, (self.data, self.eval, self.label_names))
        found: dict[str, Any] = {
            x.name: x.default for x in dataclasses.fields(self) if x.metadata == base.NO_OPTION
        }
        return _read(dataclasses.replace(self, **found), tuple(map(_state, paths)))

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """The columns of a table that the task reads, by what they are to it: texts, then label."""
        raise AssertionError("a task on tables says which columns it reads")

    def check(self, table: Table) -> Table:
        """A table that was read, whose texts are as the task wants them, or which is refused."""
        raise AssertionError("a task on tables checks its texts")

    def check_alike(self, tables: Sequence[Table]) -> None:
        """Raises UserError unless the same columns are read of each table."""
        for table in tables[1:]:
            if [*table.names] != [*tables[0].names]:
                raise UserError(
                    f"{table.path}: {len(table.names)} columns are read, {len(tables[0].names)} of "
                    f"{tables[0].path}: expected the same; rename the columns of one"
                )

    def check_overlap(self, train: Table, evaluation: Table) -> None:
        """Raises UserError where rows to evaluate on are trained on too."""
        check_overlap(train, evaluation, train.roles)

    def read_labels(self, tables: Sequence[Table]) -> Labels:
        """What the labels of tables mean, the first of which is trained on."""
        raise AssertionError("a task on tables says what its labels mean")

    def _numbers(self) -> np.ndarray:
        """A model's number of each class, by the table's."""
        return np.array([self.labels.index(name) for name in self.read.classes], np.int32)


def require_one_of(option: str, value: str, known: Sequence[str]) -> None:
    """Raises UserError unless an option has one of some values."""
    if value not in known:
        raise UserError(
            f"{option} {value!r}: expected one of {', '.join(known)}; change task.{option}"
        )


@functools.lru_cache(maxsize=1)
def _read(task: TableTask, states: tuple[Any, ...]) -> Read:
    """Reads a task's tables; `states` are those of their files, for they may change."""
    del states
    paths = _paths(task)
    tables = [_table(task, path, task.layout) for path in paths]
    task.check_alike(tables)
    kind, classes, labels = task.read_labels(tables)
    parts = [Part(table, label) for table, label in zip(tables, labels, strict=True)]
    if len(parts) == 2:
        tell_rare(tables[0].path, labels[0], classes)
        if not task.allow_overlap:
            task.check_overlap(tables[0], tables[1])
        return Read(kind, classes, parts[0], parts[1])
    kept, held = split_off(tables[0], labels[0], classes, tables[0].roles, task.eval_fraction)
    return Read(kind, classes, parts[0].take(kept), parts[0].take(held))


def _table(task: TableTask, path: Path, layout: Layout) -> Table:
    """One of a task's tables, which of a large file of text is kept as it was read."""

    def make() -> Table:
        return task.check(read_table(path, functools.partial(task.choose, path), layout))

    if path.suffix.lower() not in TEXT_FILES or not path.is_file():
        return make()
    shared = {field.name for field in dataclasses.fields(TableTask)}
    own = {name: value for name, value in dataclasses.asdict(task).items() if name not in shared}
    about = READ, path.suffix.lower(), layout, type(task).__name__, own
    return Table.of_arrow(str(path), kept_table(path, about, lambda: make().to_arrow()))


def _paths(task: TableTask) -> list[Path]:
    """Of the table to train on, and of that to evaluate on if it is one of its own."""
    data = Path(task.data).expanduser()
    given = [Path(task.eval).expanduser()] if task.eval else []
    splits = splits_of(data)
    if not splits:
        return [data, *given]
    others = [name for name in splits if name != TRAIN]
    if TRAIN not in splits or (others and VALIDATION not in splits and not given):
        raise UserError(
            f"{data}: a dataset of the splits {', '.join(splits)}: expected {TRAIN} and "
            f"{VALIDATION}; name the folders of two as task.data and task.eval"
        )
    return [data / TRAIN, *(given or [data / name for name in others if name == VALIDATION])]


def _state(name: str) -> tuple[Any, ...]:
    path = Path(name).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else parallel_files(path) or [path]
    return tuple((str(x), x.stat().st_mtime_ns, x.stat().st_size) for x in files if x.exists())
