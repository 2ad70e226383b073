"""Texts of a user's own table: columns, features, metrics, rows evaluated on; then real ones."""

import json

import numpy as np
import pytest
import small_run
from small_run import TOKENIZER

from bpjax.cli import main
from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.models.heads import HEADS
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pipeline import run
from bpjax.report.write import read_report
from bpjax.tasks import cache, get_task, own
from bpjax.tasks.base import Task, by_class
from bpjax.training.input import Batching, eval_batches


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TOKENIZER)


@pytest.fixture
def make(tmp_path):
    """Writes tables and gives the task on them."""

    def make(train, evaluation=None, suffix="csv", **options):
        for file, content in (("train", train), ("eval", evaluation)):
            path = tmp_path / f"{file}.{suffix}"
            if content is not None:
                path.write_text(content, encoding="utf-8")
                options.setdefault("data" if file == "train" else "eval", str(path))
        return get_task("text", **options)

    return make


def table(header, *rows):
    return "\n".join([header, *rows]) + "\n"


TRAIN = table("text,label", *(f"the river {i},{'wet' if i % 3 else 'dry'}" for i in range(30)))
EVALUATION = table("text,label", "the lake,wet", "the sand,dry", "the sea,wet")


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_of_a_table(make, tokenizer):
    task = make(TRAIN, EVALUATION)
    assert isinstance(task, Task) and task.name == "text"
    assert (task.head, task.labels, task.metric) == ("classification", ("dry", "wet"), "accuracy")
    assert HEADS[task.head].outputs(task.num_labels) == 2
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (30, 3)
    assert evaluation.columns["label"].values.tolist() == [1, 0, 1]
    assert evaluation.columns["label"].values.dtype == np.int32
    encoded = tokenizer("the lake")["input_ids"]
    assert evaluation.columns["input_ids"][0].tolist() == encoded
    batch = next(iter(eval_batches(evaluation, Batching(4))))
    assert not batch["token_type_ids"].any()


def test_classes_as_a_model_numbers_them(make, tokenizer):
    task = make(TRAIN, EVALUATION).with_labels(("wet", "dry"))
    evaluation = task.evaluation(tokenizer)
    assert evaluation.columns["label"].values.tolist() == [0, 1, 0]
    logits = [np.array(x, float) for x in ([2, 1], [0, 3], [-1, 0])]
    found = task.evaluate(evaluation, logits)
    assert next(iter(found)) == task.metric
    assert found == pytest.approx(
        {"accuracy": 200 / 3, "macro_f1": 200 / 3, "micro_f1": 200 / 3}, abs=1e-9
    )
    classes = by_class(task, evaluation, logits)
    assert [*classes] == ["wet", "dry"]
    assert classes["wet"] == {
        "precision": 100,
        "recall": 50,
        "f1": pytest.approx(200 / 3),
        "support": 2,
    }
    assert classes["dry"]["precision"] == 50 and classes["dry"]["support"] == 1


def test_several_labels(make, tokenizer):
    rows = (("the river", "wet,old"), ("the road", ""), ("the sea", "wet"), ("a hill", "old"))
    train = table("text\tlabel", *("\t".join(row) for row in rows))
    task = make(
        train, table("text\tlabel", "x\told,wet", "y\t", "z\told"), suffix="tsv", separator=","
    )
    assert (task.head, task.labels, task.metric) == ("multi_label", ("old", "wet"), "micro_f1")
    features = task.evaluation(tokenizer)
    label = features.columns["label"].values
    assert label.dtype == np.float32 and label.tolist() == [[1, 1], [0, 0], [1, 0]]
    logits = [np.array(x, float) for x in ([1, -1], [-1, 0], [2, 3])]
    found = task.evaluate(features, logits)
    # old: all right. wet: neither of the two.
    assert found == pytest.approx(
        {"micro_f1": 200 * 2 / (3 + 3), "macro_f1": 50.0, "exact_match": 100 / 3}
    )
    assert by_class(task, features, logits)["wet"]["support"] == 1


