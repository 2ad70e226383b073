"""Summaries: columns, references, features, metrics, what is refused; then the real SciTLDR."""

import json
import logging

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seq2seq_small import make_tokenizer

from bpjax.errors import UserError
from bpjax.models.heads import HEADS
from bpjax.models.labels import SavedHead
from bpjax.stages.opened import align, has_head
from bpjax.stages.origins import _digest_rows
from bpjax.tasks import cache, get_task
from bpjax.tasks.base import NO_LABEL, Task
from bpjax.tasks.columns import LENGTH, TARGET_LENGTH
from bpjax.tasks.source import import_tfds
from bpjax.tasks.text_metrics import rouge
from bpjax.training.input import Batching, eval_batches

WORDS = "the a long story of man sea river ran on and tldr : river1 river2"


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def make(tmp_path):
    """Writes tables and gives the task on them."""

    def make(train, evaluation=None, suffix="jsonl", **options):
        for option, content in (("data", train), ("eval", evaluation)):
            if content is not None:
                path = tmp_path / f"{option}.{suffix}"
                path.write_text(content, encoding="utf-8")
                options[option] = str(path)
        return get_task("summarization", **options)

    return make


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


TRAIN = lines(
    {"source": ["The long", "", " story of the sea"], "target": ["The sea"], "title": "x"},
    {"source": ["A man ran"], "target": ["A man", "man ran on"], "title": "y"},
)
EVALUATION = lines(
    {"source": ["The river"], "target": ["A river", "The river ran and ran"], "title": "z"},
    {"source": ["A river"], "target": ["river"], "title": "z"},
)


def test_sentences_are_joined_and_all_references_are_compared_with(make, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        task = make(TRAIN, EVALUATION)
    assert "1 of 2 rows have several targets: the first of each is learnt" in caplog.text
    assert isinstance(task, Task) and task.name == "summarization"
    assert (task.head, task.labels, task.num_labels) == ("seq2seq", (), 0)
    assert HEADS[task.head].generates and hash(task) == hash(make(TRAIN, EVALUATION))
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert [*train.columns] == ["input_ids", "label"]
    texts = [tokenizer.decode(row["input_ids"]) for row in train.rows]
    assert texts == ["<s> the long  story of the sea </s>".replace("  ", " "), "<s> a man ran </s>"]
    label = train.columns["label"]
    assert (label.axis, label.fill, train.columns["input_ids"].axis) == (
        TARGET_LENGTH,
        NO_LABEL,
        LENGTH,
    )
    assert tokenizer.decode(label[1]) == "<s> a man </s>"
    assert evaluation.examples[0] == ("A river", "The river ran and ran")
    assert [*evaluation.examples[:1]] == [("A river", "The river ran and ran")]
    written = ["the river ran", "a river"]
    found = task.evaluate(evaluation, written)
    assert next(iter(found)) == "rouge1" and task.metric in found
    assert found == rouge(written, [("A river", "The river ran and ran"), ("river",)])
    with pytest.raises(ValueError, match="1 texts for 2 examples"):
        task.evaluate(evaluation, written[:1])


def test_a_batch_has_two_lengths(make, tokenizer):
    features = make(TRAIN, EVALUATION).train(tokenizer)
    assert features.by_axis[TARGET_LENGTH].tolist() == [4, 4]
    (batch,) = eval_batches(features, Batching(2))
    assert batch["input_ids"].shape == (2, 8) and batch["label"].shape == (2, 4)
    assert batch["decoder_attention_mask"].tolist() == (batch["label"] != NO_LABEL).tolist()


def test_what_the_rest_of_the_code_asks(make, tokenizer, tmp_path, monkeypatch):
    task = make(TRAIN, EVALUATION)
    assert task.with_labels(("a",)) == task
    saved = SavedHead("seq2seq", 9, (), None)
    assert align(task, saved) is task and has_head(task, saved)
    features = task.evaluation(tokenizer)
    assert features.take([1]).examples == [("river",)]
    digest = _digest_rows(features, True)
    other = make(TRAIN, EVALUATION.replace("ran and ran", "ran on"), max_length=1023)
    again = other.evaluation(tokenizer)
    assert _digest_rows(again, False) == _digest_rows(features, False)
    assert _digest_rows(again, True) != digest
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "ENOUGH", 1)
    first, second = task.train(tokenizer), task.train(tokenizer)
    assert len([*(tmp_path / "kept").iterdir()]) == 1
    for name, column in first.columns.items():
        kept = second.columns[name]
        assert (kept.axis, kept.fill) == (column.axis, column.fill)
        assert np.array_equal(kept.values, column.values)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("article", "highlights"), {}),
        (("dialogue", "summary"), {}),
        (("text", "abstract"), {}),
        (("body", "tldr"), {"source": "body", "target": "tldr"}),
        (("source", "headline"), {"target": "headline"}),
        (("a", "b"), {"source": "a", "target": "b"}),
    ],
)
def test_columns_are_found_or_named(make, names, options):
    text = "\t".join(("id", *names)) + "\n1\tThe sea\tsea\n2\tA man\tman\n"
    rows = make(text, suffix="tsv", **options).read.train
    assert dict(rows.table.names) == dict(zip(("source", "label"), names, strict=True))


