"""The embedded task: deterministic, sound, and not to be solved without reading the question."""

import collections
import re
import subprocess
import sys

import numpy as np
import pytest
import transformers

from bpjax.tasks import get_task, spans
from bpjax.tasks.passages import UNSEEN_EVERY, Maker, write_passage
from bpjax.tasks.templates import PASSAGE_KINDS


@pytest.fixture(scope="module")
def tokenizer(minilm_dir):
    return transformers.AutoTokenizer.from_pretrained(minilm_dir)


@pytest.fixture(scope="module")
def passages():
    maker = Maker(np.random.default_rng(7), unseen=True)
    return [write_passage(maker) for _ in range(400)]


@pytest.fixture(scope="module")
def task():
    return get_task("embedded", train_size=601, eval_size=200)


def test_the_seed_decides_everything(task):
    assert task.examples("train") == task.examples("train")
    other = get_task("embedded", train_size=601, eval_size=200, seed=1)
    assert not {e.context for e in task.examples("train")} & {
        e.context for e in other.examples("train")
    }
    # A larger train set begins like a smaller one, and does not touch the evaluation.
    larger = get_task("embedded", train_size=700, eval_size=200)
    assert larger.examples("train")[:601] == task.examples("train")
    assert larger.examples("validation") == task.examples("validation")


def test_sizes_and_splits(task):
    train, evaluation = task.examples("train"), task.examples("validation")
    assert (len(train), len(evaluation)) == (601, 200)
    assert not {e.context for e in train} & {e.context for e in evaluation}
    assert len({e.id for e in train + evaluation}) == 801

    def people(examples):
        return {name for e in examples for name in re.findall(r"[A-Z]\w+ [A-Z]\w+", e.context)}

    unseen = [name for name in people(evaluation) if name not in people(train)]
    assert len(unseen) > len(people(evaluation)) / UNSEEN_EVERY


def test_answers_are_where_they_are_said_to_be(passages):
    for passage in passages:
        for mention in passage.mentions:
            assert passage.text.startswith(mention.text, mention.start)
        for query in passage.queries:
            assert query.answer in passage.mentions
            assert "{" not in query.text
            assert query.text.endswith("?")
        assert "{" not in passage.text
        assert "  " not in passage.text
        assert all(s[0].isupper() for s in passage.text.removesuffix(".").split(". "))


def test_passages_vary(passages):
    sentences = [passage.text.count(".") for passage in passages]
    assert 3 <= min(sentences) < 4
    assert 5 < max(sentences) <= 9
    answers = [query.answer.text for passage in passages for query in passage.queries]
    assert {len(answer.split()) for answer in answers} >= {1, 2, 3, 4}
    places = [q.answer.start / len(p.text) for p in passages for q in p.queries]
    counts, _ = np.histogram(places, bins=5, range=(0, 1))
    assert counts.min() > len(places) / 20
    templates = sum(
        len(a.clauses) * (len(a.questions) + len(a.reverse))
        for family in PASSAGE_KINDS
        for a in family.attributes
    )
    assert templates > 300


def test_every_question_has_rivals_of_its_type(passages):
    for passage in passages:
        for query in passage.queries:
            rivals = {m.text for m in passage.mentions if m.kind == query.answer.kind}
            assert len(rivals) >= 3


def test_both_questions_of_a_passage_have_one_answer_only(passages):
    """A value is stated once: nothing but the asked subject has it."""
    for passage in passages:
        values = collections.Counter(m.text for m in passage.mentions if m.kind != "subject")
        assert max(values.values()) == 1


BASELINES = {
    "first of the type": lambda passage, same, rng: same[0].text,
    "last of the type": lambda passage, same, rng: same[-1].text,
    "middle of the type": lambda passage, same, rng: same[len(same) // 2].text,
    "random of the type": lambda passage, same, rng: same[rng.integers(len(same))].text,
    "first mention": lambda passage, same, rng: passage.mentions[0].text,
    "the answer to another question": lambda passage, same, rng: passage.queries[0].answer.text,
}


@pytest.mark.parametrize("name", BASELINES)
def test_knowing_the_type_of_the_answer_is_not_enough(passages, name):
    rng = np.random.default_rng(0)
    scores = []
    for passage in passages:
        query = passage.queries[-1]
        same = [m for m in passage.mentions if m.kind == query.answer.kind]
        scores.append(spans.f1(BASELINES[name](passage, same, rng), [query.answer.text]))
    assert 100 * np.mean(scores) < 40


def test_the_most_common_position_is_not_enough(task, tokenizer):
    train, evaluation = task.train(tokenizer), task.evaluation(tokenizer)

    def place(row, window):
        """Start in the passage, and length, in tokens."""
        start, end = int(row["start_position"]), int(row["end_position"])
        return start - window.first, end - start

    places = map(place, train.rows, train.examples)
    (start, length), _ = collections.Counter(places).most_common(1)[0]
    logits = []
    for row, window in zip(evaluation.rows, evaluation.examples, strict=True):
        scores = np.zeros((len(row["input_ids"]), 2), np.float32)
        last = window.first + len(window.offsets) - 1
        scores[min(window.first + start, last), 0] = 9
        scores[min(window.first + start + length, last), 1] = 9
        logits.append(scores)
    assert task.evaluate(evaluation, logits)["f1"] < 40


def test_features_fit_one_window_and_decode_to_the_answer(task, tokenizer):
    features = task.train(tokenizer)
    assert len(features.rows) == 601
    assert 50 < features.lengths.mean() < 90
    assert features.lengths.max() <= 128
    logits = []
    for row, window in zip(features.rows, features.examples, strict=True):
        assert row["start_position"] > 0
        begin = window.offsets[row["start_position"] - window.first, 0]
        end = window.offsets[row["end_position"] - window.first, 1]
        assert window.example.context[begin:end] == window.example.answers[0]
        scores = np.zeros((len(row["input_ids"]), 2), np.float32)
        scores[row["start_position"], 0] = scores[row["end_position"], 1] = 9
        logits.append(scores)
    assert task.evaluate(features, logits) == {"f1": 100.0, "exact_match": 100.0}


def test_it_needs_neither_tfds_nor_grain():
    code = """
import sys
sys.modules["tensorflow_datasets"] = sys.modules["grain"] = None
from bpjax.tasks import get_task
assert len(get_task("embedded", train_size=10).examples("train")) == 10
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tasks_without_tfds_say_what_to_install(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    from bpjax.errors import UserError

    with pytest.raises(UserError, match="pip install tensorflow-datasets"):
        get_task("sst2").train(tokenizer)
