"""Texts to be answered: lines of a file or of standard input, or columns of a table."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpjax.errors import UserError
from bpjax.tasks.table_source import READERS, read_table
from bpjax.tasks.tables import Layout, Table, check_texts, find_column, open_text
from bpjax.tasks.text_table import TEXTS

STDIN = "-"
QUESTIONS = (("question", "context"), ("question", "passage"))
"""Usual names of the columns of a model that answers questions."""


def read_texts(source: str, head: str, columns: Sequence[str] = ()) -> list[Any]:
    """Texts, or pairs of texts.

    Args:
      source: a table, such as a .csv or .jsonl file or a saved dataset; else a file of a text a
        line, or "-": standard input.
      head: of the model that is to answer.
      columns: of a table: the texts' one or two; none: those with the usual names.

    Raises:
      UserError: no such file, a text that is blank, no such column, or bytes that are not UTF-8.
    """
    path = Path(source).expanduser()
    if source != STDIN and (path.is_dir() or path.suffix.lower() in READERS):
        return _from_table(path, head, columns)
    if columns:
        raise UserError(
            f"columns {', '.join(columns)}: expected none, for {source} is no table but a text a "
            "line; remove --columns"
        )
    if source == STDIN:
        name = "standard input"
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}: byte {error.start} is not UTF-8: expected UTF-8 texts; convert it"
            ) from error
    else:
        name = str(path)
        with open_text(path) as file:
            text = file.read()
    lines = text.removesuffix("\n").split("\n") if text else []
    if not lines:
        raise UserError(f"{name}: no text: expected a text a line; write some")
    if head == "span":
        raise UserError(
            f"{name}: a text a line: expected a table with the columns question and context, for "
            "the model answers questions; write one, such as a .jsonl file"
        )
    texts = [line.removesuffix("\r") for line in lines]
    blank = next((number for number, line in enumerate(texts, 1) if not line.strip()), None)
    if blank is not None:
        raise UserError(f"{name} line {blank} is blank: expected a text a line; remove it")
    return texts


def _from_table(path: Path, head: str, columns: Sequence[str]) -> list[Any]:
    def choose(names: Sequence[str]) -> Mapping[str, str]:
        known = QUESTIONS if head == "span" else TEXTS
        if columns:
            chosen = [find_column(path, names, "columns", name, ())[0] for name in columns]
        else:
            chosen = [*find_column(path, names, "columns", "", known)]
        return {f"text_{number}": name for number, name in enumerate(chosen)}

    table: Table = read_table(path, choose, Layout())
    for role in [*table.names][: None if head != "span" else 1]:
        check_texts(table, role)
    found = [table.column(role).to_pylist() for role in table.names]
    return found[0] if len(found) == 1 else [*zip(*found, strict=True)]