def test_scores_of_pairs(make, tokenizer):
    train = table("sentence1,sentence2,score", "the sea,the lake,2.5", "a,b,0", "c,d,5")
    evaluation = table("sentence1,sentence2,score", "the sea,a lake,1", "e,f,2", "g,h,4.5")
    task = make(train, evaluation)
    assert (task.head, task.labels, task.num_labels) == ("regression", (), 1)
    features = task.evaluation(tokenizer)
    assert features.columns["label"].values.dtype == np.float32
    wanted = tokenizer("the sea", "a lake")
    assert features.columns["input_ids"][0].tolist() == wanted["input_ids"]
    assert features.columns["token_type_ids"][0].tolist() == wanted["token_type_ids"]
    assert max(wanted["token_type_ids"]) == 1
    found = task.evaluate(features, [np.array([x]) for x in (0.0, 1.0, 9.0)])
    assert next(iter(found)) == task.metric == "spearman"
    assert found["spearman"] == pytest.approx(100)
    assert found["squared_error"] == pytest.approx((1 + 1 + 4.5**2) / 3)
    assert by_class(task, features, []) == {}


def test_long_texts_are_cut(make, tokenizer):
    features = make(TRAIN, EVALUATION, max_length=3).evaluation(tokenizer)
    assert features.lengths.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("review,x,category", {}),
        ("x,sentence,labels", {}),
        ("label,x,text", {"text": "label", "label": "text"}),
        ("premise,hypothesis,class", {}),
        ("a,b,c", {"text": "a", "text_pair": "b", "label": "c"}),
        ("text,review,label", {}),
    ],
)
def test_columns_that_are_found(make, tokenizer, header, options):
    rows = [f"{word} 1,{word} 2,{word}" for word in ("up", "down", "up", "down")]
    task = make(table(header, *rows), table(header, "a,b,up"), **options)
    assert sorted(task.labels) == (["down", "up"]) or sorted(task.labels) == ["down 2", "up 2"]
    assert len(task.train(tokenizer)) == 4


@pytest.mark.parametrize(
    ("header", "options", "saying"),
    [
        ("a,b,label", {}, "no column 'text'; the columns are 'a', 'b', 'label'"),
        ("review,sentence,label", {}, "'sentence' and 'review' could be the text"),
        ("text,category,score", {}, "'category' and 'score' could be the label"),
        ("text,b,c", {}, "no column 'label'; the columns are 'text', 'b', 'c'"),
        ("text,b,label", {"text": "body"}, "no column 'body'"),
        ("text,b,label", {"label": "text"}, "text, text are text, label: expected different"),
        ("text,b,label", {"text_pair": "b"}, "text_pair 'b': expected text to be set too"),
        ("text,b,label", {"columns": "a,a"}, "columns 'a,a': expected different names"),
        ("text,b,label", {"kind": "classes"}, "kind 'classes': expected one of auto"),
        ("text,b,label", {"quotes": "yes"}, "quotes 'yes': expected one of auto"),
        ("text,b,label", {"eval_fraction": 1.0}, "eval_fraction 1.0: expected a number between"),
        ("text,b,label", {"holdout": 9}, "holdout 9: expected 0 to 1"),
        ("text,b,label", {"label_names": "nowhere.txt"}, "nowhere.txt: cannot be read"),
        ("text,b,label", {"data": ""}, "task text: data is '': expected the path"),
        ("text,b,label", {"max_length": 2}, "max_length 2: expected at least 3"),
        ("text,b,label", {"limit": 3}, "limit 3: expected 0 (all) to 2"),
    ],
)
def test_options_that_are_refused(make, tokenizer, header, options, saying):
    rows = ("up 1,x,up", "down 1,x,down")
    assert saying in refused(
        lambda: make(table(header, *rows), table(header, "a,b,up"), **options).train(tokenizer)
    )