def test_a_parquet_file_and_a_saved_dataset(make, tmp_path, tokenizer):
    rows = {"document": ["The sea", "A man", "a river"], "summary": ["sea", "man", "river"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    both = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict(rows),
            "validation": datasets.Dataset.from_dict({"document": ["on"], "summary": ["and"]}),
        }
    )
    both.save_to_disk(tmp_path / "saved")
    task = get_task("summarization", data=str(tmp_path / "a.parquet"), eval_fraction=0.34)
    assert (len(task.train(tokenizer)), len(task.evaluation(tokenizer))) == (2, 1)
    task = get_task("summarization", data=str(tmp_path / "saved"))
    assert [*task.evaluation(tokenizer).examples] == [("and",)]
    held = get_task("summarization", data=str(tmp_path / "saved"), holdout=1, limit=2)
    assert (len(held.train(tokenizer)), len(held.evaluation(tokenizer))) == (2, 1)


def test_a_prefix_and_what_is_cut(make, tokenizer, caplog):
    options = {"prefix": "tldr : ", "max_length": 6, "max_target_length": 4}
    with caplog.at_level(logging.WARNING):
        task = make(
            lines(
                {"document": "the long story of the sea", "summary": "the man and the sea"},
                {"document": "a man", "summary": "a man"},
            ),
            lines({"document": "a river", "summary": "a river"}),
            **options,
        )
        train = task.train(tokenizer)
    assert tokenizer.decode(train.columns["input_ids"][0]) == "<s> tldr : the long </s>"
    assert tokenizer.decode(train.columns["label"][0]) == "<s> the man </s>"
    assert "1 of 2 targets have more than 4 tokens (task.max_target_length)" in caplog.text
    assert train.examples[0] == ("the man and the sea",)
    caplog.clear()
    task.evaluation(tokenizer)
    assert not caplog.text


def test_targets_that_rouge_hardly_sees_are_told(make, caplog):
    rows = [{"document": f"the sea {i}", "summary": f"море {i}"} for i in range(4)]
    with caplog.at_level(logging.WARNING):
        make(lines(*rows[:2]), lines(*rows[2:]))
        assert caplog.text.count("others than a to z, which ROUGE does not see") == 1
        caplog.clear()
        make(TRAIN, lines({"source": "où", "target": "déjà vu"}))
    assert "a to z" not in caplog.text


ONE = lines({"document": "the sea", "summary": "sea"})


