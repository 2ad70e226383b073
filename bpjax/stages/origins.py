"""What a run reads from outside its folder, known by digests: it goes on over nothing else."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.config import RunConfig
from bpjax.models.checkpoint import files_of_head
from bpjax.models.sources import CONFIG, TOKENIZER_FILES, find_folder, weight_files
from bpjax.stages.base import Inputs
from bpjax.tasks.base import Features
from bpjax.workdir import Origin


def origins(inputs: Inputs, config: RunConfig) -> list[Origin]:
    """What a run is made from, whatever lies behind one thing before what follows from it.

    Files are read whole. A sample of them would take another training of the same model for the
    same, and a run reads all of them anyway. They are compared as they lie, so that no version of a
    library changes what a run is known by.

    Args:
      inputs: data.
      config: of the run.

    Raises:
      UserError: a model that is not there.
    """
    source = find_folder(config.model.source)
    # What a metric needs of a row is read of those that are evaluated.
    rows = {"training": (inputs.train, False), "evaluation": (inputs.evaluation, True)}
    models = {
        "model.source": config.model.source,
        "teacher.source": config.teacher.source,
        "distillation.source": config.distillation.source,
    }
    head = inputs.task.head
    runs = {"prune.source": config.prune.source, "prune.rewind": config.prune.rewind}
    return [
        Origin(
            "tokenizer",
            digest_files(source / name for name in TOKENIZER_FILES),
            f"the tokenizer of model.source ({config.model.source}) is not the one",
        ),
        *(
            Origin(
                name,
                digest_files(
                    [folder / CONFIG, *weight_files(folder), *files_of_head(folder, head)]
                ),
                f"{name} ({named}) is not the model",
            )
            for name, named in models.items()
            if named
            for folder in (find_folder(named),)
        ),
        *(
            Origin(
                f"{name} rows",
                _digest_rows(features, examples),
                f"the {name} rows of task {inputs.task.name} are not those",
            )
            for name, (features, examples) in rows.items()
        ),
        *(
            Origin(
                name,
                digest_files(sorted(Path(named, "prune").glob("*.safetensors"))),
                f"{name} ({named}) is not the run",
            )
            for name, named in runs.items()
            if named
        ),
    ]


def digest_files(paths: Iterable[Path]) -> str:
    """Of the names and contents of those files that are there."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def _digest_rows(features: Features, examples: bool) -> str:
    """Of all columns, in order of their names, and of the examples where that is asked for."""
    digest = hashlib.sha256()
    for name, column in sorted(features.columns.items()):
        _add(digest, (name, column.fill, column.values, column.starts))
    if examples:
        _add(digest, features.examples)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Adds a value, and what it is made of, to a digest; of an object its attributes."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        digest.update(f"{value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Mapping):
        _add(digest, list(value.items()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"{len(value)}\n".encode())
        for each in value:
            _add(digest, each)
    elif hasattr(value, "__dict__"):
        _add(digest, vars(value))
    else:
        digest.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
