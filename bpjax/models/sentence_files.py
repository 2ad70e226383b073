"""Folders of sentence-transformers, in and out: the files beside the encoder's own.

Every field of the modules' classes stands in the tables below: those that are read, the values that
are taken of those that would change an embedding, and those that change nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.errors import UserError
from bpjax.models.embedding import POOLINGS, Embedding
from bpjax.models.sizes import is_size
from bpjax.models.sources import (
    MODULES,
    SENTENCE_CONFIG,
    SENTENCE_CONFIGS,
    SENTENCE_SETTINGS,
    read_json,
    read_modules,
)
from bpjax.models.tokenizer import TOKENIZER_CONFIG, load_tokenizer


class Fields(NamedTuple):
    """The fields of a file.

    Attributes:
      read: those that have a meaning here.
      taken: values of fields that would change an embedding: any other is refused. The first is
        what a file without the field means.
      ignored: fields without effect.
    """

    read: tuple[str, ...]
    taken: Mapping[str, tuple[Any, ...]]
    ignored: tuple[str, ...] = ()


_NOTHING: tuple[Any, ...] = ({}, None)
_TEXT_ALONE = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}

TRANSFORMER = Fields(
    read=("max_seq_length", "do_lower_case"),
    taken={
        "transformer_task": ("feature-extraction",),
        "modality_config": (_TEXT_ALONE,),
        "module_output_name": ("token_embeddings",),
        "document_length": (None,),
        "query_length": (None,),
        "query_expansion": (None,),
        "tokenizer_name_or_path": (None,),
        **dict.fromkeys(("config_args", "config_kwargs", "model_args", "model_kwargs"), _NOTHING),
        **dict.fromkeys(("processing_kwargs", "processor_kwargs", "tokenizer_args"), _NOTHING),
    },
    ignored=("unpad_inputs",),  # how it is computed
)

LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Fields of a pooling, each true or false, which later versions call by a name in one field."""

DIMENSIONS = ("word_embedding_dimension", "embedding_dimension")

POOLING = Fields(read=("pooling_mode", *DIMENSIONS, *LEGACY), taken={"include_prompt": (True,)})

NORMALIZE = Fields(
    read=(),
    taken={
        "module_input_name": ("sentence_embedding",),
        "module_output_name": ("sentence_embedding", None),
    },
)

SETTINGS = Fields(
    read=("prompts", "default_prompt_name", "similarity_fn_name"),
    taken={"model_type": ("SentenceTransformer",)},
)
"""Of the whole model. Other fields are ignored by sentence-transformers too."""

GIVEN_PROMPTS = ("query", "document")
"""Names of prompts that every model has there, empty unless its file says what they are."""

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

CLASSES = {
    "Transformer": "sentence_transformers.models.Transformer",
    "Pooling": "sentence_transformers.models.Pooling",
    "Normalize": "sentence_transformers.models.Normalize",
}
"""The modules of an embedding, by names that all versions know."""


def has_embedding(folder: Path) -> bool:
    """Whether a model's folder is one of sentence-transformers that gives embeddings."""
    root = _root(folder)
    if root is None:
        return False
    path = root / SENTENCE_SETTINGS
    # A cross-encoder is what its config.json says: a classifier of two texts.
    return not path.is_file() or read_json(path).get("model_type") != "CrossEncoder"


