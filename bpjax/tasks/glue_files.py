"""Official GLUE files: tab-separated, each task with columns of its own."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from bpjax.errors import UserError
from bpjax.tasks.official import Keyed, read_text

TRAIN = {"train": "train.tsv"}
DEV_AND_TEST = {"validation": "dev.tsv", "test": "test.tsv"}
MATCHED_AND_MISMATCHED = {
    f"{split}_{kind}": f"{file}_{kind}.tsv"
    for split, file in (("validation", "dev"), ("test", "test"))
    for kind in ("matched", "mismatched")
}


HIGHEST_SCORE = 5  # of STS-B, the task whose label is a score; the lowest is 0


@dataclasses.dataclass(frozen=True)
class GlueFiles:
    """How a task's rows lie in its official files.

    Attributes:
      texts: column of each text feature, by the public builder's name of the feature.
      label: column of the label, which the test files lack.
      labels: names of the classes; empty where the label is a score.
      spelled: the files spell the classes' names; else they number them.
      header: the columns' names where the train and dev files lack them.
      phrases: the training rows are sentences and, apart, parts of them; the other files have
        whole sentences alone.
      cut_rows: the official files hold rows cut short, which the public builder leaves out.
      evaluation: file of each split but the training split.
    """

    texts: Mapping[str, str]
    label: str = "label"
    labels: tuple[str, ...] = ()
    spelled: bool = False
    header: tuple[str, ...] | None = None
    phrases: bool = False
    cut_rows: bool = False
    evaluation: Mapping[str, str] = dataclasses.field(default_factory=DEV_AND_TEST.copy)

    def read(self, folder: Path) -> dict[str, list[Keyed]]:
        """The rows of every split, each keyed by its place in the file.

        Raises:
          UserError: a file is missing or empty, a row lacks a column, has an unknown label or a
            score out of range.
        """
        files = {**TRAIN, **self.evaluation}
        return {split: self.read_split(folder / name, split) for split, name in files.items()}

    def read_split(self, path: Path, split: str) -> list[Keyed]:
        """(key, {text features, label, idx}) in the order of the file; idx counts from 0.

        Rows of a test split have the label -1, whatever the file says.

        Raises:
          UserError: as `read`.
        """
        labelled = not split.startswith("test")
        columns = [*self.texts.values(), *([self.label] if labelled else [])]
        header = self.header if labelled else None
        rows: list[Keyed] = []
        for idx, number, row in _read_tsv(path, columns, header, skip_cut=self.cut_rows):
            label = self._label(row[self.label], f"{path} line {number}") if labelled else -1
            texts = {feature: row[column] for feature, column in self.texts.items()}
            rows.append((idx, {**texts, "label": label, "idx": idx}))
        if not rows:
            raise UserError(f"{path}: no rows; expected the official file, fetch it again")
        return rows

    def _label(self, text: str, where: str) -> int | float:
        if not self.labels:
            try:
                score = float(text)
            except ValueError:
                score = math.nan
            if not 0 <= score <= HIGHEST_SCORE:  # nor is it that of nan
                raise UserError(
                    f"{where}: {self.label} {text!r}, expected a number from 0 to {HIGHEST_SCORE}; "
                    "mend or remove the line"
                )
            return score
        written = self.labels if self.spelled else tuple(map(str, range(len(self.labels))))
        if text not in written:
            names = written if self.spelled else map("{} ({})".format, written, self.labels)
            raise UserError(
                f"{where}: label {text!r}, expected {' or '.join(names)}; mend or remove the line"
            )
        return written.index(text)


def _read_tsv(
    path: Path, columns: list[str], header: tuple[str, ...] | None, *, skip_cut: bool
) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Rows with their place among the rows and their line number, both of the file.

    GLUE files hold unbalanced quotes: a tab always separates and a quote is a character like any
    other.
    """
    lines = read_text(path).removesuffix("\n").split("\n")
    first = 1
    if header is None:
        header, first = tuple(lines[0].rstrip("\r").split("\t")), 2
    for column in columns:
        if header.count(column) != 1:
            found = "two columns" if column in header else "no column"
            raise UserError(
                f"{path} line 1: header {lines[0][:200]!r} has {found} {column!r}; expected one as "
                "in the official header, mend it"
            )
    for idx, line in enumerate(lines[first - 1 :]):
        values = line.rstrip("\r").split("\t")
        if len(values) < len(header) and skip_cut:
            continue
        if len(values) != len(header):
            raise UserError(
                f"{path} line {idx + first}: {line[:80]!r} has {len(values)} columns, expected "
                f"{len(header)} separated by tabs ({', '.join(header)}); mend or remove the line"
            )
        yield idx, idx + first, dict(zip(header, values, strict=True))


_PAIR = {"sentence1": "sentence1", "sentence2": "sentence2"}
_ENTAILMENT = ("entailment", "not_entailment")

FILES: dict[str, GlueFiles] = {
    "cola": GlueFiles(
        {"sentence": "sentence"},
        labels=("unacceptable", "acceptable"),
        header=("source", "label", "star", "sentence"),
    ),
    "sst2": GlueFiles({"sentence": "sentence"}, labels=("negative", "positive"), phrases=True),
    "mrpc": GlueFiles(
        {"sentence1": "#1 String", "sentence2": "#2 String"},
        label="Quality",
        labels=("not_equivalent", "equivalent"),
    ),
    "qqp": GlueFiles(
        {"question1": "question1", "question2": "question2"},
        label="is_duplicate",
        labels=("not_duplicate", "duplicate"),
        cut_rows=True,
    ),
    "stsb": GlueFiles(_PAIR, label="score"),
    "mnli": GlueFiles(
        {"premise": "sentence1", "hypothesis": "sentence2"},
        label="gold_label",
        labels=("entailment", "neutral", "contradiction"),
        spelled=True,
        evaluation=MATCHED_AND_MISMATCHED,
    ),
    "qnli": GlueFiles(
        {"question": "question", "sentence": "sentence"}, labels=_ENTAILMENT, spelled=True
    ),
    "rte": GlueFiles(_PAIR, labels=_ENTAILMENT, spelled=True),
    "wnli": GlueFiles(_PAIR, labels=("not_entailment", "entailment")),
}
"""By task; the diagnostic set AX has no training data and is not among them."""
