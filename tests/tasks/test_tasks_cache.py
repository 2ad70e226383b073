"""Features are made once: found again by content, made again where the file is spoilt."""

import json
import zlib

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file
from small_run import TOKENIZER

from bpjax.models.tokenizer import load_tokenizer
from bpjax.tasks import cache
from bpjax.tasks.columns import Column
from bpjax.tasks.embedded import Embedded
from bpjax.tasks.glue import Glue

ROWS = [{"sentence": b"a fine film", "label": 1, "split": "train", "idx": i} for i in range(1200)]


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Makes features; the second value says whether the tokenizer was asked."""
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    tokenizer = load_tokenizer(TOKENIZER)
    calls = []

    class Counted(type(tokenizer)):
        def __call__(self, *args, **options):
            calls.append(args)
            return super().__call__(*args, **options)

    tokenizer.__class__ = Counted

    def make(rows=ROWS, task=None, **options):
        calls.clear()
        task = task or Glue("sst2", **options)
        features = task._features(rows, tokenizer)
        return features, bool(calls)

    return make


def same(one, other):
    assert one.examples == other.examples
    for row, wanted in zip(one.rows, other.rows, strict=True):
        assert row.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_array_equal(row[name], wanted[name])


def test_the_same_rows_are_tokenised_once(make, tmp_path):
    (first, asked), (second, again) = make(), make()
    assert asked and not again
    same(first, second)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_other_rows_or_options_are_other_features(make):
    make()
    changed = [{**ROWS[0], "sentence": b"a dull film"}, *ROWS[1:]]
    for options in ({"rows": changed}, {"max_length": 5}):
        features, asked = make(**options)
        assert asked and len(features.rows) == len(ROWS)


def test_a_spoilt_file_is_made_again(make, tmp_path):
    first, _ = make()
    (path,) = (tmp_path / "kept").iterdir()
    whole = path.read_bytes()
    for spoilt in (b"", whole[:100], b"nonsense", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(spoilt)
        features, asked = make()
        assert asked
        same(first, features)
    assert not make()[1]


@pytest.mark.parametrize(
    ("told", "starts"),
    [
        (None, [0, 2, 3]),
        ([], [0, 2, 3]),
        ({}, [0, 2, 3]),
        ({"other": [True, 0]}, [0, 2, 3]),
        ({"ids": 3}, [0, 2, 3]),
        ({"ids": [True, 0]}, [0, 2, 9]),
        ({"ids": [True, 0]}, [0, 4, 3]),
        ({"ids": [True, 0]}, [1, 2, 3]),
        ({"ids": [True, 0]}, []),
        ({"ids": [True, 0], "label": [False, 0]}, [0, 3]),
    ],
)
def test_a_file_of_somebody_else_is_made_again(make, tmp_path, told, starts):
    first, _ = make()
    (path,) = (tmp_path / "kept").iterdir()
    tensors = {
        "ids/values": np.arange(3),
        "ids/starts": np.array(starts, np.int64),
        "label/values": np.arange(2),
    }
    checksum = 0
    for name in ("ids/values", "ids/starts", "label/values")[: 1 + len(told or ())]:
        checksum = zlib.crc32(tensors[name].tobytes(), checksum)
    metadata = {"columns": json.dumps(told), "checksum": str(checksum)}
    save_file(tensors, path, metadata=None if told is None else metadata)
    features, asked = make()
    assert asked and not make()[1]
    same(first, features)


def test_windows_of_questions_are_found_again(make):
    """Kept are places in the passage; the questions themselves are those at hand."""
    task = Embedded(train_size=cache.ENOUGH, max_length=64, stride=8)
    examples = task.examples("train")
    (first, asked), (second, again) = (make(examples, task) for _ in range(2))
    assert asked and not again and len(first) > len(examples)
    for window, wanted in zip(second.examples, first.examples, strict=True):
        assert (window.example, window.first) == (wanted.example, wanted.first)
        assert window.offsets.dtype == np.int32
        np.testing.assert_array_equal(window.offsets, wanted.offsets)
    assert second.columns.keys() == first.columns.keys()
    for name, column in first.columns.items():
        assert second.columns[name].values.dtype == column.values.dtype
        np.testing.assert_array_equal(second.columns[name].values, column.values)


def test_every_number_of_an_array_is_a_part_of_the_name():
    """Python prints the first and last few of a long array, and eight digits."""
    tokenizer, task = load_tokenizer(TOKENIZER), Glue("sst2")
    pixels = np.ones(5000)

    def name(changed):
        return cache._digest(1, task, [{"pixels": changed}], tokenizer)

    middle, last_digit = pixels.copy(), pixels.copy()
    middle[2500], last_digit[0] = 2, 1 + 1e-12
    assert len({name(pixels), name(middle), name(last_digit)}) == 3
    assert name(pixels) == name(pixels.copy())


def test_fills_are_kept(tmp_path):
    kept = {
        "label": Column.ragged([[1, 2], [3]], fill=-100),
        "pixels": Column(np.ones((2, 3), "f4")),
    }
    cache._write(tmp_path / "file", kept)
    found = cache._read(tmp_path / "file")
    assert {name: column.fill for name, column in found.items()} == {"label": -100, "pixels": 0}
    assert found["pixels"].starts is None and found["pixels"].values.dtype == np.float32


@pytest.mark.parametrize("chosen", ["", "/proc/nowhere"])
def test_nothing_is_kept_where_nothing_can_be(make, monkeypatch, chosen):
    monkeypatch.setenv("BPJAX_FEATURES", chosen)
    assert make()[1] and make()[1]


def test_other_code_makes_them_anew(make, monkeypatch):
    """The version of what makes them is a part of the name."""
    make()
    raised = cache.cached(2)(Glue._columns.__wrapped__)
    monkeypatch.setattr(Glue, "_columns", raised)
    assert make()[1] and not make()[1]


def test_few_rows_are_not_kept(make, tmp_path):
    make(rows=ROWS[: cache.ENOUGH - 1])
    assert not (tmp_path / "kept").exists()


def test_a_large_file_is_parsed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "LARGE", 10)
    path = tmp_path / "a.csv"
    path.write_text("text,label\nfine,x\n")
    calls = []

    def make():
        calls.append(1)
        return pa.table({"text": pa.array([path.read_text()], pa.large_string())})

    first = cache.kept_table(path, "options", make)
    assert cache.kept_table(path, "options", make).equals(first) and len(calls) == 1
    cache.kept_table(path, "others", make)
    (one, other) = (tmp_path / "kept").iterdir()
    assert len(calls) == 2
    for kept in (one, other):
        whole = kept.read_bytes()
        for spoilt in (b"", b"abc", whole[:-9], whole[:100] + b"?" + whole[101:]):
            kept.write_bytes(spoilt)
            assert cache._read_table(kept) is None
    assert cache.kept_table(path, "options", make).equals(first) and len(calls) == 3
    path.write_text("text,label\ndull,x\n")
    assert not cache.kept_table(path, "options", make).equals(first) and len(calls) == 4
    monkeypatch.setenv("BPJAX_FEATURES", "/proc/nowhere")
    cache.kept_table(path, "options", make)
    assert len(calls) == 5
