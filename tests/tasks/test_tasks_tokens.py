"""Tags of a user's own sentences: first tokens of words, entities as conlleval counts them."""

import json

import datasets
import numpy as np
import pytest
import small_run
import transformers
from small_run import TOKENIZER

from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.models import heads
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pipeline import run
from bpjax.report.write import read_report
from bpjax.tasks import base, get_task
from bpjax.tasks.base import Task, by_class
from bpjax.training.input import Batching, eval_batches

TRAIN = """-DOCSTART- O

the O
river O
Unseenword B-LOC
Bay I-LOC

Ann B-PER
saw O
it O


a O
road O
"""
EVALUATION = "Ann\tB-PER\nsaw\tO\nOslo\tB-LOC\nBay\tI-LOC\n\nit\tO"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TOKENIZER)


@pytest.fixture
def make(tmp_path):
    """Writes tables and gives the task on them."""

    def make(train, evaluation=EVALUATION, suffix="conll", **options):
        for file, content in (("train", train), ("eval", evaluation)):
            path = tmp_path / f"{file}.{suffix}"
            path.write_text(content, encoding="utf-8")
            options.setdefault("data" if file == "train" else "eval", str(path))
        return get_task("tokens", **options)

    return make


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def one_hot(task, features, tags):
    """Logits that give a word's tag at its first token, and the last tag at other tokens."""
    labels, logits = task.labels, []
    for row, example, names in zip(features.rows, features.examples, tags, strict=True):
        found = np.zeros((len(row["input_ids"]), len(labels)), np.float32)
        found[:, -1] = 1
        for place, name in zip(example["places"], names, strict=True):
            if place >= 0:
                found[place] = np.eye(len(labels))[labels.index(name)]
        logits.append(found)
    return logits


def test_no_label_is_that_of_the_heads():
    assert base.NO_LABEL == heads.NO_LABEL


def test_words_have_their_tag_at_their_first_token(make, tokenizer):
    task = make(TRAIN)
    assert isinstance(task, Task)
    assert (task.head, task.metric) == ("tokens", "f1")
    assert task.labels == ("B-LOC", "B-PER", "I-LOC", "O")
    features = task.train(tokenizer)
    assert len(features) == 3
    row, example = features.rows[0], features.examples[0]
    words = ["the", "river", "Unseenword", "Bay"]
    encoded = tokenizer(words, is_split_into_words=True)
    assert row["input_ids"].tolist() == encoded["input_ids"]
    firsts = [encoded.word_ids().index(i) for i in range(4)]
    assert len(encoded["input_ids"]) > 6  # words of several tokens
    assert example["places"].tolist() == firsts and example["tags"].tolist() == [3, 3, 0, 2]
    labels = np.full(len(row["label"]), base.NO_LABEL)
    labels[firsts] = [3, 3, 0, 2]
    assert row["label"].tolist() == labels.tolist() and row["label"].dtype == np.int32
    batch = next(iter(eval_batches(features, Batching(4))))
    assert (batch["label"][batch["attention_mask"] == 0] == base.NO_LABEL).all()


