"""Translations: columns, parallel files, languages, metrics, what is refused; then Multi30k."""

import json
import logging

import datasets
import numpy as np
import pytest
from seq2seq_small import make_tokenizer
from transformers import MBartTokenizer

from bpjax.errors import UserError
from bpjax.tasks import get_task
from bpjax.tasks.base import Task
from bpjax.tasks.text_metrics import bleu

WORDS = "a man ran the sea ein mann lief das meer ist die see"
PAIRS = [("a man", "ein Mann"), ("the sea", "das Meer"), ("a man ran", "ein Mann lief")]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS)


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pairs_of(task):
    """The texts of all rows, in their order in the table."""
    table = task.read.train.table
    targets = [texts[0] for texts in table.column("label").to_pylist()]
    return [*zip(table.column("source").to_pylist(), targets, strict=True)]


def parallel(write, *texts):
    return ",".join(write(f"train.{i}", "".join(x)) for i, x in enumerate(texts))


def test_two_parallel_files(write, tokenizer):
    sides = [[f"{pair[side]}\n" for pair in PAIRS] for side in (0, 1)]
    data = parallel(write, *sides)
    evaluation = ",".join(
        write(name, text)
        for name, text in (("val.en", "\ufeffthe man\r\n"), ("val.de", "der Mann"))
    )
    task = get_task("translation", data=data, eval=evaluation)
    assert isinstance(task, Task) and task.name == "translation"
    assert (task.head, task.labels, task.metric, task.max_length) == ("seq2seq", (), "bleu", 128)
    assert pairs_of(task) == PAIRS
    features = task.evaluation(tokenizer)
    assert [*features.examples] == [("der Mann",)]
    assert tokenizer.decode(features.columns["input_ids"][0]) == "<s> the man </s>"
    assert task.train(tokenizer).columns["label"][1].tolist() == tokenizer("das meer")["input_ids"]
    assert task.evaluate(features, ["der Mann"]) == bleu(["der Mann"], [("der Mann",)])
    # The files may change under the same names.
    write("train.1", "".join(sides[1]).replace("Meer", "Wasser"))
    assert pairs_of(get_task("translation", data=data, eval=evaluation))[1][1] == "das Wasser"


def test_a_line_ends_where_a_file_says_so(write):
    odd = "a\u2028b\x0b\x85c\rd"
    data = parallel(write, [f"{odd}\n", "the sea\n"], ["x\n", "y\n"])
    assert pairs_of(get_task("translation", data=data)) == [(odd, "x"), ("the sea", "y")]


def test_one_table_whose_name_has_a_comma(write):
    data = write("a,b.tsv", "source\ttarget\na man\tein Mann\nthe sea\tdas Meer\n")
    assert pairs_of(get_task("translation", data=data)) == PAIRS[:2]


NESTED = "".join(
    json.dumps({"id": i, "translation": {"en": en, "de": de}}) + "\n"
    for i, (en, de) in enumerate(PAIRS)
)


def saved_as(tmp_path, kind):
    """The same rows in the types that the hub has."""
    languages = datasets.Translation(languages=["de", "en"])
    rows = {"translation": [{"en": en, "de": de} for en, de in PAIRS], "id": [0, 1, 2]}
    features = datasets.Features({"translation": languages, "id": datasets.Value("int32")})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    path = tmp_path / f"nested.{kind}"
    if kind == "saved":
        dataset.save_to_disk(path)
    elif kind == "parquet":
        dataset.to_parquet(path)
    else:
        path.write_text(NESTED)
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "saved"])
def test_translations_as_the_hub_has_them(tmp_path, kind):
    data = saved_as(tmp_path, kind)
    assert pairs_of(get_task("translation", data=data, source="en", target="de")) == PAIRS
    task = get_task("translation", data=data, source="translation.de", target="en")
    assert pairs_of(task) == [(de, en) for en, de in PAIRS]
    told = refused(lambda: get_task("translation", data=data))
    assert "no column 'source'; the columns are " in told and "'translation.en'" in told
    assert "set task.source to its name" in told
    for options in ({"source": "fr"}, {"source": "translation", "target": "de"}):
        assert "translation" in refused(lambda: get_task("translation", data=data, **options))  # noqa: B023


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.tsv", "source\ttarget\na man\tein Mann\nthe sea\tdas Meer\n", {}),
        ("a.csv", "en,de\na man,ein Mann\nthe sea,das Meer\n", {"source": "en", "target": "de"}),
        ("b.tsv", "a man\tein Mann\nthe sea\tdas Meer\n", {"columns": "source,target"}),
        (
            "a.jsonl",
            '{"src": "a man", "tgt": ["ein Mann"]}\n{"src": "the sea", "tgt": ["das Meer"]}',
            {},
        ),
    ],
)
def test_tables_of_two_columns(write, name, content, options):
    assert pairs_of(get_task("translation", data=write(name, content), **options)) == PAIRS[:2]


