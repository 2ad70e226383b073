"""What tasks on tables of texts share: one or two texts in a row, and a label."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from bpjax.errors import UserError
from bpjax.tasks.own import TableTask
from bpjax.tasks.tables import Table, check_texts, find_column

BATCH = (
    2000  # texts tokenised at a time: what the tokenizer gives takes ten times their ids' memory
)

TEXTS = (
    ("text",),
    ("sentence",),
    ("review",),
    ("content",),
    ("question",),
    ("query",),
    ("comment",),
    ("tweet",),
    ("message",),
    ("utterance",),
    ("document",),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
)
"""Usual names of the texts of a row."""


@dataclasses.dataclass(frozen=True)
class TextTable(TableTask):
    """A task on rows of one or two texts.

    Attributes:
      text: name of the column of texts; empty: the usual one that the table has, or two.
      text_pair: name of the column of second texts, where `text` is set.
      label: name of the column of labels; empty: the usual one that the table has.
    """

    text: str = ""
    text_pair: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_pair and not self.text:
            raise UserError(
                f"text_pair {self.text_pair!r}: expected text to be set too; set task.text to the "
                "column of first texts"
            )

    def find_texts(self, path: Path, names: Sequence[str]) -> dict[str, str]:
        """The columns of texts, one or two, by what they are to the task.

        Raises:
          UserError: there is none, or several that could be meant.
        """
        found = find_column(path, names, "text", self.text, TEXTS)
        if self.text_pair:
            found += find_column(path, names, "text_pair", self.text_pair, ())
        return dict(zip(("text", "text_pair"), found, strict=False))

    def distinct(self, path: Path, chosen: Mapping[str, str]) -> Mapping[str, str]:
        """The same columns, none of which is chosen twice.

        Raises:
          UserError: one is.
        """
        if len(set(chosen.values())) < len(chosen):
            raise UserError(
                f"{path}: {', '.join(chosen.values())} are {', '.join(chosen)}: expected different "
                "columns; change task.text, task.text_pair or task.label"
            )
        return chosen

    def check(self, table: Table) -> Table:
        """The same table, none of whose texts is blank."""
        for role in table.roles:
            check_texts(table, role)
        return table