def read_embedding(folder: Path, positions: int) -> Embedding:
    """What the files of sentence-transformers say of a model, as the library reads them.

    Args:
      folder: of the encoder's config.json: that of the model, or `0_Transformer` in it.
      positions: tokens in a row that the encoder takes.

    Raises:
      UserError: no such files, other modules, or a field that changes the embedding in a way that
        bpjax does not have.
    """
    root = _root(folder)
    if root is None:
        raise UserError(
            f"{folder}: no {MODULES}: expected a folder of sentence-transformers, which says how "
            "an embedding is made of the encoder's states; save the model with SentenceTransformer"
        )
    modules = read_modules(root)
    kinds = [_kind(each, root / MODULES) for each in modules]
    expected = ["Transformer", "Pooling", *["Normalize"] * (len(kinds) - 2)]
    for found, wanted in zip(kinds, expected, strict=False):
        if found != wanted:
            raise UserError(
                f"{root / MODULES}: a module is {found}: expected {wanted}, for bpjax has "
                "Transformer, Pooling and Normalize, in this order; choose another model"
            )
    if len(kinds) < 2:
        raise UserError(
            f"{root / MODULES}: {' and '.join(kinds)} alone: expected Transformer and Pooling; "
            "choose another model"
        )
    for each in modules[2:]:
        path = _inside(root, each) / "config.json"
        if path.is_file():
            _require(read_json(path), NORMALIZE, path)
    try:
        return Embedding(
            pooling=_pooling(_inside(root, modules[1]) / "config.json"),
            normalize=len(kinds) > 2,
            max_length=_max_length(folder, positions),
            **_settings(root / SENTENCE_SETTINGS),
        )
    except UserError as error:
        raise error if str(root) in str(error) else UserError(f"{root}: {error}") from None


