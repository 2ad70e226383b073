"""Which reader a path takes; tables that have types: Parquet and saved Hugging Face datasets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from bpjax.errors import UserError
from bpjax.tasks.table_files import (
    read_conll,
    read_csv,
    read_jsonl,
    read_parallel,
    read_tsv,
)
from bpjax.tasks.tables import (
    TEXT,
    Choose,
    Layout,
    Table,
    check_cells,
    check_header,
    check_names,
)

TRAIN, VALIDATION = "train", "validation"


def read_table(path: Path, choose: Choose, layout: Layout) -> Table:
    """The columns of a table that a task wants.

    Args:
      path: of a file of a known type, of a folder that `save_to_disk` made of one split, or of two
        files as `parallel_files` has them.
      choose: which columns those are.
      layout: what a file does not say of itself.

    Raises:
      UserError: it is missing or of an unknown type, a row or a cell is malformed, or `choose`
        finds a column missing.
    """
    if path.is_dir():
        return check_cells(_read_saved(path, choose, layout))
    if pair := parallel_files(path):
        return check_cells(_read_parallel(path, pair, choose, layout))
    if not path.exists():
        raise UserError(
            f"{path}: no such file: expected a table ({', '.join(READERS)}) or the folder of a "
            "saved dataset; correct the path"
        )
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: the name ends in {path.suffix!r}: expected {', '.join(READERS)}, the folder "
            "of a saved dataset, or two files of parallel texts with a comma between; rename or "
            "convert the file"
        )
    return check_cells(reader(path, choose, layout))


def parallel_files(path: Path) -> list[Path]:
    """The files of parallel texts that a path with commas names; [] of a file's or a folder's."""
    if "," not in str(path) or path.exists():
        return []
    return [Path(name.strip()).expanduser() for name in str(path).split(",")]


def _read_parallel(path: Path, files: Sequence[Path], choose: Choose, layout: Layout) -> Table:
    """Two files of texts, a line each."""
    check_header(path, layout)
    tables = [file for file in files if file.is_dir() or file.suffix.lower() in READERS]
    if tables or len(files) != 2:
        told = f"{tables[0]} is a table" if tables else f"{len(files)} files"
        raise UserError(
            f"{path}: {told}: expected one table, or two files of texts with a comma between, of "
            "which one has the sources a line each and the other the targets; correct the path"
        )
    if files[0].resolve() == files[1].resolve():
        raise UserError(
            f"{path}: one file twice: expected the sources and, after the comma, the targets; "
            "correct the path"
        )
    missing = next((file for file in files if not file.exists()), None)
    if missing is not None:
        raise UserError(
            f"{missing}: no such file: expected a file of texts, one a line, for {path} names two "
            "files; correct the path"
        )
    return read_parallel(path, files, choose)


class _NamesFoundError(Exception):
    """Ends the reading of a table where the names of its columns are known."""


def column_names(path: Path, layout: Layout) -> list[str]:
    """The columns of a table, of a dataset of several splits those of its training split.

    Raises:
      UserError: as `read_table`, but for what the rows hold.
    """

    def choose(names: Sequence[str]) -> Mapping[str, str]:
        raise _NamesFoundError(*names)

    try:
        read_table(path / TRAIN if TRAIN in splits_of(path) else path, choose, layout)
    except _NamesFoundError as found:
        return list(found.args)
    raise AssertionError("a table asks which of its columns are wanted")


def splits_of(path: Path) -> list[str]:
    """The splits of a folder that `save_to_disk` made of several; [] of anything else."""
    if not (path / "dataset_dict.json").is_file():
        return []
    return sorted(x.name for x in path.iterdir() if (x / "dataset_info.json").is_file())


def _read_parquet(path: Path, choose: Choose, layout: Layout) -> Table:
    import pyarrow.parquet as pq

    check_header(path, layout)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = choose(_names(path, schema))
            rows = _select(file.read(columns=list(chosen.values())), chosen)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as Parquet ({_one_line(error)}); expected a whole Parquet "
            "file, write it again"
        ) from error
    features: Mapping[str, Any] = {}
    if b"huggingface" in (schema.metadata or {}):
        import datasets

        features = datasets.Features.from_arrow_schema(schema)
    return _plain(path, rows, chosen, features)


def _read_saved(path: Path, choose: Choose, layout: Layout) -> Table:
    import datasets

    check_header(path, layout)
    if splits := splits_of(path):
        raise UserError(
            f"{path}: a dataset of several splits ({', '.join(splits)}): expected one; name the "
            f"folder of one, such as {path / splits[0]}"
        )
    shows = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        found = datasets.load_from_disk(str(path.absolute()))
        chosen = choose(_names(path, found.features.arrow_schema))
        wanted = [
            name
            for name in found.column_names
            if any(each == name or each.startswith(f"{name}.") for each in chosen.values())
        ]
        # As the dataset's own order of rows has it, without a file of it.
        rows = _select(found.select_columns(wanted).with_format("arrow")[:], chosen)
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read as a saved dataset ({_one_line(error)}); expected a folder "
            "that Dataset.save_to_disk made, save it again"
        ) from error
    finally:
        if not shows:
            datasets.enable_progress_bars()
    return _plain(path, rows, chosen, found.features)


def _names(path: Path, schema: pa.Schema) -> list[str]:
    """Names of columns, those of objects in them too: `translation.en` of `translation`."""
    names = [*schema.names]
    while any(pa.types.is_struct(kind) for kind in schema.types):
        schema = schema.empty_table().flatten().schema
        names += [name for name in schema.names if name not in names]
    check_names(path, names)
    return names


def _select(rows: pa.Table, chosen: Mapping[str, str]) -> pa.Table:
    """The columns of those names."""

    def column(rows: pa.Table, name: str) -> pa.ChunkedArray:
        return rows.column(name) if name in rows.column_names else column(rows.flatten(), name)

    return pa.table({name: column(rows, name) for name in chosen.values()})


def _plain(
    path: Path, rows: pa.Table, chosen: Mapping[str, str], features: Mapping[str, Any]
) -> Table:
    """A table of texts, numbers and lists of these, whatever their types were."""
    columns = {role: _cast(path, name, rows.column(name)) for role, name in chosen.items()}
    classes = {
        role: names for role, name in chosen.items() if (names := _classes(features.get(name)))
    }
    return Table(str(path), pa.table(columns), chosen, classes=classes)


def _cast(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        found = column.cast(_simple(column.type))
        found.validate(full=True)  # texts are UTF-8
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{path}: column {name!r} cannot be read ({_one_line(error)}); expected UTF-8 texts, "
            "numbers or lists of these, convert it"
        ) from error
    return found


def _simple(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(kind):
        return _simple(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return TEXT
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.large_list(_simple(kind.value_type))
    if types.is_integer(kind):
        return pa.int64()
    if types.is_floating(kind):
        return pa.float64()
    if types.is_boolean(kind) or types.is_null(kind):
        return kind
    raise ValueError(f"type {kind}")


def _classes(feature: Any) -> tuple[str, ...]:
    """The names of the classes that a column of a dataset, or its lists, hold numbers of."""
    inside = getattr(feature, "feature", feature)  # of a list
    if isinstance(inside, list):
        inside = inside[0]
    return tuple(getattr(inside, "names", None) or ())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


TEXT_FILES = {".csv": read_csv, ".tsv": read_tsv, ".jsonl": read_jsonl, ".conll": read_conll}
"""Readers of files of text, by the end of a file's name."""

READERS = TEXT_FILES | {".parquet": _read_parquet}
"""All of them."""
