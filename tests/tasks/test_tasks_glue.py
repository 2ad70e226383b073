"""GLUE: features, metrics, held-out rows; small files, then the real SST-2."""

import numpy as np
import pytest
import transformers
from glue_small import write_glue

from bpjax.errors import UserError
from bpjax.models.heads import HEADS
from bpjax.tasks import TASKS, get_task
from bpjax.tasks.base import Features, Task, find_phrases, hold_out
from bpjax.tasks.glue import METRICS, Gold
from bpjax.tasks.glue_files import FILES
from bpjax.tasks.prepare import prepare
from bpjax.tasks.source import Source
from bpjax.training.input import plan_epoch


@pytest.fixture(scope="module")
def tokenizer(minilm_dir):
    return transformers.AutoTokenizer.from_pretrained(minilm_dir)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sst2")
    rows = "".join(f"{'very ' * (i % 9)}good film {i} \t{i % 2}\n" for i in range(40))
    (folder / "train.tsv").write_text("sentence\tlabel\n" + rows)
    (folder / "dev.tsv").write_text("sentence\tlabel\na dull film\t0\na fine film\t1\n")
    (folder / "test.tsv").write_text("index\tsentence\n0\tso so\n")
    prepare("sst2", folder, folder / "tfds")
    return str(folder / "tfds")


# Which need a table: their own tests hold them to the contract.
OWN = ("text", "tokens", "embedding", "summarization", "translation")


