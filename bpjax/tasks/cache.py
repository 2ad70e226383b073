"""Tokenised features, kept in the user's cache folder so that a second start does not make them."""

import dataclasses
import functools
import json
import os
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpjax
from bpjax.tasks.base import Features

ENOUGH = 1000  # rows; fewer are made faster than they are found


def cached(make: Callable[..., Features]) -> Callable[..., Features]:
    """Keeps what a task's method makes of rows and a tokenizer.

    The file's name is a digest of all that its content depends on: bpjax's version, the task's
    options, the rows, and the tokenizer. It is written whole or not at all, and made again if it
    cannot be read. Where the folder cannot be written nothing is kept. It is BPJAX_FEATURES where
    that is set (empty: nothing is kept), else `bpjax/features` in the user's cache folder.
    """

    @functools.wraps(make)
    def features(task: Any, rows: list[Any], tokenizer: Any) -> Features:
        folder = _folder()
        if folder is None or len(rows) < ENOUGH:
            return make(task, rows, tokenizer)
        import joblib

        words = json.loads(tokenizer.backend_tokenizer.to_str())
        words["truncation"] = words["padding"] = None  # those of its last call
        name = joblib.hash(
            (bpjax.__version__, type(task).__name__, dataclasses.asdict(task), rows, words)
        )
        path = folder / f"{name}.joblib"
        try:
            return joblib.load(path)
        except (OSError, EOFError, ValueError, KeyError, AttributeError, pickle.UnpicklingError):
            found = make(task, rows, tokenizer)
        partial = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            joblib.dump(found, partial)
            partial.replace(path)
        except OSError:  # no room, or somebody else's folder
            partial.unlink(missing_ok=True)
        return found

    return features


def _folder() -> Path | None:
    chosen = os.environ.get("BPJAX_FEATURES")
    if chosen is not None:
        return Path(chosen) if chosen else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpjax" / "features"
