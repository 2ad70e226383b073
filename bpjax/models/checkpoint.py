"""Checkpoints in and out: Hugging Face's names, safetensors only, shrunken models included."""

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Key
from safetensors.numpy import save_file

from bpjax import models
from bpjax.errors import UserError
from bpjax.models.architecture import Config, Stored
from bpjax.models.heads import HEADS
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

_log = logging.getLogger(__name__)


class Turn(NamedTuple):
    """How an array of a checkpoint becomes ours, and back.

    Attributes:
      to_ours: from the stored array.
      to_stored: from ours.
      shape: of the stored array, from ours.
    """

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_stored: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]


TURNS = {
    "keep": Turn(lambda x: x, lambda x: x, lambda shape: shape),
    "transpose": Turn(lambda x: x.T, lambda x: x.T, lambda shape: shape[::-1]),
}
"""By the name in `Stored.turn`. PyTorch stores kernels as `[out, in]`."""


def load_pretrained(
    source: str | Path,
    *,
    head: str = "none",
    num_labels: int = 2,
    dtype: str = "float32",
    rng: Key[Array, ""] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Loads a model of any of `models.ARCHITECTURES`, dense or shrunken, from safetensors.

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
    config = read_config(folder / CONFIG, head, num_labels).replace(dtype=dtype)
    architecture = models.architecture(config)
    table = architecture.tensors(config)
    strict = head == "saved" and config.head != "none"
    _require_places(checkpoint, table, architecture.owned(config), config, folder)

    rng = jax.random.key(0) if rng is None else rng
    params, drawn = {}, set()
    places = _places(table)
    for index, (path, stored) in enumerate(table.items()):
        name = next((x for x in (stored.name, *stored.also) if x in checkpoint), stored.name)
        expected, rows = places[path]
        found = checkpoint.shape(name)
        may_draw = not strict and (
            stored.fresh == "any" or (stored.fresh == "missing" and found is None)
        )
        if found == expected:
            params[path] = jnp.array(TURNS[stored.turn].to_ours(checkpoint.read(name)[rows]))
        elif may_draw:
            noise = jax.random.normal(jax.random.fold_in(rng, index), stored.shape, jnp.float32)
            params[path] = (0.02 if path.endswith("/kernel") else 0.0) * noise
            drawn.add(path.split("/")[0])
        elif found is None:
            raise UserError(
                f"{folder}: {stored.name} is missing: expected shape {list(expected)} as {CONFIG} "
                "says; fetch the whole checkpoint"
            )
        else:
            raise UserError(
                f"{folder}: {name} has shape {list(found)}: expected {list(expected)} as {CONFIG} "
                f"says; use the {CONFIG} and {WEIGHTS} of one model"
            )
    if drawn:
        _log.info("%s: drew a new %s", folder, " and ".join(sorted(drawn)))
    return config, traverse_util.unflatten_dict(params, sep="/")


def read_config(path: Path, head: str = "saved", num_labels: int = 2) -> Any:
    """The config of a model, from a config.json.

    Raises:
      UserError: no such file, another architecture, or what that architecture refuses.
    """
    data = read_json(path)
    known = models.ARCHITECTURES
    architecture = known.get(str(data.get("model_type")))
    if architecture is None:
        raise UserError(
            f"{path}: model_type is {data.get('model_type')!r}: expected one of "
            f"{', '.join(known)}; choose such an encoder"
        )
    return architecture.read(data, head, num_labels, str(path))


def config_text(config: Config) -> str:
    """What `read_config` reads: the contents of a model's config.json."""
    return json.dumps(models.architecture(config).write(config), indent=2) + "\n"


def _require_places(
    checkpoint: Checkpoint,
    table: dict[str, Stored],
    owned: tuple[str, ...],
    config: Config,
    folder: Path,
) -> None:
    """Refuses tensors of the model's layers that it has no place for."""
    known = {name for stored in table.values() for name in (stored.name, *stored.also)}
    for name in checkpoint.names():
        if name.startswith(owned) and name not in known:
            layers = {each.layer for each in models.describe(config).sublayers}
            raise UserError(
                f"{folder}: {name} has no place in a model of {len(layers)} layers as "
                f"{CONFIG} describes it; use the {CONFIG} and {WEIGHTS} of one model"
            )


def _places(table: dict[str, Stored]) -> dict[str, tuple[tuple[int, ...], slice]]:
    """Of each array: the shape of the stored tensor that holds it, and its part of the rows."""
    rows: dict[str, int] = {}
    parts = {}
    for path, stored in table.items():
        shape = TURNS[stored.turn].shape(stored.shape)
        start = rows.get(stored.name, 0)
        rows[stored.name] = start + shape[0]
        parts[path] = (shape[1:], slice(start, start + shape[0]))
    return {
        path: ((rows[stored.name], *parts[path][0]), parts[path][1])
        for path, stored in table.items()
    }


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

    The folder appears whole or not at all: it is written under another name and then renamed.
    A dense model loads in transformers; a shrunken one has the key `bpjax` in its config.json.

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
    table = models.architecture(config).tensors(config)
    if flat.keys() != table.keys():
        raise ValueError(
            f"params do not fit the config, which differ in {sorted(flat.keys() ^ table.keys())}"
        )
    parts: dict[str, list[np.ndarray]] = {}
    for path, stored in table.items():
        value = np.asarray(flat[path], np.float32)
        if value.shape != stored.shape:
            raise ValueError(f"{path} has shape {value.shape}, the config says {stored.shape}")
        parts.setdefault(stored.name, []).append(TURNS[stored.turn].to_stored(value))
    tensors = {
        name: np.ascontiguousarray(found[0] if len(found) == 1 else np.concatenate(found))
        for name, found in parts.items()
    }

    with _replace_folder(Path(directory), overwrite) as folder:
        (folder / CONFIG).write_text(config_text(config), encoding="utf-8")
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