@pytest.mark.parametrize("name", [name for name in TASKS if name not in OWN])
def test_every_task_keeps_the_contract(name):
    task = get_task(name)
    assert isinstance(task, Task)
    assert task.name == name
    head = HEADS[task.head]
    assert head.outputs(task.num_labels) == task.num_labels >= (0 if head.vocabulary else 1)
    assert hash(task) == hash(get_task(name))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sst3", {}, "task 'sst3': expected one of cola, sst2, mrpc"),
        ("sst2", {"length": 3}, "option 'length' of task sst2: expected one of max_length, "),
        ("sst2", {"max_length": 0}, "max_length 0: expected an integer of at least 1"),
        ("squad", {"n_best": True}, "n_best True"),
        ("squad", {"max_length": 128}, "max_length 128: expected at least 196"),
        ("embedded", {"seed": -1}, "seed -1"),
        ("embedded", {"train_size": 0}, "train_size 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        get_task(name, **options)
    assert "\n" not in str(caught.value)


def test_sst2_features(data_dir, tokenizer):
    features = get_task("sst2", data_dir=data_dir).evaluation(tokenizer)
    texts = [tokenizer.decode(row["input_ids"]) for row in features.rows]
    assert sorted(texts) == ["[CLS] a dull film [SEP]", "[CLS] a fine film [SEP]"]
    for text, row, gold in zip(texts, features.rows, features.examples, strict=True):
        assert gold == (int("fine" in text), "validation")
        assert row["label"].dtype == np.int32 and row["label"] == gold.label
        assert row["input_ids"].dtype == row["token_type_ids"].dtype == np.int32
        assert row["token_type_ids"].tolist() == [0] * 5
    assert features.lengths.tolist() == [5, 5]


def test_max_length_cuts(data_dir, tokenizer):
    features = get_task("sst2", data_dir=data_dir, max_length=6).train(tokenizer)
    assert features.lengths.max() == 6
    assert all(row["input_ids"][-1] == tokenizer.sep_token_id for row in features.rows)


def test_holdout_parts_the_training_rows(data_dir, tokenizer):
    whole = get_task("sst2", data_dir=data_dir).train(tokenizer)
    task = get_task("sst2", data_dir=data_dir, holdout=7)

    def keys(features):
        return [row["input_ids"].tobytes() for row in features.rows]

    kept, held = keys(task.train(tokenizer)), keys(task.evaluation(tokenizer))
    assert len(held) == 7
    assert not set(kept) & set(held)
    assert sorted(kept + held) == sorted(keys(whole))
    assert held == keys(task.evaluation(tokenizer))


def test_a_limit_takes_the_same_rows_every_time(data_dir, tokenizer):
    task = get_task("sst2", data_dir=data_dir, limit=9, holdout=7)
    first, again = task.train(tokenizer), task.train(tokenizer)
    assert len(first.rows) == 9
    assert [r["input_ids"].tobytes() for r in first.rows] == [
        r["input_ids"].tobytes() for r in again.rows
    ]
    with pytest.raises(UserError, match=r"limit 34: expected 0 \(all\) to 33, the training rows"):
        get_task("sst2", data_dir=data_dir, limit=34, holdout=7).train(tokenizer)


def test_phrases_belong_to_the_sentence_they_are_part_of():
    texts = [
        "a fine film",
        "fine",
        "a fine film by anna ",
        "by anna",
        "by ann",
        "dull",
        "a dull film",
    ]
    assert find_phrases(texts) == [2, 2, 2, 2, 4, 6, 6]
    assert find_phrases(["twice", "twice", ""]) == [0, 0, 0]


def test_held_out_sentences_take_their_phrases_along(tmp_path, tokenizer):
    source = write_glue("sst2", tmp_path / "official")
    words = ("one two three", "four five six", "seven eight nine", "ten eleven twelve")
    rows = [f"{part} \t1\n" for text in words for part in (text, *text.split())]
    (source / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    prepare("sst2", source, tmp_path)
    task = get_task("sst2", data_dir=str(tmp_path), holdout=1)
    (held,) = task.evaluation(tokenizer).rows
    assert len(held["input_ids"]) == 5  # a whole sentence
    kept = task.train(tokenizer).rows
    assert len(kept) == 12
    assert not set(held["input_ids"][1:-1]) & {i for row in kept for i in row["input_ids"][1:-1]}


def test_holdout_keeps_groups_together():
    groups = [i // 3 for i in range(30)]
    kept, held = hold_out(groups, 7)
    assert len(held) == 7
    assert not {groups[i] for i in kept} & {groups[i] for i in held}
    assert len(kept) == 21
    assert hold_out(groups, 0) == (list(range(30)), [])
    for count in (-1, 30):
        with pytest.raises(UserError, match=f"holdout {count}: expected 0 to 29"):
            hold_out(groups, count)
    with pytest.raises(UserError, match="nothing is left"):
        hold_out([1, 1, 1], 2)


def golds(*labels, split="validation"):
    return [Gold(label, split) for label in labels]


def make_features(examples):
    return Features.of([{"input_ids": np.zeros(2, np.int32)}] * len(examples), examples)


def test_accuracy():
    task = get_task("sst2")
    features = make_features(golds(0, 1, 1, 1))
    logits = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0, 2.0]), np.array([1.0, 0])]
    assert task.evaluate(features, logits) == {"accuracy": 75.0}
    with pytest.raises(ValueError, match="3 rows of logits for 4 examples"):
        task.evaluate(features, logits[:3])


# 3 hits of class 1, 1 false alarm, 2 misses, 2 hits of class 0.
PREDICTED, GOLD = (1, 1, 1, 1, 0, 0, 0, 0), (1, 1, 1, 0, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("name", "predicted", "gold", "expected"),
    [
        ("mrpc", PREDICTED, GOLD, {"f1": 600 / 9, "accuracy": 62.5}),
        ("qqp", (0, 0), (1, 0), {"f1": 0.0, "accuracy": 50.0}),
        # (3·2 − 1·2) / √(4·5·3·4)
        ("cola", PREDICTED, GOLD, {"matthews": 400 / np.sqrt(240), "accuracy": 62.5}),
        ("cola", (1, 1), (1, 0), {"matthews": 0.0, "accuracy": 50.0}),
        ("rte", PREDICTED, GOLD, {"accuracy": 62.5}),
        ("stsb", (1.0, 2.0, 4.0), (1.0, 2.0, 3.0), {"pearson": 98.198, "spearman": 100.0}),
        ("stsb", (1.0, 1.0), (1.0, 2.0), {"pearson": 0.0, "spearman": 0.0}),
    ],
)
def test_official_metrics(name, predicted, gold, expected):
    task = get_task(name)
    rows = [[x] for x in predicted] if name == "stsb" else np.eye(2)[list(predicted)]
    found = task.evaluate(make_features(golds(*gold)), [np.array(row) for row in rows])
    assert found == pytest.approx(expected, abs=1e-3)
    assert next(iter(found)) == task.metric


