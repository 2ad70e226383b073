"""Summaries of documents: of a user's own table, or the public CNN/DailyMail and XSum."""

import dataclasses
import functools
import logging
from typing import ClassVar

import numpy as np
import pyarrow as pa

from bpjax.errors import UserError
from bpjax.tasks.seq2seq import SOURCE, Seq2Seq
from bpjax.tasks.seq2seq_table import Names, PairTable
from bpjax.tasks.source import Source
from bpjax.tasks.table_parts import Part, Read
from bpjax.tasks.table_source import TRAIN, VALIDATION
from bpjax.tasks.tables import LABEL, Table, Texts, is_blank

DOCUMENTS: Names = tuple(
    (name,)
    for name in (
        *("document", "article", "dialogue", "text", "source", "body", "content", "description"),
        *("report", "transcript"),
    )
)
"""Usual names of what is summarised; the first goes before all others."""

SUMMARIES: Names = tuple(
    (name,) for name in ("summary", "highlights", "target", "abstract", "tldr", "headline")
)
"""Usual names of summaries."""

PUBLIC = {"cnn_dailymail": ("article", "highlights"), "xsum": ("document", "summary")}
"""By TFDS's name of a dataset: its features of documents and of summaries."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Summarization(PairTable):
    """A summary for each document of a table."""

    max_length: int = 1024

    name: ClassVar[str] = "summarization"
    metric: ClassVar[str] = "rougeLsum"
    sources: ClassVar[Names] = DOCUMENTS
    targets: ClassVar[Names] = SUMMARIES


@dataclasses.dataclass(frozen=True)
class PublicSummarization(Seq2Seq):
    """A public dataset of documents and summaries, as TFDS has it.

    CNN/DailyMail is the version that is not anonymised (See et al. 2017), XSum that of Narayan et
    al. 2018. Rows without a document or a summary are left out.

    Attributes:
      name: a key of `PUBLIC`.
      data_dir: TFDS folder; None is TFDS's own default.
      download: let TFDS fetch the public dataset when `data_dir` lacks it.
    """

    max_length: int = 1024
    name: str = ""
    data_dir: str | None = None
    download: bool = False

    metric: ClassVar[str] = "rougeLsum"

    @property
    def read(self) -> Read:
        """The splits train and validation.

        Raises:
          UserError: TFDS does not have the dataset.
        """
        return _read(self.name, self.data_dir, self.download)


@functools.lru_cache(maxsize=1)
def _read(name: str, data_dir: str | None, download: bool) -> Read:
    mend = f"prepare it with TFDS, or give its rows as tables to the task {Summarization.name}"
    source = Source(name, name, data_dir, download, mend)
    train, evaluation = (_part(source, split) for split in (TRAIN, VALIDATION))
    return Read("seq2seq", (), train, evaluation)


def _part(source: Source, split: str) -> Part:
    """The rows of a split that have both texts."""
    rows = source.read(split)
    names = dict(zip((SOURCE, LABEL), PUBLIC[source.dataset], strict=True))
    texts = {role: Texts() for role in names}
    for row in rows:
        for role, name in names.items():
            texts[role].extend([row[name].decode()])
    found = pa.table({role: column.array() for role, column in texts.items()})
    filled = ~(is_blank(found[SOURCE].combine_chunks()) | is_blank(found[LABEL].combine_chunks()))
    path = f"{source.dataset} {split}"
    if not filled.any():
        raise UserError(
            f"{path}: no row has {' and '.join(names.values())}: expected documents with "
            "summaries; prepare the dataset again"
        )
    if not filled.all():
        _log.warning("%s: %d rows lack a text and are left out", path, (~filled).sum())
        found = found.filter(pa.array(filled))
    table = Table(path, found, names)
    ends = pa.array(np.arange(len(found) + 1))
    return Part(table, pa.LargeListArray.from_arrays(ends, table.column(LABEL)))