def write_embedding(folder: Path, embedding: Embedding, dimensions: int) -> None:
    """Writes the files that `read_embedding` and sentence-transformers read.

    Args:
      folder: of the encoder's config.json.
      embedding: of the model.
      dimensions: of an embedding.
    """
    kinds = ["Transformer", "Pooling", *["Normalize"] * embedding.normalize]
    paths = ["", "1_Pooling", "2_Normalize"]
    pooling: dict[str, Any] = {
        DIMENSIONS[0]: dimensions // len(embedding.pooling),
        "include_prompt": True,
    }
    if embedding.pooling == tuple(name for name in POOLINGS if name in embedding.pooling):
        pooling |= {key: name in embedding.pooling for key, name in LEGACY.items()}
    else:  # in another order, which older versions cannot say
        pooling["pooling_mode"] = list(embedding.pooling)
    files: dict[str, Any] = {
        MODULES: [
            {"idx": i, "name": str(i), "path": path, "type": CLASSES[kind]}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
        ],
        SENTENCE_CONFIG: {"max_seq_length": embedding.max_length, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
        SENTENCE_SETTINGS: {
            "prompts": dict(embedding.prompts),
            "default_prompt_name": embedding.default_prompt,
            "similarity_fn_name": embedding.similarity,
        },
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def embedding_files(folder: Path) -> list[Path]:
    """The files that say how an embedding is made, those that there are."""
    root = _root(folder)
    if root is None:
        return []
    inner = [_inside(root, each) / "config.json" for each in read_modules(root)[1:]]
    texts = [folder / name for name in SENTENCE_CONFIGS]
    named = [root / MODULES, root / SENTENCE_SETTINGS, *texts, *inner]
    return [path for path in named if path.is_file()]


def _root(folder: Path) -> Path | None:
    """The folder of modules.json: this one, or that above of which this is the encoder's part."""
    if (folder / MODULES).is_file():
        return folder
    above = folder.parent
    if (above / MODULES).is_file() and read_modules(above)[0]["path"] == folder.name:
        return above
    return None


def _kind(module: Mapping[str, Any], where: Path) -> str:
    """A module's class in sentence-transformers, without the package that it lies in."""
    package, _, name = module["type"].rpartition(".")
    if not f"{package}.".startswith("sentence_transformers."):
        raise UserError(
            f"{where}: type is {module['type']!r}, code of the model's own: expected modules of "
            "sentence_transformers; choose another model"
        )
    return name


def _inside(root: Path, module: Mapping[str, Any]) -> Path:
    return root / Path(module["path"]).name


def _require(
    data: Mapping[str, Any], fields: Fields, where: Path, *, all_known: bool = True
) -> None:
    for key, taken in fields.taken.items():
        found = data.get(key, taken[0])
        if not any(found == value and type(found) is type(value) for value in taken):
            raise UserError(
                f"{where}: {key} is {repr(found)[:80]}: expected {taken[0]!r}; choose another model"
            )
    known = {*fields.read, *fields.taken, *fields.ignored}
    unknown = next((key for key in data if key not in known), None)
    if unknown is not None and all_known:
        raise UserError(
            f"{where}: {unknown} is {repr(data[unknown])[:80]}: expected one of "
            f"{', '.join(sorted(known))}; remove it if it changes no embedding"
        )


def _pooling(path: Path) -> tuple[str, ...]:
    data = read_json(path)
    _require(data, POOLING, path)
    for key in LEGACY:
        if not isinstance(data.get(key, False), bool):
            raise UserError(f"{path}: {key} is {data[key]!r}: expected true or false; correct it")
    old = tuple(name for key, name in LEGACY.items() if data.get(key))
    named = data.get("pooling_mode")
    if named is None and not old and LEGACY.keys() & data.keys():
        raise UserError(
            f"{path}: no pooling_mode is true: expected one of {', '.join(POOLINGS)}; correct it"
        )
    modes = (named,) if isinstance(named, str) else named or old or ("mean",)
    if not isinstance(modes, list | tuple) or any(mode not in POOLINGS for mode in modes):
        raise UserError(
            f"{path}: pooling_mode is {', '.join(map(str, modes)) if modes is not named else named}"
            f": expected some of {', '.join(POOLINGS)}; choose a model that pools so"
        )
    return tuple(modes)


def _max_length(folder: Path, positions: int) -> int:
    """Tokens kept of a text, as sentence-transformers finds them."""
    path = next((folder / name for name in SENTENCE_CONFIGS if (folder / name).is_file()), None)
    data = read_json(path) if path else {}
    if path:
        _require(data, TRANSFORMER, path)
        if data.get("do_lower_case", False) and not _lowers(folder):
            raise UserError(
                f"{path}: do_lower_case is {data['do_lower_case']!r}: expected false, for the "
                "tokenizer keeps capital letters; write lower-casing into its tokenizer.json"
            )
    found = data.get("max_seq_length")
    if found is None:
        settings = folder / TOKENIZER_CONFIG
        told = read_json(settings).get("model_max_length") if settings.is_file() else None
        known = isinstance(told, int | float) and not isinstance(told, bool) and told >= 1
        return int(min(told, positions)) if known and told is not None else positions
    if not is_size(found, 1) or found > positions:
        raise UserError(
            f"{path}: max_seq_length is {found!r}: expected a whole number of 1 to {positions}, "
            "the positions of the encoder; correct it"
        )
    return int(found)


def _lowers(folder: Path) -> bool:
    normalizer = load_tokenizer(folder).backend_tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("A") == "a"


def _settings(path: Path) -> dict[str, Any]:
    """Prompts, and what embeddings are compared by."""
    data = read_json(path) if path.is_file() else {}
    _require(data, SETTINGS, path, all_known=False)
    prompts, default = data.get("prompts") or {}, data.get("default_prompt_name")
    if not isinstance(prompts, Mapping) or not all(
        isinstance(text, str | None) for text in prompts.values()
    ):
        raise UserError(f"{path}: prompts is {repr(prompts)[:80]}: expected texts; correct it")
    texts = {name: text or "" for name, text in prompts.items()}
    if default in GIVEN_PROMPTS:
        texts.setdefault(default, "")
    if default is not None and default not in texts:
        raise UserError(
            f"{path}: default_prompt_name is {default!r}: expected one of {', '.join(texts)}; "
            "correct it"
        )
    similarity = data.get("similarity_fn_name")
    if similarity not in (None, *SIMILARITIES):
        raise UserError(
            f"{path}: similarity_fn_name is {similarity!r}: expected one of "
            f"{', '.join(SIMILARITIES)}; correct it"
        )
    return {
        "prompts": tuple(texts.items()),
        "default_prompt": default,
        "similarity": similarity,
    }
