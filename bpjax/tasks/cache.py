"""Tokenised columns, kept in the user's cache folder so that a second start does not make them."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import sys
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import save_file

from bpjax.tasks.columns import Column

ENOUGH = 1000  # rows; fewer are made faster than they are found
LARGE = 1 << 20  # bytes of a file; what is smaller is read faster than it is found

Make = Callable[..., dict[str, Column]]


def cached(version: int) -> Callable[[Make], Make]:
    """Keeps what a task's method makes of rows and a tokenizer.

    The file's name is a digest of all that its content depends on: the task's options, the rows,
    the tokenizer, and the version of the code that makes it. It is written whole or not at all, as
    safetensors, and made again if it cannot be read. Where the folder cannot be written nothing is
    kept. It is BPJAX_FEATURES where that is set (empty: nothing is kept), else `bpjax/features` in
    the user's cache folder.

    Args:
      version: of the method; to be raised whenever the columns that it makes change.
    """

    def decorate(make: Make) -> Make:
        @functools.wraps(make)
        def columns(task: Any, rows: Any, tokenizer: Any) -> dict[str, Column]:
            folder = _folder()
            if folder is None or len(rows) < ENOUGH:
                return make(task, rows, tokenizer)
            path = folder / f"{_digest(version, task, rows, tokenizer)}.safetensors"
            found = _read(path)
            if found is None:
                found = make(task, rows, tokenizer)
                _write(path, found)
            return found

        return columns

    return decorate


def kept_table(path: Path, about: Any, make: Callable[[], pa.Table]) -> pa.Table:
    """What is made of a file of text, kept as `cached` keeps features: to be mapped, not parsed.

    Args:
      path: of the file, whose content is a part of the name.
      about: the rest of what `make` depends on, with the version of its code.
      make: reads the file.
    """
    folder = _folder()
    try:
        if folder is None or path.stat().st_size < LARGE:
            return make()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError:  # which the reader says in its own words
        return make()
    digest.update(repr(about).encode())
    kept = folder / f"{digest.hexdigest()[:40]}.arrow"
    found = _read_table(kept)
    if found is None:
        found = make()
        _write_table(kept, found)
    return found


def _read_table(path: Path) -> pa.Table | None:
    """What `_write_table` wrote, in the file's own memory; None where there is no such file."""
    try:
        with pa.memory_map(str(path)) as file:
            data = file.read_buffer()
        content, checksum = data[: data.size - 4], data[data.size - 4 :]
        if zlib.crc32(content).to_bytes(4) != checksum.to_pybytes():
            return None
        return pa.ipc.open_stream(content).read_all()
    except (OSError, ValueError, pa.ArrowException):
        return None


def _write_table(path: Path, table: pa.Table) -> None:
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_stream(file, table.schema) as to:
            to.write_table(table)
        checksum = 0
        with partial.open("r+b") as file:
            while block := file.read(LARGE):
                checksum = zlib.crc32(block, checksum)
            file.write(checksum.to_bytes(4))
        partial.replace(path)
    except (OSError, pa.ArrowException):  # no room, or somebody else's folder
        partial.unlink(missing_ok=True)


def _digest(version: int, task: Any, rows: Any, tokenizer: Any) -> str:
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    settings["truncation"] = settings["padding"] = None  # those of its last call
    options = type(task).__name__, version, dataclasses.asdict(task)
    digest = hashlib.sha256(repr(options).encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    if hasattr(rows, "digest"):
        digest.update(rows.digest())
        return digest.hexdigest()[:40]
    # Of arrays all values and all digits, and not the first and last few.
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        for row in rows:
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:40]


def _read(path: Path) -> dict[str, Column] | None:
    """What `_write` wrote; None where there is no such file, or another one."""
    try:
        tensors, metadata = _load(path)
        found = {
            name: Column(
                tensors[f"{name}/values"], tensors[f"{name}/starts"] if ragged else None, *rest
            )
            for name, (ragged, *rest) in dict(json.loads(metadata["columns"])).items()
        }
        if metadata.get("checksum") != _checksum(found):
            return None
        return found if len({column.rows for column in found.values()}) == 1 else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file and its metadata.

    The library maps the file and copies from it, which is twice the memory.
    """
    tensors = {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError(f"a header of {size} bytes")
        header = json.loads(file.read(size))
        metadata = header.pop("__metadata__")
        for name, entry in header.items():
            file.seek(8 + size + entry["data_offsets"][0])
            count = math.prod(entry["shape"])
            values = np.fromfile(file, _TYPES[entry["dtype"]], count)
            tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


_TYPES = {"BOOL": "?"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IUF" for size in (1, 2, 4, 8)
}  # of safetensors, as numpy calls them


def _write(path: Path, columns: dict[str, Column]) -> None:
    tensors = {f"{name}/values": column.values for name, column in columns.items()}
    tensors |= {f"{n}/starts": c.starts for n, c in columns.items() if c.starts is not None}
    told = {n: (c.starts is not None, c.fill, c.axis) for n, c in columns.items()}
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"columns": json.dumps(told), "checksum": _checksum(columns)}
        save_file(tensors, partial, metadata=metadata)
        partial.replace(path)
    except (OSError, SafetensorError):  # no room, or somebody else's folder
        partial.unlink(missing_ok=True)


def _checksum(columns: dict[str, Column]) -> str:
    """Of all values: a changed byte is a whole file to safetensors."""
    found = 0
    for column in columns.values():
        for array in (column.values, column.starts):
            if array is not None:
                found = zlib.crc32(
                    np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, found
                )
    return str(found)


def _folder() -> Path | None:
    chosen = os.environ.get("BPJAX_FEATURES")
    if chosen is not None:
        return Path(chosen) if chosen else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpjax" / "features"