def test_whole_entities_count(make, tokenizer):
    task = make(TRAIN).with_labels(("O", "B-PER", "B-LOC", "I-LOC"))
    features = task.evaluation(tokenizer)
    gold = [["B-PER", "O", "B-LOC", "I-LOC"], ["O"]]
    right = task.evaluate(features, one_hot(task, features, gold))
    assert right == {"f1": 100, "precision": 100, "recall": 100, "accuracy": 100}
    # Half an entity is a wrong one, and an entity that begins with I- is one.
    near = [["B-PER", "O", "B-LOC", "O"], ["I-LOC"]]
    logits = one_hot(task, features, near)
    found = task.evaluate(features, logits)
    assert found == pytest.approx(
        {"f1": 200 / 5, "precision": 100 / 3, "recall": 50, "accuracy": 60}
    )
    classes = by_class(task, features, logits)
    assert classes["PER"] == {"precision": 100, "recall": 100, "f1": 100, "support": 1}
    assert classes["LOC"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


def test_words_that_are_cut_off_count_as_outside(make, tokenizer):
    task = make(TRAIN, max_length=4)
    features = task.evaluation(tokenizer)
    assert features.lengths.tolist() == [4, 3]
    places = features.examples[0]["places"].tolist()
    assert places[0] == 1 and places[-1] == -1
    gold = [["B-PER", "O", "B-LOC", "I-LOC"], ["O"]]
    found = task.evaluate(features, one_hot(task, features, gold))
    assert found["recall"] == 50 and found["precision"] == 100
    assert found["unseen"] == 100 * sum(np.array([*places, 1]) < 0) / 5


def test_a_word_without_tokens_counts_as_outside(make, tokenizer):
    task = make(TRAIN, "Ann\tB-PER\n\u200d\tB-LOC\nsaw\tO\n")
    features = task.evaluation(tokenizer)
    assert features.examples[0]["places"].tolist()[1] == -1
    found = task.evaluate(features, one_hot(task, features, [["B-PER", "B-LOC", "O"]]))
    assert (found["recall"], found["unseen"]) == (50, pytest.approx(100 / 3))


def test_tags_that_are_no_entities(make, tokenizer):
    train = "the DET\nriver NOUN\nruns VERB\n\nit PRON\nruns VERB\n"
    task = make(train, "it PRON\nruns VERB\nriver NOUN\n", max_length=4)
    assert task.metric == "accuracy"
    features = task.evaluation(tokenizer)
    logits = one_hot(task, features, [["PRON", "NOUN", "NOUN"]])
    seen = features.examples[0]["places"].tolist().count(-1)
    found = task.evaluate(features, logits)
    assert seen and next(iter(found)) == "accuracy"
    assert found["accuracy"] == pytest.approx(100 / 3)
    assert by_class(task, features, logits)["PRON"]["recall"] == 100
    assert by_class(task, features, logits)["VERB"]["support"] == 1


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("jsonl", '{"tokens": ["Ann", "saw"], "tags": ["B-PER", "O"]}\n'),
        ("jsonl", '{"words": ["Ann", "saw"], "ner_tags": ["B-PER", "O"]}\n'),
        ("jsonl", '{"tokens": "Ann saw", "tags": "B-PER  O"}\n'),
        ("csv", "id,tokens,tags\n1,Ann saw,B-PER O\n"),
    ],
)
def test_other_tables_of_sentences(make, suffix, content):
    task = make(content, content.replace("Ann", "Bo"), suffix=suffix)
    assert task.labels == ("B-PER", "O")
    assert task.read.train.rows()["tokens"].to_pylist() == [["Ann", "saw"]]
    assert task.read.train.rows()["label"].to_pylist() == [[0, 1]]


def test_a_file_of_four_columns(make):
    rows = "-DOCSTART- -X- -X- O\n\nAnn NNP B-NP B-PER\nsaw VBD B-VP O\n"
    message = refused(lambda: make(rows))
    assert "train.conll line 3: 4 cells: expected 2 (tokens, tags)" in message
    columns = "tokens,pos,chunk,tags"
    task = make(rows, rows.replace("Ann", "Bo"), columns=columns)
    assert task.labels == ("B-PER", "O")
    assert make(rows, rows.replace("Ann", "Bo"), columns=columns, tags="pos").labels == (
        "NNP",
        "VBD",
    )


