"""Encoder-decoders that compute as BART does but for a few choices: mBART, Pegasus and Marian.

A `Variant` says what tells one from the others. To add one, describe it here and name it in
`VARIANTS`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """One kind of encoder-decoder.

    Attributes:
      name: `model_type` in config.json.
      classes: the class of transformers for each of `heads.HEADS` that it has.
      pre_norm: norms stand before the sublayers, and one at the end of each stack; else behind
        them.
      norm_embedding: a norm stands behind the embeddings of each stack.
      sinusoidal: positions are sines and cosines that are not trained; else they are learned, from
        the table's row 2 on.
      wraps: what is written is shifted right by its last token, the language's, which then stands
        in front; else by `decoder_start_token_id`.
      defaults: of fields in config.json, where they are not BART's.
    """

    name: str
    classes: Mapping[str, str]
    pre_norm: bool = False
    norm_embedding: bool = True
    sinusoidal: bool = False
    wraps: bool = False
    defaults: Mapping[str, Any] = MappingProxyType({})

    @property
    def first_position(self) -> int:
        """The row of the position embeddings that the first token takes."""
        return 0 if self.sinusoidal else 2


def _classes(stem: str, seq2seq: str = "ForConditionalGeneration") -> dict[str, str]:
    return {"none": f"{stem}Model", "seq2seq": stem + seq2seq}


BART = Variant("bart", _classes("Bart"))

MBART = Variant(
    "mbart",
    _classes("MBart"),
    pre_norm=True,
    wraps=True,
    defaults={"decoder_start_token_id": None},
)

PEGASUS = Variant(
    "pegasus",
    _classes("Pegasus"),
    pre_norm=True,
    norm_embedding=False,
    sinusoidal=True,
    defaults={
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "forced_eos_token_id": 1,
    },
)

MARIAN = Variant(
    "marian",
    _classes("Marian", "MTModel"),
    norm_embedding=False,
    sinusoidal=True,
    defaults={
        "vocab_size": 58101,
        "pad_token_id": 58100,
        "bos_token_id": None,
        "eos_token_id": 0,
        "decoder_start_token_id": 58100,
        "forced_eos_token_id": 0,
    },
)

VARIANTS = {each.name: each for each in (BART, MBART, PEGASUS, MARIAN)}