def test_texts_that_are_refused(make):
    for text in ("", "  ", "\u00a0"):
        message = refused(
            lambda text=text: make(table("text,label", "up,1", f"{text},0"), EVALUATION)
        )
        assert "train.csv line 3: text is empty" in message
    numbers = '{"text": 1, "label": "a"}\n{"text": 2, "label": "b"}\n'
    message = refused(lambda: make(numbers, numbers, suffix="jsonl"))
    assert "column 'text' holds whole numbers: expected texts" in message


def test_rows_that_are_trained_on_are_not_evaluated_on(make, tokenizer):
    again = EVALUATION + "the river 7,wet\nthe river 8,dry\n"
    message = refused(lambda: make(TRAIN, again))
    assert "eval.csv line 5: this text is in " in message and "2 of 5 rows" in message
    task = make(TRAIN, again, allow_overlap=True)
    assert len(task.evaluation(tokenizer)) == 5


def test_without_a_table_to_evaluate_on_a_part_is_split_off(make, tokenizer):
    task = make(TRAIN, eval_fraction=0.2)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (24, 6)
    assert evaluation.columns["label"].values.tolist().count(0) == 2
    ids = {tuple(row["input_ids"]) for row in train.rows}
    assert not ids & {tuple(row["input_ids"]) for row in evaluation.rows}
    again = make(TRAIN, eval_fraction=0.2).evaluation(tokenizer)
    assert [*map(len, again.rows)] == [*map(len, evaluation.rows)]


def test_rows_held_out_and_a_limit(make, tokenizer):
    task = make(TRAIN, EVALUATION, holdout=5, limit=7)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (7, 5)
    ids = {tuple(row["input_ids"]) for row in train.rows}
    assert not ids & {tuple(row["input_ids"]) for row in evaluation.rows}


def test_rows_of_one_text_are_held_out_together(make, tokenizer):
    twice = TRAIN + TRAIN.partition("\n")[2]
    task = make(twice, EVALUATION, holdout=6)
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    ids = {tuple(row["input_ids"]) for row in train.rows}
    assert not ids & {tuple(row["input_ids"]) for row in evaluation.rows}
    assert (len(train), len(evaluation)) == (54, 6)
    few = table("text,label", *(f"the river {i},{'wet' if i else 'dry'}" for i in range(6)))
    message = refused(lambda: make(few, EVALUATION, holdout=5).train(tokenizer))
    assert "all rows with 'dry' would be evaluated on" in message or "'wet'" in message


def test_a_file_that_changes_is_read_again(make, tokenizer):
    task = make(TRAIN, EVALUATION)
    assert len(task.train(tokenizer)) == 30
    make(TRAIN + "the end,wet\n")
    assert len(task.train(tokenizer)) == 31


def test_a_class_of_one_row_is_told(make, caplog):
    make(TRAIN + "the sea,deep\n", EVALUATION.replace("sea", "lakes"))
    assert "train.csv: labels of one row alone: 'deep'" in caplog.text


def test_names_of_numbered_labels(make, tmp_path):
    (tmp_path / "names.txt").write_text("no\nyes\n")
    train = table("text,label", "up,1", "down,0")
    task = make(train, table("text,label", "left,1"), label_names=str(tmp_path / "names.txt"))
    assert task.labels == ("no", "yes")
    (tmp_path / "names.txt").write_text("no\nno\n")
    message = refused(lambda: make(train, train, label_names=str(tmp_path / "names.txt")))
    assert "names.txt line 2: 'no': expected a name a line, each once" in message


def test_features_are_kept_by_content(make, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "ENOUGH", 10)
    first = make(TRAIN, EVALUATION).train(tokenizer)

    def never(*args, **kwargs):
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(type(tokenizer), "__call__", never)
        second = make(TRAIN, EVALUATION).train(tokenizer)
        with pytest.raises(AssertionError):
            make(TRAIN.replace("river 5", "river 55"), EVALUATION).train(tokenizer)
        with pytest.raises(AssertionError):
            make(TRAIN, EVALUATION).with_labels(("wet", "dry")).train(tokenizer)
    for one, other in zip(first.rows, second.rows, strict=True):
        assert {name: x.tolist() for name, x in one.items()} == {
            name: x.tolist() for name, x in other.items()
        }
    assert second.examples[3]["label"] == first.examples[3]["label"]


