"""Checkpoints in and out: Hugging Face's names, safetensors only, shrunken models included."""

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Key
from safetensors.numpy import save_file

from bpjax import models
from bpjax.errors import UserError
from bpjax.models.architecture import Architecture, Config
from bpjax.models.generation_files import read_generation, write_generation
from bpjax.models.heads import HEADS
from bpjax.models.labels import SavedHead, match, read_head
from bpjax.models.places import TURNS, Place, find_places, require_places, unwrap
from bpjax.models.quantize import (
    read_quantization,
    require_float,
    require_scales,
    write_quantization,
)
from bpjax.models.sentence_files import (
    embedding_files,
    has_embedding,
    read_embedding,
    write_embedding,
)
from bpjax.models.sources import (
    CARD,
    CONFIG,
    GENERATION,
    WEIGHTS,
    Checkpoint,
    find_folder,
    find_model,
    one_line,
    read_json,
)
from bpjax.models.tokenizer import copy_tokenizer

if TYPE_CHECKING:
    import transformers

_log = logging.getLogger(__name__)

EMBEDDING = "embedding"
SAVED = "saved"
"""The head that a model's config.json names."""


def load_pretrained(
    source: str | Path,
    *,
    head: str = SAVED,
    num_labels: int = 2,
    labels: Sequence[str] = (),
    dtype: str = "float32",
    rng: Key[Array, ""] | None = None,
    bias: Sequence[float] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Loads a model of any of `models.ARCHITECTURES`, dense or shrunken, from safetensors.

    Args:
      source: a folder, an installed package or a hub name; see `sources.find_model`.
      head: "saved", the head that config.json names, or an embedding where the folder is one of
        sentence-transformers: every tensor of the checkpoint must then have a place in the model,
        and every array of the model a tensor. Or a key of `heads.HEADS`: the
        checkpoint's own head is taken where it is of this kind and tells the same labels apart,
        else a new one is drawn.
      num_labels: labels that the head is to tell apart, unless it is the saved one.
      labels: their names, in the order that the outputs are to have. Where the checkpoint has the
        same names in another order its outputs are brought into this one.
      dtype: compute type of the model; parameters are float32 whatever the checkpoint stores.
      rng: for a new head or pooler, normal(`initializer_range`); by default `key(0)`.
      bias: of a new head, one number an output; by default zeros.

    Returns:
      The config and the tree `params`, kernels `[in, out]`.

    Raises:
      UserError: no such source, a pickle, a truncated file, another architecture, an adapter,
        tensors that are missing, have no place or do not fit the config, other labels than the
        saved head's.
    """
    if head not in (*HEADS, SAVED):
        raise UserError(f"head {head!r}: expected one of {', '.join(HEADS)} or {SAVED}")
    folder = find_model(source)
    path, strict = folder / CONFIG, head == SAVED
    saved = read_saved_head(path)
    config = read_config(path, head, num_labels).replace(dtype=dtype)
    if not strict:  # who names a head trains it
        require_float(config, folder)
    order = _order(saved, config, labels)
    if strict and order is None:
        raise UserError(
            f"{folder}: its labels are {', '.join(saved.labels)}: expected {', '.join(labels)}; "
            f"choose a model for these, or correct id2label in {CONFIG}"
        )
    config = _name(config, saved, order, labels)
    architecture = models.architecture(config)
    checkpoint = unwrap(Checkpoint(folder), models.tensors(config))
    config = architecture.complete(config, checkpoint.names())
    table = models.tensors(config)
    places = find_places(checkpoint, table)
    left = require_places(
        checkpoint,
        places,
        unread=architecture.unread(config),
        owned=architecture.owned(config),
        # Beside an embedding there may be the head that the encoder was pretrained with.
        strict=strict and config.head != EMBEDDING,
        described=_describe(config),
    )
    if left:
        _log.info("%s: left aside %s, of another head", folder, ", ".join(left))

    rng = jax.random.key(0) if rng is None else rng
    params, drawn = {}, set()
    for index, (array, stored) in enumerate(table.items()):
        place, of_head = places[array], stored.fresh == "any"
        found = checkpoint.shape(place.name)
        if found == place.shape and not (of_head and order is None):
            value = TURNS[stored.turn].to_ours(
                checkpoint.read(place.name, stored.dtype)[place.rows]
            )
            params[array] = jnp.array(value[..., order] if of_head else value)
        elif found is None and stored.absent:
            params[array] = jnp.array(stored.absent())
        elif not strict and (of_head or (stored.fresh == "missing" and found is None)):
            noise = jax.random.normal(jax.random.fold_in(rng, index), stored.shape, jnp.float32)
            params[array] = noise * (config.initializer_range if array.endswith("/kernel") else 0.0)
            if bias is not None and of_head and array.endswith("/bias"):
                params[array] = jnp.array(bias, jnp.float32)
            drawn.add(array.split("/")[0])
        else:
            _refuse(folder, place, found, config.num_labels if of_head else None)
    if drawn:
        _log.info("%s: drew a new %s", folder, " and ".join(sorted(drawn)))
    require_scales(params, lambda path: f"{folder}: {places[path].name}")
    return config, traverse_util.unflatten_dict(params, sep="/")


def _order(saved: SavedHead, config: Config, labels: Sequence[str]) -> list[int] | None:
    """Which of the saved head's outputs are ours, in our order; None where it is another head."""
    if config.head == EMBEDDING or HEADS[config.head].vocabulary:  # no parameters of its own
        return [*range(config.num_labels)]
    if (saved.head, saved.num_labels) != (config.head, config.num_labels):
        # A file that names no class says nothing: what fits is taken.
        return None if saved.head != "none" else [*range(config.num_labels)]
    if not (labels and saved.labels):
        return [*range(config.num_labels)]
    return match(labels, saved.labels)


def _name(
    config: Config, saved: SavedHead, order: Sequence[int] | None, labels: Sequence[str]
) -> Config:
    """The config with the names of its labels and its problem: the saved head's, or a new one's."""
    if order is None or saved.head != config.head:
        return config.replace(labels=tuple(labels), problem_type=HEADS[config.head].problem_type)
    names = tuple(saved.labels[i] for i in order) if saved.labels else tuple(labels)
    return config.replace(labels=names, problem_type=saved.problem_type)


def _refuse(folder: Path, place: Place, found: tuple[int, ...] | None, labels: int | None) -> None:
    """Raises UserError: a tensor that is missing, or has another shape than it should."""
    expected = f"expected shape {list(place.shape)} as {CONFIG} says"
    if found is None:
        raise UserError(
            f"{folder}: {place.name} is missing: {expected}; fetch the whole checkpoint"
        )
    if labels and found[1:] == place.shape[1:]:
        raise UserError(
            f"{folder}: {place.name} has {found[0]} outputs: expected {labels}, as many as labels "
            f"in {CONFIG} (id2label, num_labels); correct the file"
        )
    raise UserError(
        f"{folder}: {place.name} has shape {list(found)}: {expected}; use the {CONFIG} and "
        f"{WEIGHTS} of one model"
    )


def _describe(config: Config) -> str:
    layers = {each.layer for each in models.describe(config).sublayers}
    head = "without a head" if config.head == "none" else f"with a {config.head} head"
    return f"a model of {len(layers)} layers {head}"


def read_saved_head(path: Path) -> SavedHead:
    """The head that a config.json names, see `labels.read_head`, or an embedding.

    Raises:
      UserError: no such file, or another architecture.
    """
    data, architecture = _read(path)
    if not _gives_embeddings(path, data, architecture):
        return read_head(data, architecture.heads(data["model_type"]), str(path))
    try:
        config = read_config(path, EMBEDDING)
    except UserError:  # which who wants this head is told, and not who puts another on the encoder
        return SavedHead(None, 0, (), None)
    return SavedHead(EMBEDDING, config.num_labels, (), None, architecture.embedding(config))


def require_head(source: str | Path, head: str) -> None:
    """Refuses a model of an architecture that has no such head.

    Args:
      source: a folder, an installed package or a hub name.
      head: a key of `heads.HEADS`.

    Raises:
      UserError: it has none, or there is no such model.
    """
    data, architecture = _read(find_model(source) / CONFIG)
    if head not in architecture.heads(data["model_type"]):
        able = [name for name, each in models.ARCHITECTURES.items() if head in each.heads(name)]
        raise UserError(
            f"{source} is of type {data['model_type']}, for which bpjax has no {head} head: "
            f"expected one of {', '.join(able)}; choose another model or task"
        )


def read_config(path: Path, head: str = SAVED, num_labels: int = 2) -> Any:
    """The config of a model, from a config.json.

    Args:
      path: of the file.
      head: a key of `heads.HEADS`, or "saved".
      num_labels: labels that the head is to tell apart, unless it is the saved one.

    Raises:
      UserError: no such file, another architecture, what that architecture refuses, or a saved
        head that bpjax does not have.
    """
    data, architecture = _read(path)
    config = _read_config(path, data, architecture, head, num_labels)
    return config.replace(quantization=read_quantization(data, str(path)))


def _read_config(
    path: Path, data: dict[str, Any], architecture: Architecture, head: str, num_labels: int
) -> Any:
    if head == EMBEDDING or (head == SAVED and _gives_embeddings(path, data, architecture)):
        config = architecture.read(data, EMBEDDING, 1, str(path))
        return architecture.embed(config, read_embedding(path.parent, config.max_positions))
    if head != SAVED:
        return _with_generation(path, architecture.read(data, head, num_labels, str(path)))
    classes = architecture.heads(data["model_type"])
    saved = read_head(data, classes, str(path))
    if saved.head is None:
        raise UserError(
            f"{path}: architectures is {data.get('architectures')!r}: expected one of "
            f"{', '.join(dict.fromkeys(classes.values()))}; choose a model with such a head"
        )
    config = architecture.read(data, saved.head, saved.num_labels, str(path))
    return _with_generation(path, _name(config, saved, range(config.num_labels), ()))


def _with_generation(path: Path, config: Any) -> Any:
    """The config with the settings that the model writes with, if it does."""
    if not HEADS[config.head].generates:
        return config
    return config.replace(generation=read_generation(path, config.vocab_size))


def _gives_embeddings(path: Path, data: dict[str, Any], architecture: Architecture) -> bool:
    return EMBEDDING in architecture.heads(data["model_type"]) and has_embedding(path.parent)


def _read(path: Path) -> tuple[dict[str, Any], Architecture]:
    data = read_json(path)
    known = models.ARCHITECTURES
    found = known.get(str(data.get("model_type")))
    if found is None:
        raise UserError(
            f"{path}: model_type is {data.get('model_type')!r}: expected one of "
            f"{', '.join(known)}; choose such an encoder"
        )
    return data, found


def write_config(path: Path, config: Config) -> None:
    """Writes what `read_config` reads: a config.json, and what else says how a head answers."""
    architecture = models.architecture(config)
    data = architecture.write(config)
    write_quantization(config, data)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if config.head == EMBEDDING:
        write_embedding(path.parent, architecture.embedding(config), config.num_labels)
    if HEADS[config.head].generates:
        assert architecture.decoder is not None, f"{config.model_type} has no decoder"
        write_generation(path.parent, architecture.decoder.settings(config))


def files_of_head(folder: Path, head: str) -> list[Path]:
    """The files beside a model's config.json that say how a head answers.

    Args:
      folder: of config.json.
      head: a key of `heads.HEADS`.
    """
    if head == EMBEDDING:
        return embedding_files(folder)
    return [folder / GENERATION] if HEADS[head].generates else []


def save_pretrained(
    directory: str | Path,
    config: Config,
    params: dict[str, Any],
    tokenizer: "transformers.PreTrainedTokenizerBase | str | Path | None" = None,
    *,
    overwrite: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Saves a model as config.json, model.safetensors (float32, `[out, in]`) and tokenizer files.

    Kernels and tables of a quantised model are int8, see `quantize.stored`.
    One that gives embeddings also gets the files of sentence-transformers, and one that writes
    texts its generation_config.json.

    The folder appears whole or not at all: it is written under another name and then renamed.
    A dense model loads in transformers; one that is shrunken or quantised has the key `bpjax` in
    its config.json.

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
    flat = traverse_util.flatten_dict(params, sep="/")
    table = models.tensors(config)
    if flat.keys() != table.keys():
        raise ValueError(
            f"params do not fit the config, which differ in {sorted(flat.keys() ^ table.keys())}"
        )
    parts: dict[str, list[np.ndarray]] = {}
    for path, stored in table.items():
        value = np.asarray(flat[path], stored.dtype)
        if value.shape != stored.shape:
            raise ValueError(f"{path} has shape {value.shape}, the config says {stored.shape}")
        parts.setdefault(stored.name, []).append(TURNS[stored.turn].to_stored(value))
    tensors = {
        name: np.ascontiguousarray(found[0] if len(found) == 1 else np.concatenate(found))
        for name, found in parts.items()
    }

    with _replace_folder(Path(directory), overwrite) as folder:
        write_config(folder / CONFIG, config)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        # safetensors writes for its owner alone; a model is as readable as any other file.
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)
        if isinstance(tokenizer, str | Path):
            # A folder may be any, with a tokenizer or without.
            source = Path(tokenizer) if Path(tokenizer).is_dir() else find_folder(tokenizer)
            copy_tokenizer(source, folder)
            if (source / CARD).is_file():
                shutil.copyfile(source / CARD, folder / CARD)
        elif tokenizer is not None:
            tokenizer.save_pretrained(folder)
        if finish:
            finish(folder)
    return Path(directory)


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
