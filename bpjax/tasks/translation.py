"""Translations of the texts of a user's own table, or of two files of parallel texts."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from bpjax.errors import UserError
from bpjax.tasks.seq2seq_table import Names, PairTable

NESTED = "translation"
"""The column of the hub's datasets, whose cells are a text by language."""

LANGUAGES = {"source_language": "src_lang", "target_language": "tgt_lang"}
"""Options by what tokenizers of several languages call them."""


@dataclasses.dataclass(frozen=True)
class Translation(PairTable):
    """A translation of each text of a table.

    A table that has `{"translation": {"en": "a man", "de": "ein Mann"}}` in each row, as those of
    the hub, has the columns `en` and `de`.

    Attributes:
      source_language: of the sources, as a tokenizer of several languages calls it, such as en_XX
        of mBART; empty for others.
      target_language: the same of the targets.
    """

    source_language: str = ""
    target_language: str = ""

    name: ClassVar[str] = "translation"
    metric: ClassVar[str] = "bleu"
    sources: ClassVar[Names] = (("source",), ("src",), ("source_text",), ("src_text",))
    targets: ClassVar[Names] = (("target",), ("tgt",), ("target_text",), ("tgt_text",))

    def choose(self, path: Path, names: Sequence[str]) -> Mapping[str, str]:
        """The columns of sources and of targets."""
        nested = {name.removeprefix(f"{NESTED}."): name for name in names}
        source, target = (
            name if name in names else nested.get(name, name) for name in (self.source, self.target)
        )
        asked = dataclasses.replace(self, source=source, target=target)
        return super(Translation, asked).choose(path, names)

    @contextlib.contextmanager
    def languages(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
        """Tells a tokenizer, for a while, of the languages of sources and targets.

        Raises:
          UserError: it has languages and is not told of them, or is told of one that it has not.
        """
        before = {}
        for option, name in LANGUAGES.items():
            language, knows = getattr(self, option), hasattr(tokenizer, name)
            if language and not (knows and _has(tokenizer, language)):
                told = f"no language {language!r}" if knows else "no languages"
                raise UserError(
                    f"{option} {language!r}: tokenizer {type(tokenizer).__name__} has {told}: "
                    f"expected one of the tokenizer's, or nothing; change task.{option}"
                )
            if knows and not language:
                raise UserError(
                    f"{option} {language!r}: expected a language, for tokenizer "
                    f"{type(tokenizer).__name__} puts a token of it beside a text, such as "
                    f"{getattr(tokenizer, name) or 'en_XX'}; set task.{option}"
                )
            if knows:
                before[name] = getattr(tokenizer, name)
        try:
            for option, name in LANGUAGES.items():
                if name in before:
                    setattr(tokenizer, name, getattr(self, option))
            yield
        finally:
            for name, language in before.items():
                setattr(tokenizer, name, language)


def _has(tokenizer: PreTrainedTokenizerBase, language: str) -> bool:
    """Whether a language is a special token: another word of the vocabulary is none."""
    return language in tokenizer.all_special_tokens