@pytest.fixture
def small(tmp_path, small_model):
    """A small run's config on tables of several labels."""
    names = ("wet", "old", "far")
    rows = [
        {
            "text": f"the river {i} is {i % 7}",
            "label": [x for k, x in enumerate(names) if i >> k & 1],
        }
        for i in range(80)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = small_run.write_config(tmp_path / "config.py", small_model)
    text = path.read_text().replace('task="embedded"', 'task="text"')
    text = text.replace(
        "config.task.train_size, config.task.eval_size = 160, 60",
        f"config.task.data, config.task.max_length = {str(tmp_path / 'data.jsonl')!r}, 16",
    )
    path.write_text(text)
    return path


def test_a_run_on_a_table_of_several_labels(small, tmp_path, capsys):
    workdir = tmp_path / "run"
    run(read_config(str(small), []), workdir, "bpjax run")
    report = read_report(workdir)
    assert report["rows"] == {"train": 72, "evaluation": 8}
    assert [*report["pruned"]["metrics"]] == ["micro_f1", "macro_f1", "exact_match"]
    assert [*report["pruned"]["classes"]] == ["far", "old", "wet"]
    assert "<h2>Classes</h2>" in (workdir / "report.html").read_text()
    model = str(workdir / "fill" / "model")
    capsys.readouterr()
    arguments = [
        "evaluate",
        model,
        "--task=text",
        f"--task.data={tmp_path / 'data.jsonl'}",
        "--json",
    ]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--task.max_length=16"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["micro_f1"] == pytest.approx(report["pruned"]["metrics"]["micro_f1"])
    assert found["classes"] == report["pruned"]["classes"]


def test_real_banking77(shared_data, minilm_dir):
    folder = shared_data / "banking77"
    task = get_task("text", data=str(folder / "train.csv"), eval=str(folder / "test.csv"))
    assert (task.head, task.num_labels) == ("classification", 77)
    assert "card_arrival" in task.labels
    features = task.evaluation(load_tokenizer(minilm_dir))
    assert len(features) == 3080
    logits = list(np.eye(77)[features.columns["label"].values])
    assert task.evaluate(features, logits)["accuracy"] == 100


def test_real_goemotions(shared_data):
    folder = shared_data / "goemotions"
    options = {
        "data": str(folder / "train.tsv"),
        "eval": str(folder / "dev.tsv"),
        "columns": "text,label",
        "separator": ",",
        "label_names": str(folder / "labels.txt"),
    }
    assert "43 of 5426 rows" in refused(lambda: get_task("text", **options))
    task = get_task("text", **options, allow_overlap=True)
    assert (task.head, task.num_labels, task.labels[0]) == ("multi_label", 28, "admiration")
    assert len(task.read.train) == 43410
    # A program put quotes around the texts that have some.
    assert (
        task.read.train.rows()["text"][123].as_py().startswith('Three words, no subtlety. "Dude.')
    )


def test_real_stsb(shared_data):
    folder = shared_data / "glue" / "STS-B"
    options = {"data": str(folder / "train.tsv"), "eval": str(folder / "dev.tsv")}
    task = get_task("text", **options, allow_overlap=True)
    assert (task.head, task.read.train.rows().column_names) == (
        "regression",
        ["text", "text_pair", "label"],
    )
    assert (len(task.read.train), len(task.read.evaluation)) == (5749, 1500)


def test_a_table_that_was_kept_is_the_same(make, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("BPJAX_FEATURES", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "LARGE", 10)
    task = make(TRAIN, EVALUATION)
    first = task.read
    assert task.read is first
    own._read.cache_clear()
    second = task.read
    assert second.train.rows().equals(first.train.rows()) and second is not first
    assert second.train.table.where(4) == first.train.table.where(4)
    assert len(list((tmp_path / "kept").glob("*.arrow"))) == 2
