"""Texts to embed: columns, scores of pairs, metrics; then a whole run without labels."""

import json
import logging

import numpy as np
import pytest
from sentence_models import embedder
from small_run import TOKENIZER

from bpjax.cli import main
from bpjax.config import read_config
from bpjax.errors import UserError
from bpjax.models.checkpoint import load_pretrained, save_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pipeline import run
from bpjax.report.write import read_report
from bpjax.tasks import get_task
from bpjax.tasks.base import Embeds, Task
from bpjax.tasks.embedding import cosines

TRAIN = "text\n" + "".join(f"the river {i} runs to the sea\n" for i in range(30))
PAIRS = "sentence1,sentence2,score\nthe sea,a lake,4\na hill,the hill,5\nParis,a lake,0.5\n"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TOKENIZER)


@pytest.fixture
def make(tmp_path):
    """Writes tables and gives the task on them."""

    def make(train, evaluation=None, **options):
        for option, content in (("data", train), ("eval", evaluation)):
            if content is not None:
                path = tmp_path / f"{option}.csv"
                path.write_text(content, encoding="utf-8")
                options[option] = str(path)
        return get_task("embedding", **options)

    return make


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_texts_are_rows_and_pairs_meet_in_the_metric(make, tokenizer):
    task = make(TRAIN, PAIRS)
    assert isinstance(task, Task) and isinstance(task, Embeds)
    assert (task.head, task.labels, task.metric) == ("embedding", (), "spearman")
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)
    assert (len(train), len(evaluation)) == (30, 6)
    assert [*train.columns] == ["input_ids"]
    texts = ["the sea", "a lake", "a hill", "the hill", "Paris", "a lake"]
    for row, text in enumerate(texts):
        expected = tokenizer(text)["input_ids"]
        assert evaluation.columns["input_ids"][row].tolist() == expected
    # Cosines 0.6, 1 and 0: in the order of the scores.
    vectors = np.array([[1, 0], [3, 4], [2, 0], [5, 0], [1, 0], [0, 2]], np.float32)
    found = task.evaluate(evaluation, [*vectors])
    pearson = 100 * np.corrcoef([0.6, 1, 0], [4, 5, 0.5])[0, 1]
    assert [*found] == ["spearman", "pearson"]
    assert found == pytest.approx({"spearman": 100, "pearson": pearson}, abs=1e-4)


def test_a_models_own_way_with_texts(make, tokenizer):
    task = make(TRAIN, PAIRS, max_length=9).as_model("sea ", 5, 48)
    assert (task.num_labels, task.prompt) == (48, "sea ")
    row = task.evaluation(tokenizer).columns["input_ids"][3].tolist()
    assert row == tokenizer("sea the hill", truncation=True, max_length=5)["input_ids"]
    assert task.train(tokenizer).lengths.max() == 5
    assert make(TRAIN, PAIRS, max_length=6).as_model("", None, 48).train(tokenizer).lengths[0] == 6


def test_both_texts_of_a_row_are_trained_on(make, tokenizer):
    pairs = "".join(f"the sea {i},a lake {i},{i}\n" for i in range(20))
    task = make("sentence1,sentence2,score\n" + pairs, eval_fraction=0.25)
    assert (len(task.train(tokenizer)), len(task.evaluation(tokenizer))) == (30, 10)
    assert task.metric == "spearman"
    # The scores of what is trained on are not read.
    odd = "question1,question2,label\na,b,yes\nc,d,no\n"
    assert len(make(odd, PAIRS).train(tokenizer)) == 4
    chosen = make(
        "a,b\nx,y\n",
        PAIRS.replace("sentence1", "a").replace("sentence2", "b"),
        text="a",
        text_pair="b",
    )
    assert len(chosen.evaluation(tokenizer)) == 6


