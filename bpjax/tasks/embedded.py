"""The embedded task: question answering on passages made here, without a download."""

import dataclasses
from typing import ClassVar

import numpy as np

from bpjax.errors import UserError
from bpjax.tasks import base
from bpjax.tasks.passages import Maker, write_passage
from bpjax.tasks.spans import Example
from bpjax.tasks.squad import SpanTask


@dataclasses.dataclass(frozen=True)
class Embedded(SpanTask):
    """Generated passages with questions, in the manner of SQuAD.

    Train and evaluation share no passage, and a fifth of the names and descriptions of the
    evaluation never occur in train.

    Attributes:
      train_size: training questions, two a passage.
      eval_size: evaluation questions.
      seed: of the generator; the same seed gives the same questions everywhere.
    """

    max_length: int = 128
    stride: int = 32
    max_question_length: int = 48
    train_size: int = 4000
    eval_size: int = 500
    seed: int = 0

    name: ClassVar[str] = "embedded"

    def __post_init__(self) -> None:
        super().__post_init__()
        base.require_positive(train_size=self.train_size, eval_size=self.eval_size)
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: expected an integer of at least 0; change seed")

    def examples(self, split: str) -> list[Example]:
        """The generated questions of "train" or "validation"."""
        if split == "validation":
            rng = np.random.default_rng([self.seed, 1])
            return _generate(split, self.eval_size, Maker(rng, unseen=True), set())
        others = {example.context for example in self.examples("validation")}
        rng = np.random.default_rng([self.seed, 0])
        return _generate(split, self.train_size, Maker(rng, unseen=False), others)


def _generate(split: str, size: int, maker: Maker, seen: set[str]) -> list[Example]:
    """`size` questions about passages that are not in `seen` and all different."""
    seen = set(seen)
    examples: list[Example] = []
    while len(examples) < size:
        passage = write_passage(maker)
        if passage.text in seen:
            continue
        seen.add(passage.text)
        for query in passage.queries:
            identity = f"{split}-{len(examples)}"
            answer = query.answer
            examples.append(
                Example(identity, passage.text, query.text, (answer.text,), (answer.start,))
            )
    return examples[:size]