def test_several_translations_are_all_right(write, tokenizer):
    rows = [
        {"source": "the sea", "target": ["die See", "das Meer"]},
        {"source": "a", "target": ["ein"]},
    ]
    evaluation = write("e.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = write("a.tsv", "source\ttarget\na man\tein Mann\nthe man\tder Mann\n")
    task = get_task("translation", data=data, eval=evaluation)
    features = task.evaluation(tokenizer)
    found = task.evaluate(features, ["das Meer", "ein"])
    assert found == bleu(["das Meer", "ein"], [("die See", "das Meer"), ("ein",)])
    assert found["chrf"] == pytest.approx(100)


@pytest.fixture(scope="module")
def mbart():
    words = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words += [(f"▁{word}", -3.0) for word in WORDS.split()]
    words += [(code, 0.0) for code in ("en_XX", "de_DE")]
    return MBartTokenizer(vocab=[*words, ("<mask>", 0.0)])


def test_languages_are_told_to_a_tokenizer_that_has_them(write, mbart):
    data = write("a.tsv", "source\ttarget\nthe sea\tdas meer\na man\tein mann\n")
    languages = {"source_language": "de_DE", "target_language": "en_XX"}
    task = get_task("translation", data=data, **languages)
    before = mbart("the sea")["input_ids"]
    rows = task.train(mbart).rows
    ends = {
        name: {(mbart.decode(row[name][-2]), mbart.decode(row[name][-1])) for row in rows}
        for name in ("input_ids", "label")
    }
    assert ends == {"input_ids": {("</s>", "de_DE")}, "label": {("</s>", "en_XX")}}
    assert mbart("the sea")["input_ids"] == before and mbart.src_lang == "en_XX"
    for options, match in (
        ({}, "source_language '': expected a language, for tokenizer MBartTokenizer puts"),
        ({"source_language": "en_XX"}, "target_language '': expected a language"),
        (languages | {"target_language": "xx_XX"}, "has no language 'xx_XX': expected one of the"),
        (languages | {"target_language": "mann"}, "has no language 'mann'"),
    ):
        told = refused(lambda: get_task("translation", data=data, **options).train(mbart))  # noqa: B023
        assert match in told


def test_a_tokenizer_without_languages(write, tokenizer):
    data = write("a.tsv", "source\ttarget\nthe sea\tdas meer\na man\tein mann\n")
    task = get_task("translation", data=data, source_language="en_XX")
    told = refused(lambda: task.train(tokenizer))
    assert "has no languages: expected one of the tokenizer's, or nothing; change task.so" in told


def test_targets_without_blanks_are_told(write, caplog):
    data = write("a.tsv", "source\ttarget\nthe sea\t大海很蓝\na man\t男人\n")
    with caplog.at_level(logging.WARNING):
        get_task("translation", data=data)
    assert "no blanks between words, by which BLEU finds them: chrf says more" in caplog.text


@pytest.mark.parametrize(
    ("sides", "match"),
    [
        (("a\nb\n", "x\n"), "has 2 lines and "),
        (("a\n\n", "x\ny\n"), "line 2: source is empty: expected a text"),
        (("a\nb\n", "x\n \n"), "line 2: target is empty: expected a text to be written"),
        (("", ""), "no rows: expected one or more"),
        ((b"\xff\n", "x\n"), "line 1: byte 0 of the file is not UTF-8"),
    ],
    ids=str,
)
def test_parallel_files_that_are_refused(write, sides, match):
    data = ",".join(write(name, text) for name, text in zip(("t.en", "t.de"), sides, strict=True))
    assert match in refused(lambda: get_task("translation", data=data))


def test_paths_that_are_refused(write, tmp_path):
    table = write("a.tsv", "source\ttarget\na\tb\nc\td\n")
    text = write("t.en", "a\nb\n")
    for data, match in (
        (f"{table},{text}", "a.tsv is a table: expected one table, or two files of texts"),
        (f"{text},{text},{text}", "3 files: expected one table, or two files"),
        (f"{text},{tmp_path / 'none.de'}", "none.de: no such file: expected a file of texts"),
        (f"{tmp_path},{text}", "is a table: expected one table"),
        (f"{text},{text}", "t.en: one file twice: expected the sources and, after the comma"),
        (text, "the name ends in '.en': expected .csv, .tsv, .jsonl, .conll, .parquet, the folder"),
    ):
        assert match in refused(lambda: get_task("translation", data=data))  # noqa: B023
    pair = f"{text},{write('t.de', 'x' + chr(10) + 'y' + chr(10))}"
    told = refused(lambda: get_task("translation", data=pair, columns="source,target"))
    assert "names its columns itself; remove task.columns" in told
    assert "no column 'text'" in refused(lambda: get_task("text", data=pair))
    assert "this text is in" in refused(lambda: get_task("translation", data=pair, eval=pair))
    turned = f"{write('v.de', 'z')},{write('v.en', 'c')}"
    told = refused(lambda: get_task("translation", data=pair, eval=turned))
    assert ".de before .en, and" in told and "the other way round: expected sources before" in told
    told = refused(lambda: get_task("translation", data=pair, source="en"))
    assert "no column 'en'; the columns are 'source', 'target'" in told


def test_columns_of_an_object_in_a_row(write):
    twice = '{"a": {"b": {"c": "x"}}, "a.b": "y", "t": "z"}\n' * 2
    data = write("a.jsonl", twice.replace("x", "u", 1))
    task = get_task("translation", data=data, source="a.b.c", target="t", allow_overlap=True)
    assert pairs_of(task) == [("u", "z"), ("x", "z")]
    missing = write("c.jsonl", '{"a": {"b": "x"}, "t": "z"}\n{"a": null, "t": "z"}\n')
    told = refused(lambda: get_task("translation", data=missing, source="a.b", target="t"))
    assert "line 2: a.b is missing: expected a value in every row" in told


def test_real_multi30k(shared_data, tmp_path):
    names = {}
    for split, count in (("train", 400), ("val", 100)):
        for language in ("en", "de"):
            lines = (shared_data / "multi30k" / f"{split}.{language}").read_bytes().split(b"\n")
            path = tmp_path / f"{split}.{language}"
            path.write_bytes(b"\n".join(lines[:count]) + b"\n")
            names[split, language] = str(path)
    pairs = [f"{names[split, 'en']},{names[split, 'de']}" for split in ("train", "val")]
    task = get_task("translation", data=pairs[0], eval=pairs[1])
    tokenizer = make_tokenizer((tmp_path / "train.de").read_text())
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (400, 100)
    assert evaluation.examples[0] == ("Eine Gruppe von Männern lädt Baumwolle auf einen Lastwagen",)
    assert all(row["label"][-1] == tokenizer.eos_token_id for row in train.rows)
    right = [x[0] for x in evaluation.examples]
    assert task.evaluate(evaluation, right) == {"bleu": pytest.approx(100), "chrf": 100}
    shifted = task.evaluate(evaluation, [*np.roll(right, 1)])
    assert shifted["bleu"] < 10 and 10 < shifted["chrf"] < 40


def test_real_multi30k_has_one_row_in_two_splits(shared_data):
    pairs = [
        ",".join(str(shared_data / "multi30k" / f"{split}.{x}") for x in ("en", "de"))
        for split in ("train", "val")
    ]
    told = refused(lambda: get_task("translation", data=pairs[0], eval=pairs[1]))
    assert "those of 1 of 1014 rows" in told and "task.allow_overlap" in told