@pytest.mark.parametrize(
    ("train", "evaluation", "options", "match"),
    [
        (lines({"document": "a"}), None, {}, "no column 'summary'; the columns are 'document'"),
        (lines({"title": "a", "summary": "b"}), None, {}, "no column 'document'"),
        (
            lines({"text": "a", "body": "b", "summary": "c"}),
            None,
            {},
            "'text' and 'body' could be the source",
        ),
        (ONE, None, {"source": "summary"}, "'summary' is both source and target: expected two"),
        (ONE, None, {"target": "gold"}, "no column 'gold'"),
        (ONE + lines({"document": " ", "summary": "b"}), None, {}, "line 2: document is empty"),
        (
            ONE + lines({"document": "a", "summary": ""}, {"document": "b", "summary": "\n"}),
            None,
            {},
            "line 2: summary is empty (2 such rows): expected a text to be written",
        ),
        (
            lines({"document": ["", " "], "summary": ["b"]}),
            None,
            {},
            "line 1: document is empty: expected a text",
        ),
        (
            lines({"document": "a", "summary": ["b"]}, {"document": "c", "summary": []}),
            None,
            {},
            "line 2: summary is empty: expected a text to be written; write one or remove the row",
        ),
        (
            lines({"document": "a", "summary": ["b", " "]}),
            None,
            {},
            "line 1: summary is a list with an empty text",
        ),
        (ONE + lines({"document": "a"}), None, {}, "line 2: summary is missing"),
        (
            ONE + lines({"document": "a", "summary": ["b"]}),
            None,
            {},
            "line 2: summary is ['b'], be",
        ),
        (lines({"document": "a", "summary": 3}), None, {}, "'summary' holds whole numbers: exp"),
        (lines({"document": 1, "summary": "a"}), None, {}, "column 'document' holds whole numbers"),
        (lines({"document": [1], "summary": "a"}), None, {}, "'document' holds lists of whole num"),
        (
            lines({"document": "['a', 'b']", "summary": "a"}),
            None,
            {},
            "line 1: document is \"['a', 'b']\", a list as Python prints it",
        ),
        (ONE, ONE, {}, "line 1: this text is in "),
        (ONE, None, {}, "one text alone: expected two or more"),
        (ONE, None, {"max_target_length": 0}, "max_target_length 0: expected an integer"),
        (ONE, None, {"eval_fraction": 2}, "eval_fraction 2: expected a number between 0 and 1"),
        (
            ONE,
            None,
            {"label_names": "a.txt"},
            "label_names 'a.txt': expected nothing where targets",
        ),
    ],
    ids=str,
)
def test_what_is_refused(make, train, evaluation, options, match):
    assert match in refused(lambda: make(train, evaluation, **options))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_length": 2}, "max_length 2: expected at least 3, for a source has 2 special tokens"),
        (
            {"max_length": 4, "prefix": "tldr : "},
            "max_length 4: expected at least 5, for a source has 4 special tokens and its prefix",
        ),
        ({"max_target_length": 2}, "max_target_length 2: expected at least 3, for a target has 2"),
        ({"holdout": 2}, "holdout 2: expected 0 to 1"),
    ],
    ids=str,
)
def test_what_leaves_no_room(make, tokenizer, options, match):
    assert match in refused(lambda: make(TRAIN, EVALUATION, **options).train(tokenizer))


def test_a_tokenizer_that_does_not_end_a_target_is_refused(make):
    told = refused(lambda: make(TRAIN, EVALUATION).train(make_tokenizer(WORDS, "<s> $A")))
    assert "no token ends a target (eos_token is '</s>'): expected it after each text" in told


FEATURES = {
    "cnn_dailymail": (("article", "highlights", "publisher", "id"), "3.4.0"),
    "xsum": (("document", "summary"), "1.1.0"),
}
ROWS = {
    "train": [(f"the sea {i}", f"sea\nriver{i}") for i in range(8)] + [("", "a"), ("a", " ")],
    "validation": [("a man ran", "a man")],
    "test": [("a river", "river")],
}