def test_mnli_reports_both_splits():
    matched, mismatched = "validation_matched", "validation_mismatched"
    examples = golds(0, 1, split=matched) + golds(2, 2, split=mismatched)
    logits = list(np.eye(3)[[0, 1, 2, 0]])
    found = get_task("mnli").evaluate(make_features(examples), logits)
    assert found == {"accuracy": 100.0, "accuracy_mismatched": 50.0}


@pytest.mark.parametrize("name", METRICS)
def test_every_task_reads_its_files(name, tokenizer, tmp_path):
    prepare(name, write_glue(name, tmp_path / "official"), tmp_path)
    task = get_task(name, data_dir=str(tmp_path))
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train.rows), len(evaluation.rows)) == (6, 6 if name == "mnli" else 3)
    texts = len(FILES[name].texts)
    wanted = {label.name: np.dtype(label.dtype) for label in HEADS[task.head].labels}
    for row, gold in zip(train.rows, train.examples, strict=True):
        assert wanted.items() <= {name: value.dtype for name, value in row.items()}.items()
        separators = (row["input_ids"] == tokenizer.sep_token_id).sum()
        assert separators == texts == 1 + row["token_type_ids"].max()
        assert row["label"] == gold.label
    classes = 6 if name == "stsb" else task.num_labels
    assert len({gold.label for gold in train.examples}) == classes
    logits = np.zeros((6, task.num_labels), np.float32)
    assert task.metric in task.evaluate(evaluation, list(logits[: len(evaluation.rows)]))


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("stsb", np.float32(np.nan), "label nan, expected 0 to 5"),
        ("stsb", np.float32(5.5), "label 5.5, expected 0 to 5"),
        ("sst2", np.int64(-1), "label -1, expected 0 to 1"),
    ],
)
def test_labels_of_a_dataset_prepared_elsewhere(monkeypatch, tokenizer, name, label, expected):
    row = {**dict.fromkeys(FILES[name].texts, b"so so"), "label": label, "idx": 7}
    monkeypatch.setattr(Source, "read", lambda source, split: [dict(row)])
    with pytest.raises(UserError, match=f"glue/{name} row 7: {expected}; prepare"):
        get_task(name).train(tokenizer)


def test_a_slow_tokenizer_is_refused(data_dir, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(UserError, match=r"expected a fast tokenizer; add its tokenizer\.json"):
        get_task("sst2", data_dir=data_dir).train(tokenizer)


def test_real_sst2(shared_data, tokenizer, tmp_path):
    prepare("sst2", shared_data / "glue" / "SST-2", tmp_path)
    task = get_task("sst2", data_dir=str(tmp_path), max_length=64)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert len(train.rows) == 67349
    assert len(evaluation.rows) == 872
    assert sum(gold.label for gold in train.examples) == 37569
    assert sum(gold.label for gold in evaluation.examples) == 444
    gold = [np.eye(2)[example.label] for example in evaluation.examples]
    assert task.evaluate(evaluation, gold) == {"accuracy": 100.0}
    plans = plan_epoch(train.lengths, 32, (8, 12, 16, 24, 32, 64), seed=17, epoch=0)
    assert len(plans) == 2105
    # Few padded tokens: the sentences' own 899,000 or so and at most a third more.
    assert sum(plan.bucket * 32 for plan in plans) < 1_200_000
