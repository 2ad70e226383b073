"""Checkpoints in and out: Hugging Face's names, safetensors only, shrunken models included."""

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Key
from safetensors.numpy import save_file

from bpjax.errors import UserError
from bpjax.models.config import BertConfig
from bpjax.models.families import FAMILIES
from bpjax.models.heads import HEADS
from bpjax.models.names import config_from_json, config_to_json, tensor_table
from bpjax.models.sources import (
    CARD,
    CONFIG,
    TOKENIZER_FILES,
    WEIGHTS,
    Checkpoint,
    find_folder,
    one_line,
    read_json,
)

if TYPE_CHECKING:
    import transformers

# Embeddings are often padded to a multiple of 128; more spare rows mean another vocabulary.
_SPARE_ROWS = 128

_VOCABULARIES = {"tokenizer.json", "vocab.txt"}

_log = logging.getLogger(__name__)


def load_pretrained(
    source: str | Path,
    *,
    head: str = "none",
    num_labels: int = 2,
    dtype: str = "float32",
    rng: Key[Array, ""] | None = None,
) -> tuple[BertConfig, dict[str, Any]]:
    """Loads a BERT, RoBERTa or DistilBERT, dense or shrunken, from safetensors.

    Args:
      source: a folder, an installed package or a hub name; see `sources.find_folder`.
      head: a key of `heads.HEADS`; the checkpoint's own head is taken when it fits, else a new one
        is drawn. Or "saved": the head that config.json names, which the checkpoint then must hold.
      num_labels: labels that the head is to tell apart.
      dtype: compute type of the model; parameters are float32 whatever the checkpoint stores.
      rng: for a new head or pooler, normal(0.02) with zero biases; by default `key(0)`.

    Returns:
      The config and the tree `params`, kernels `[in, out]`.

    Raises:
      UserError: no such source, a pickle, a truncated file, another architecture, tensors that are
        missing or do not fit the config.
    """
    if head not in (*HEADS, "saved"):
        raise UserError(f"head {head!r}: expected one of {', '.join(HEADS)} or saved")
    folder = find_folder(source)
    checkpoint = Checkpoint(folder)
    config = config_from_json(
        read_json(folder / CONFIG),
        head=head,
        num_labels=num_labels,
        dtype=dtype,
        where=str(folder / CONFIG),
    )
    rng = jax.random.key(0) if rng is None else rng
    strict = head == "saved" and config.head != "none"

    table = tensor_table(config)
    layers = FAMILIES[config.family].layer.partition("{}")[0]
    known = {tensor.name for tensor in table.values()}
    for name in checkpoint.names():
        if name.startswith(layers) and name not in known:
            raise UserError(
                f"{folder}: {name} has no place in a model of {config.num_layers} layers as "
                f"{CONFIG} describes it; use the {CONFIG} and {WEIGHTS} of one model"
            )

    params = {}
    drawn = set()
    for index, (path, (name, shape, _)) in enumerate(table.items()):
        part = path.split("/")[0]
        is_kernel = path.endswith("/kernel")
        stored = shape[::-1] if is_kernel else shape
        found = checkpoint.shape(name)
        if found == stored:
            value = checkpoint.read(name)
            params[path] = jnp.array(value.T if is_kernel else value)
        elif not strict and (part == "head" or (part == "pooler" and found is None)):
            noise = jax.random.normal(jax.random.fold_in(rng, index), shape, jnp.float32)
            params[path] = (0.02 if is_kernel else 0.0) * noise
            drawn.add(part)
        elif found is None:
            raise UserError(
                f"{folder}: {name} is missing: expected shape {list(stored)} as {CONFIG} says; "
                "fetch the whole checkpoint"
            )
        else:
            raise UserError(
                f"{folder}: {name} has shape {list(found)}: expected {list(stored)} as {CONFIG} "
                f"says; use the {CONFIG} and {WEIGHTS} of one model"
            )
    if drawn:
        _log.info("%s: drew a new %s", folder, " and ".join(sorted(drawn)))
    return config, traverse_util.unflatten_dict(params, sep="/")