def test_numbers_of_a_saved_dataset_have_their_names(make, tmp_path):
    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    kinds = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)}
    rows = {"tokens": [["Ann", "Lee", "saw"], ["Bo", "An"]], "ner_tags": [[1, 2, 0], [1, 2]]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    made.select([0]).save_to_disk(tmp_path / "a")
    made.select([1]).save_to_disk(tmp_path / "b")
    task = get_task("tokens", data=str(tmp_path / "a"), eval=str(tmp_path / "b"))
    assert task.labels == ("O", "B-PER", "I-PER")
    assert task.read.evaluation.rows()["label"].to_pylist() == [[1, 2]]


@pytest.mark.parametrize(
    ("suffix", "content", "saying"),
    [
        ("conll", "Ann B-PER\nsaw\n", "line 2: 1 cells: expected 2"),
        ("conll", "Ann\tB-PER\nsaw O\n", "line 2: 1 cells: expected 2"),
        ("conll", "Ann\tB-PER\n\tO\n", "line 2: 1 cells: expected 2"),
        ("conll", "\n\n", "no rows"),
        ("conll", "Ann O\nsaw O\n", "one label alone, 'O'"),
        ("conll", "Ann B-PER\nsaw O\nit VERB\n", "tags 'B-PER' and 'VERB': expected all of them"),
        ("conll", "Ann b-per\nsaw O\n", "tags 'b-per' and 'b-per': expected all"),
        ("conll", "Ann U-PER\nsaw O\n", "tags 'U-PER' and 'U-PER': expected all"),
        ("jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', "line 1: 2 tokens and 1 tags"),
        ("jsonl", '{"tokens": [], "tags": []}\n', "line 1: no tokens"),
        ("jsonl", '{"tokens": ["a", " "], "tags": ["O", "B-X"]}\n', "line 1: an empty token"),
        ("jsonl", '{"tokens": [1], "tags": ["O"]}\n', "lists of whole numbers: expected lists"),
        ("jsonl", '{"tokens": ["a"], "tags": 1}\n', "holds whole numbers: expected lists of tags"),
        ("csv", "tokens,tags\n\"['a', 'b']\",O O\n", "line 2: tokens is \"['a', 'b']\", a list as"),
        ("csv", "tokens,label\na,O\n", "no column 'tags'"),
    ],
)
def test_sentences_that_are_refused(make, suffix, content, saying):
    assert saying in refused(lambda: make(content, content, suffix=suffix))


def test_tags_that_were_not_trained_on_and_sentences_that_were(make):
    message = refused(lambda: make(TRAIN, "Ann B-ORG\n"))
    assert "eval.conll line 1: tags 'B-ORG' is not one of the 4 labels" in message
    message = refused(lambda: make(TRAIN, "x O\n\nAnn O\nsaw O\nit O\n"))
    assert "eval.conll line 3: this text is in" in message


def test_a_tokenizer_that_loses_blanks_is_refused(make, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"a": 0, "\u0120": 1, "\u0120a": 2, "<unk>": 3}
    plain = Tokenizer(models.BPE(words, [("\u0120", "a")], unk_token="<unk>"))
    found = {}
    for prefix in (False, True):
        plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
        try:
            found[prefix] = len(make(TRAIN).train(fast))
        except UserError as error:
            found[prefix] = str(error)
    assert "words given one by one lose the blank" in found[False] and found[True] == 3


def test_a_run_on_sentences_with_tags(tmp_path, small_model):
    rows = []
    for i in range(80):
        rows.append("\n".join(["the O", f"river{i} B-LOC", *["Bay I-LOC"] * (i % 3), "is O"]))
    (tmp_path / "data.conll").write_text("\n\n".join(rows) + "\n")
    path = small_run.write_config(tmp_path / "config.py", small_model)
    text = path.read_text().replace('task="embedded"', 'task="tokens"')
    text = text.replace(
        "config.task.train_size, config.task.eval_size = 160, 60",
        f"config.task.data, config.task.max_length = {str(tmp_path / 'data.conll')!r}, 16",
    )
    path.write_text(text)
    run(
        read_config(str(path), ["--config.fill.epochs=0"]),
        tmp_path / "run",
        "bpjax run",
    )
    report = read_report(tmp_path / "run")
    assert report["rows"] == {"train": 72, "evaluation": 8}
    assert [*report["pruned"]["metrics"]][:4] == ["f1", "precision", "recall", "accuracy"]
    assert [*report["dense"]["classes"]] == ["LOC"]
    config = json.loads((tmp_path / "run/shrink/model/config.json").read_text())
    assert config["id2label"] == {"0": "B-LOC", "1": "I-LOC", "2": "O"}


def test_real_wnut17(shared_data, minilm_dir):
    folder = shared_data / "wnut17"
    task = get_task("tokens", data=str(folder / "train.conll"), eval=str(folder / "dev.conll"))
    assert (task.metric, task.num_labels) == ("f1", 13)
    assert len(task.read.train) == 3394
    features = task.evaluation(load_tokenizer(minilm_dir))
    assert len(features) == 1009
    labels = task.labels
    gold = [[labels[tag] for tag in example["tags"]] for example in features.examples]
    logits = one_hot(task, features, gold)
    assert task.evaluate(features, logits)["f1"] > 99
    classes = by_class(task, features, logits)
    assert sum(found["support"] for found in classes.values()) == 836
