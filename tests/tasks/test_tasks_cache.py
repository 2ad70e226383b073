"""Features are made once: found again by content, made again where the file is spoilt."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from bpjax.tasks import cache
from bpjax.tasks.glue import Glue

ROWS = [{"sentence": b"a fine film", "label": 1, "split": "train", "idx": i} for i in range(1200)]


@pytest.fixture
def make(monkeypatch, tmp_path, minilm_dir):
    """Makes features; the second value says whether the tokenizer was asked."""
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    tokenizer = AutoTokenizer.from_pretrained(minilm_dir)
    calls = []

    class Counted(type(tokenizer)):
        def __call__(self, *args, **options):
            calls.append(args)
            return super().__call__(*args, **options)

    tokenizer.__class__ = Counted

    def make(rows=ROWS, **options):
        calls.clear()
        features = Glue("sst2", **options)._features(rows, tokenizer)
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
    for spoilt in (b"", path.read_bytes()[:100], b"nonsense"):
        path.write_bytes(spoilt)
        features, asked = make()
        assert asked
        same(first, features)
    assert not make()[1]


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