def save_pretrained(
    directory: str | Path,
    config: BertConfig,
    params: dict[str, Any],
    tokenizer: "transformers.PreTrainedTokenizerBase | str | Path | None" = None,
    *,
    overwrite: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Saves a model as config.json, model.safetensors (float32, `[out, in]`) and tokenizer files.

    The folder appears whole or not at all: it is written under another name and then renamed.
    A dense model loads in transformers; see `names.config_to_json` for shrunken ones.

    Args:
      directory: the folder to make.
      config: the model's sizes.
      params: the tree `params`, float32 for a round trip without loss.
      tokenizer: a tokenizer to save, or a source (folder, package, hub name) to copy it from, with
        the model card if there is one.
      overwrite: replace a model that is already there, as a stage does that is run again.
      finish: is given the written folder before it gets its name, to add to it.

    Returns:
      The folder.

    Raises:
      UserError: the folder holds something already, or cannot be written.
      ValueError: `params` is not the tree of `config`.
    """
    prefix = "" if config.head == "none" else FAMILIES[config.family].prefix
    table = tensor_table(config)
    flat = traverse_util.flatten_dict(params, sep="/")
    if flat.keys() != table.keys():
        raise ValueError(
            f"params do not fit the config, which differ in {sorted(flat.keys() ^ table.keys())}"
        )
    tensors = {}
    for path, (name, shape, prefixed) in table.items():
        value = np.asarray(flat[path], np.float32)
        if value.shape != shape:
            raise ValueError(f"{path} has shape {value.shape}, the config says {shape}")
        name = prefix + name if prefixed else name
        tensors[name] = np.ascontiguousarray(value.T if path.endswith("/kernel") else value)

    with _replace_folder(Path(directory), overwrite) as folder:
        text = json.dumps(config_to_json(config), indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        # safetensors writes for its owner alone; a model is as readable as any other file.
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)
        if isinstance(tokenizer, str | Path):
            source = find_folder(tokenizer)
            for name in (*TOKENIZER_FILES, CARD):
                if (source / name).is_file():
                    shutil.copyfile(source / name, folder / name)
        elif tokenizer is not None:
            tokenizer.save_pretrained(folder)
        if finish:
            finish(folder)
    return Path(directory)


def load_tokenizer(source: str | Path) -> "transformers.PreTrainedTokenizerFast":
    """Loads a fast tokenizer from the same kinds of source as `load_pretrained`.

    Raises:
      UserError: no tokenizer files there, or unreadable ones.
    """
    import transformers  # slow to import, and not needed to run a model

    folder = find_folder(source)
    present = {path.name for path in folder.iterdir()}
    if not present & _VOCABULARIES:
        raise UserError(
            f"{folder}: no tokenizer: expected tokenizer.json or vocab.txt; copy the files of the "
            "model's tokenizer there"
        )
    # A bare vocab.txt does not say whose it is; BERT's is the only kind we take without being told.
    told = present & {"tokenizer_config.json", CONFIG}
    kind: Any = transformers.AutoTokenizer if told else transformers.BertTokenizer
    try:
        return kind.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions for bad files
        raise UserError(
            f"{folder}: the tokenizer cannot be read ({one_line(error)}); fetch its files again"
        ) from error


def check_vocabulary(tokenizer: "transformers.PreTrainedTokenizerBase", config: BertConfig) -> None:
    """Checks that a tokenizer's ids are rows of the word embeddings.

    Raises:
      UserError: an id beyond the embeddings; or 128 and more embeddings without a token, which is
        more than padding and means that the two belong to different models.
    """
    size = max(tokenizer.get_vocab().values(), default=-1) + 1
    if not size <= config.vocab_size < size + _SPARE_ROWS:
        raise UserError(
            f"the tokenizer has {size} tokens, the model {config.vocab_size} word embeddings: "
            "expected a vocabulary that fits; use the tokenizer that came with the model"
        )


def check_same_vocabulary(
    tokenizer: "transformers.PreTrainedTokenizerBase", source: str | Path
) -> None:
    """Checks that a model which is given a tokenizer's ids has learnt them as the same words.

    A folder without tokenizer files is taken at its word.

    Raises:
      UserError: its own tokenizer has other words, or other ids for them.
    """
    if not any((find_folder(source) / name).exists() for name in _VOCABULARIES):
        return
    ours, theirs = (x.get_vocab() for x in (tokenizer, load_tokenizer(source)))
    for word in sorted(ours.keys() | theirs.keys()):
        if ours.get(word) != theirs.get(word):
            raise UserError(
                f"{source} has another vocabulary: {word!r} is {theirs.get(word)} there and "
                f"{ours.get(word)} in the model's; choose one made from the same vocabulary"
            )


@contextlib.contextmanager
def _replace_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a folder to fill, which takes the target's place when the block ends well."""
    target = target.expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: expected a folder to save to; choose another name")
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and not (overwrite and (target / CONFIG).is_file()):
        raise UserError(
            f"{target} is not empty: expected a new folder for the model; choose another name"
        )
    mark = uuid.uuid4().hex[:8]
    staging = target.with_name(f".{target.name}.{mark}.new")
    retired = target.with_name(f".{target.name}.{mark}.old")
    try:
        staging.mkdir(parents=True)
        yield staging
        if occupied:
            target.rename(retired)
        staging.rename(target)
    except OSError as error:
        if retired.exists():
            retired.rename(target)
        raise UserError(
            f"{target}: cannot be written ({error.strerror or one_line(error)}): expected a folder "
            "on a writable disk with room; choose another"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)