def write_public(name, folder):
    """A dataset of few rows as TFDS keeps the public one."""
    tfds = import_tfds()
    keys, version = FEATURES[name]

    class Public(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            texts = {key: tfds.features.Text() for key in keys}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(texts))

        def _split_generators(self, dl_manager):
            return {split: self._rows(rows) for split, rows in ROWS.items()}

        def _rows(self, rows):
            for number, row in enumerate(rows):
                yield number, dict(zip(keys, (*row, "cnn", str(number)), strict=False))

        def _generate_examples(self):
            raise AssertionError

    Public.name = name
    tfds.disable_progress_bar()
    builder = Public(data_dir=folder, file_format="array_record")
    builder.download_and_prepare(download_dir=folder / "downloads")


@pytest.mark.parametrize("name", FEATURES)
def test_a_public_dataset_is_read_by_its_public_name(name, tmp_path, tokenizer, caplog, capsys):
    write_public(name, tmp_path)
    capsys.readouterr()
    task = get_task(name, data_dir=str(tmp_path), limit=5)
    assert isinstance(task, Task) and task.name == name and task.max_length == 1024
    with caplog.at_level(logging.WARNING):
        train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert f"{name} train: 2 rows lack a text and are left out" in caplog.text
    assert len(train) == 5 and {len(x) for x in train.examples} == {1}
    assert [*evaluation.examples] == [("a man",)]
    assert tokenizer.decode(evaluation.columns["input_ids"][0]) == "<s> a man ran </s>"
    assert task.evaluate(evaluation, ["a man"])["rougeLsum"] == 100
    held = get_task(name, data_dir=str(tmp_path), holdout=3)
    assert (len(held.train(tokenizer)), len(held.evaluation(tokenizer))) == (5, 3)


@pytest.mark.parametrize("name", FEATURES)
def test_a_public_dataset_that_is_not_there(name, tmp_path, tokenizer):
    told = refused(lambda: get_task(name, data_dir=str(tmp_path)).train(tokenizer))
    assert f"{name} is not in data_dir {tmp_path}: expected a prepared TFDS dataset" in told
    mend = "prepare it with TFDS, or give its rows as tables to the task summarization"
    assert mend in told


def test_a_public_dataset_that_cannot_be_fetched(tmp_path, tokenizer, monkeypatch):
    tfds = import_tfds()

    def fail(*_, **__):
        raise AssertionError("Manual directory\n/none does not exist")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    task = get_task("xsum", data_dir=str(tmp_path), download=True)
    told = refused(lambda: task.train(tokenizer))
    assert "(Manual directory /none does not exist); expected a public dataset" in told


def test_real_scitldr(shared_data, tmp_path, caplog):
    folder = shared_data / "scitldr"
    for split, count in (("train", 300), ("dev", 100)):
        with (folder / f"{split}.jsonl").open(encoding="utf-8") as file:
            rows = [json.loads(next(file)) for _ in range(count)]
        (tmp_path / f"{split}.jsonl").write_text(lines(*rows))
    tokenizer = make_tokenizer(" ".join(" ".join(row["source"]) for row in rows))
    data = {"data": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "dev.jsonl")}
    with caplog.at_level(logging.WARNING):
        task = get_task("summarization", max_target_length=24, **data)
        train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (300, 100)
    assert (
        "several targets" not in caplog.text and "of 300 targets have more than 24" in caplog.text
    )
    assert {len(x) for x in evaluation.examples} == {1, 2, 3}
    assert [*evaluation.examples] == [tuple(row["target"]) for row in rows]
    best = task.evaluate(evaluation, [x[-1] for x in evaluation.examples])
    assert best == dict.fromkeys(best, pytest.approx(100))
    lead = task.evaluate(evaluation, [row["source"][0] for row in rows])
    assert 15 < lead["rougeLsum"] < lead["rouge1"] < 40