def test_without_scores_the_dense_model_is_what_is_right(make, tokenizer):
    assert make(TRAIN).metric == "cosine_to_dense"
    assert make(TRAIN, PAIRS, holdout=3).relative
    task = make(TRAIN, "text,label\nthe lake,1\na hill,2\nthe road,2\n")
    assert task.metric == "cosine_to_dense" and task.relative
    features = task.evaluation(tokenizer)
    vectors = [np.array(x, np.float32) for x in ([1, 0], [0, 2], [3, 4])]
    dense = [np.array(x, np.float32) for x in ([2, 0], [1, 0], [1, 0])]
    assert task.agreement(features, vectors, dense) == pytest.approx({"cosine_to_dense": 160 / 3})
    told = refused(lambda: task.evaluate(features, vectors))
    assert "no pairs with scores: expected columns such as sentence1" in told
    assert cosines(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [0]


def test_what_is_embedded_and_trained_on_is_told(make, caplog):
    with caplog.at_level(logging.WARNING):
        make(TRAIN, PAIRS)
        assert not caplog.text
        make("text\nthe sea\na lake\na hill\n", PAIRS)
    assert caplog.text.count("line 2: what is embedded here is trained on in") == 1
    assert "as is that of 1 of 3 rows" in caplog.text
    told = refused(lambda: make(TRAIN, TRAIN))
    assert "that of 30 of 30 rows: expected texts that were not trained on; remove them" in told
    assert make(TRAIN, TRAIN, allow_overlap=True).relative


@pytest.mark.parametrize(
    ("train", "evaluation", "options", "match"),
    [
        ("words\na\nb\n", None, {}, "no column 'text'; the columns are 'words': expected one"),
        (TRAIN, "text\na\n \n", {}, "line 3: text is empty: expected a text; write one or remove"),
        (TRAIN, PAIRS + "x,,3\n", {}, "line 5: sentence2 is empty: expected a text"),
        (TRAIN, PAIRS + "x,y,\n", {}, "line 5: score is ''"),
        (TRAIN, PAIRS + "x,y,high\n", {}, "line 5: score is 'high': expected a number such as 2.5"),
        (TRAIN, PAIRS + "x,y,1e99\n", {}, "expected a finite number"),
        (
            TRAIN,
            "sentence1,sentence2,score\na,b,2\nc,d,2\n",
            {},
            "all scores to evaluate on are 2: expected different ones in score",
        ),
        (
            TRAIN,
            None,
            {"label": "gold"},
            "no column 'gold' beside two of texts: expected the scores",
        ),
        (TRAIN, None, {"text_pair": "b"}, "text_pair 'b': expected text to be set too"),
        (TRAIN, PAIRS, {"text": "t"}, "no column 't'"),
        ("text\na\n", None, {}, "one text alone: expected two or more"),
    ],
    ids=str,
)
def test_what_is_refused(make, train, evaluation, options, match):
    assert match in refused(lambda: make(train, evaluation, **options))


CONFIG = """
from bpjax.config import default_config

def get_config():
    config = default_config(task="embedding")
    config.model.source = {source!r}
    config.task.data = {data!r}
    config.batch.size, config.batch.buckets = 8, (16,)
    config.teacher.epochs = 0
    config.budget.kind, config.budget.value = "density", 0.5
    config.pruning.method, config.pruning.pattern = "fisher", "struct"
    config.pruning.initial_warmup = config.pruning.final_warmup = 0.0
    config.prune.epochs, config.prune.warmup_steps, config.prune.learning_rate = 3, 0, 1e-3
    config.distillation.similarity.prune = config.distillation.hidden.prune = 1.0
    config.fill.epochs = 0
    config.measure.shapes, config.measure.rounds = ("1x16",), 2
    config.log_every = 1
    return config
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A config file, a dense model and tables."""
    folder = tmp_path_factory.mktemp("run")
    config, params = embedder(way="mean", heads=(4, 4), intermediate=(20, 20))
    save_pretrained(folder / "dense", config, params, TOKENIZER)
    (folder / "train.csv").write_text(TRAIN)
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "config.py").write_text(
        CONFIG.format(source=str(folder / "dense"), data=str(folder / "train.csv"))
    )
    return folder


def test_a_run_needs_no_labels(prepared, capsys):
    workdir = prepared / "work"
    run(read_config(str(prepared / "config.py"), []), workdir, "bpjax run")
    report = read_report(workdir)
    assert report["dense"]["metrics"]["cosine_to_dense"] == pytest.approx(100, abs=1e-4)
    assert report["pruned"]["metrics"]["cosine_to_dense"] < 99.999
    assert report["density"] <= 0.5 + 1e-6
    assert report["equivalence"]["max_abs_diff"] < 1e-5
    rows = [json.loads(line) for line in (workdir / "scalars.jsonl").read_text().splitlines()]
    assert {"distillation", "similarity", "hidden"} <= rows[0].keys()
    assert all("task_loss" not in row for row in rows)
    # What came out embeds, is evaluated, and goes through the doors that others use.
    small, _ = load_pretrained(workdir / "shrink" / "model")
    assert small.head == "embedding" and small.embedding.normalize
    model = str(workdir / "shrink" / "model")
    data = [
        "--task=embedding",
        f"--task.data={prepared / 'train.csv'}",
        f"--task.eval={prepared / 'pairs.csv'}",
    ]

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, "--quiet"] if "--json" not in words else [*words])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert -100 <= json.loads(call("evaluate", model, "--json", *data))["spearman"] <= 100
    lines = call("predict", model, str(prepared / "train.csv")).splitlines()
    assert len(lines) == 30 and len(json.loads(lines[0])["embedding"]) == 48
    call("inspect", model)
    call("benchmark", model, "--shapes=1x8", "--rounds=1")
    call("export", model, "--to=stablehlo", f"--output={prepared / 'stable'}")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("teacher.epochs=2", "config.teacher.epochs is 2: expected 0, for task embedding has no"),
        ("pruning.pattern=cofi", "expected one that keeps the dimensions of the hidden state"),
        ("task.max_length=2", "max_length 2: expected at least 3"),
    ],
)
def test_a_run_that_is_refused(prepared, tmp_path, override, match):
    overrides = [f"--config.{override}"]
    if "cofi" in override:
        overrides += ["--config.pruning.method=cofi"]
    told = refused(
        lambda: run(read_config(str(prepared / "config.py"), overrides), tmp_path / "w", "command")
    )
    assert match in told
    assert not (tmp_path / "w" / "prune").exists()
