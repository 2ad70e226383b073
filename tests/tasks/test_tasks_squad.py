"""SQuAD: the official metrics, windows and decoding; small cases, then the real data."""

import json

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpjax.errors import UserError
from bpjax.models.tokenizer import load_tokenizer
from bpjax.tasks import get_task, official, spans
from bpjax.tasks.prepare import prepare
from bpjax.tasks.spans import Answer, Example, Window
from bpjax.tasks.squad import SpanTask, Squad, SquadV2


@pytest.fixture(scope="module")
def tokenizer(minilm_dir):
    return transformers.AutoTokenizer.from_pretrained(minilm_dir)


def make_features(examples, tokenizer, **options):
    return SpanTask(**options)._features(examples, tokenizer)


def gold_logits(features, seed=0):
    """Logits that are sure of the labelled span and noise elsewhere."""
    rng = np.random.default_rng(seed)
    logits = []
    for row in features.rows:
        scores = rng.normal(size=(len(row["input_ids"]), 2)).astype(np.float32)
        if row["start_position"] > 0:
            scores[row["start_position"], 0] = 20
            scores[row["end_position"], 1] = 20
        logits.append(scores)
    return logits


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Cat!", ["cat"], 1, 1),
        ("a  big\tcat", ["The big cat."], 1, 1),
        ("big cat", ["cat"], 0, 2 / 3),
        ("big cat", ["dog", "cat", "big cat house"], 0, 0.8),
        ("dog", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        # The official code: punctuation is removed without a space, articles only as whole words.
        ("U.S. theater", ["us theater"], 1, 1),
        ("well-known", ["well known"], 0, 0),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("Beyoncé", ["Beyoncé’s"], 0, 0),
        # Of version 1.1, F1 is 0 where no word is shared: also of no words at all.
        ("the", ["The."], 1, 0),
        ("", ["."], 1, 0),
        (".", ["cat", "a"], 1, 0),
        ("the", ["cat"], 0, 0),
    ],
)
def test_official_metrics(prediction, answers, exact, f1):
    assert spans.exact_match(prediction, answers) == exact
    assert spans.f1(prediction, answers) == pytest.approx(f1)


def test_score_counts_a_missing_prediction_as_zero():
    examples = [Example(str(i), "cat", "?", ("cat",), (0,)) for i in range(4)]
    assert spans.score({"0": "cat", "1": "the cat", "2": "dog"}, examples) == {
        "f1": 50.0,
        "exact_match": 50.0,
    }


CONTEXT = "Anna Müller was born in Paris. " + "She liked it there. " * 30 + "Tom died in New York."


def example(answer, start=None, identity="q"):
    start = CONTEXT.index(answer) if start is None else start
    return Example(identity, CONTEXT, "Where did Tom die?", (answer,), (start,))


def test_a_short_passage_is_one_window(tokenizer):
    features = make_features([example("Paris"), example("New York", identity="r")], tokenizer)
    assert len(features.rows) == 2
    for row, window in zip(features.rows, features.examples, strict=True):
        ids = row["input_ids"][row["start_position"] : row["end_position"] + 1]
        assert tokenizer.decode(ids) == window.example.answers[0].lower()
        assert tokenizer.decode(row["input_ids"]).startswith("[CLS] where did tom die? [SEP] anna")
        assert row["token_type_ids"].sum() == len(window.offsets) + 1
        begin, end = window.offsets[1]
        assert CONTEXT[begin:end] == "Müller"[: end - begin]


def test_a_long_passage_is_cut_with_stride(tokenizer):
    options = {"max_length": 64, "stride": 16, "max_question_length": 16}
    features = make_features([example("New York")], tokenizer, **options)
    windows, rows = features.examples, features.rows
    assert len(windows) > 2
    assert features.lengths.max() == 64
    for window, following in zip(windows[:-1], windows[1:], strict=True):
        assert np.array_equal(window.offsets[-16:], following.offsets[:16])
    assert windows[0].offsets[0, 0] == 0
    assert windows[-1].offsets[-1, 1] == len(CONTEXT)
    # Only the last window holds the answer; the others point to [CLS].
    assert [int(row["start_position"]) for row in rows[:-1]] == [0] * (len(rows) - 1)
    ids = rows[-1]["input_ids"][rows[-1]["start_position"] : rows[-1]["end_position"] + 1]
    assert tokenizer.decode(ids) == "new york"
    task = SpanTask(**options)
    assert task.evaluate(features, gold_logits(features)) == {"f1": 100.0, "exact_match": 100.0}


def test_a_long_question_is_cut(tokenizer):
    long = Example("q", CONTEXT, "why oh why " * 40 + "?", ("Paris",), (24,))
    features = make_features([long], tokenizer, max_length=128, stride=16, max_question_length=10)
    assert {window.first for window in features.examples} == {12}
    text = tokenizer.decode(features.rows[0]["input_ids"][:12])
    assert text == "[CLS] why oh why why oh why why oh why why [SEP]"


def test_an_answer_inside_a_word_takes_the_whole_token(tokenizer):
    features = make_features([example("aris")], tokenizer)
    row = features.rows[0]
    ids = row["input_ids"][row["start_position"] : row["end_position"] + 1]
    assert tokenizer.decode(ids) == "paris"


@pytest.fixture(scope="module")
def roberta_tokenizer(tmp_path_factory):
    """Trained on the passage alone, so that a character outside it is a token for every byte."""
    folder = tmp_path_factory.mktemp("roberta")
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(
        [CONTEXT],
        vocab_size=320,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    _, merges = trained.save_model(str(folder))
    with open(merges, encoding="utf-8") as file:
        pairs = [tuple(line.split()) for line in file.read().splitlines()[1:]]
    transformers.RobertaTokenizer(trained.get_vocab(), pairs).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    return load_tokenizer(folder)


def labelled(row, window, tokenizer):
    """The text of the labelled tokens, by their ids and by their offsets."""
    start, end = int(row["start_position"]), int(row["end_position"])
    begin, stop = window.offsets[start - window.first, 0], window.offsets[end - window.first, 1]
    ids = row["input_ids"][start : end + 1]
    return tokenizer.decode(ids).strip(), window.example.context[begin:stop]


KINDS = pytest.mark.parametrize("kind", ["tokenizer", "roberta_tokenizer"])


@KINDS
@pytest.mark.parametrize("before", ["", " ", "\n\t", "\u00a0", "\u200b", "\ufeff "])
@pytest.mark.parametrize("after", ["", "  ", "\n", "\r\n", "\u3000", "\u200b\u200e"])
def test_blanks_at_an_answers_edges_are_not_taught(request, kind, before, after):
    tokenizer = request.getfixturevalue(kind)
    for left, right in (("", ""), ("house. ", "born"), ("house.", " born")):
        answer = f"{before}New York{after}"
        passage = left + answer + right
        asked = Example("q", passage, "Where?", (answer,), (len(left),))
        features = make_features([asked], tokenizer)
        ids, text = labelled(features.rows[0], features.examples[0], tokenizer)
        assert (ids.lower(), text) == ("new york", "New York")


@KINDS
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_is_taught_in_every_window_that_has_all_of_it(request, kind, data):
    tokenizer = request.getfixturevalue(kind)
    blanks = st.text(" \n\t\u00a0\u200b", min_size=1, max_size=2)
    words = data.draw(st.lists(st.sampled_from(CONTEXT.split()), min_size=1, max_size=30))
    passage = "".join(data.draw(blanks) + word for word in words) + data.draw(blanks)
    begin = data.draw(st.integers(0, len(passage) - 1))
    answer = passage[begin : data.draw(st.integers(begin + 1, len(passage)))]
    first, stop = spans.visible_part(answer)
    asked = Example("q", passage, "?", (answer,), (begin,))
    options = {"max_length": 16, "stride": 6, "max_question_length": 2}
    if first == stop:
        with pytest.raises(UserError, match="question q: answer .* has no tokens"):
            make_features([asked], tokenizer, **options)
        return
    features = make_features([asked], tokenizer, **options)
    whole = make_features([asked], tokenizer).examples[0].offsets
    taken = whole[(whole[:, 1] > begin + first) & (whole[:, 0] < begin + stop)]
    for row, window in zip(features.rows, features.examples, strict=True):
        has_all = (taken[:, None] == window.offsets).all(-1).any(-1).all()
        assert (row["start_position"] > 0) == has_all
        if has_all:
            _, text = labelled(row, window, tokenizer)
            assert answer[first:stop] in text and text == text.strip()


def test_what_the_tokenizer_removes_is_no_answer(tokenizer, roberta_tokenizer):
    """BERT's tokenizer leaves out characters for private use, RoBERTa's has their bytes."""
    asked = Example("q", "Tom \ue000 in Rome", "?", ("\ue000",), (4,))
    with pytest.raises(UserError, match=r"question q: answer '\\ue000' has no tokens, .* mend the"):
        make_features([asked], tokenizer)
    row = make_features([asked], roberta_tokenizer).rows[0]
    assert row["end_position"] - row["start_position"] == 2
    # At the edge of a passage and of its answer, it is no reason to miss the others.
    asked = Example("q", "\ue000Tom in Rome", "?", ("\ue000Tom",), (0,))
    features = make_features([asked], tokenizer)
    assert labelled(features.rows[0], features.examples[0], tokenizer) == ("tom", "Tom")


@KINDS
@pytest.mark.parametrize("question", ["", " \n", "\u200b", "Where did Tom die?"])
@pytest.mark.parametrize("passage", ["", " \n ", "\u200b", "\x00\x01"])
def test_a_passage_without_tokens_has_no_answer(request, kind, question, passage):
    tokenizer = request.getfixturevalue(kind)
    others = [unanswerable("a"), Example("q", passage, question, (), ()), example("Paris")]
    task = SquadV2()
    features = task._features([others[1], others[0], others[2]], tokenizer)
    assert [len(features), len(features.rows)] == [3, 3]
    assert features.rows[0]["start_position"] == features.rows[0]["end_position"] == 0
    if kind == "tokenizer" or not passage:
        window = features.examples[0]
        assert window.first == len(features.rows[0]["input_ids"]) and not len(window.offsets)
        logits = np.zeros((window.first, 2), np.float32)
        assert spans.decode([window], [logits], 20, 30) == {"q": Answer("", np.inf)}
    logits = gold_logits(features)
    for row, scores in zip(features.rows, logits, strict=True):
        scores[0] = 20 * (row["start_position"] == 0)
    assert task.evaluate(features, logits)["exact_match"] == 100.0


def test_windows_of_roberta(roberta_tokenizer):
    options = {"max_length": 64, "stride": 16, "max_question_length": 16}
    examples = [example("New York"), example("Müller", identity="r")]
    features = make_features(examples, roberta_tokenizer, **options)
    windows, rows = features.examples, features.rows
    assert features.lengths.max() == 64 and len(windows) > 4
    found = set()
    for row, window in zip(rows, windows, strict=True):
        assert not row["token_type_ids"].any()
        assert row["token_type_ids"].shape == row["input_ids"].shape
        text = roberta_tokenizer.decode(row["input_ids"][: window.first])
        assert text == "<s>Where did Tom die?</s></s>"
        assert len(row["input_ids"]) == window.first + len(window.offsets) + 1
        if row["start_position"] > 0:
            answer = window.example.answers[0]
            assert labelled(row, window, roberta_tokenizer) == (answer, answer)
            found.add(answer)
    assert found == {"New York", "Müller"}
    for window, following in zip(windows[:-1], windows[1:], strict=True):
        if window.example is following.example:
            assert np.array_equal(window.offsets[-16:], following.offsets[:16])
    task = SpanTask(**options)
    assert task.evaluate(features, gold_logits(features)) == {"f1": 100.0, "exact_match": 100.0}


@pytest.mark.parametrize("answer", ["Ödön", "한국", "😀", "dön"])
def test_an_answer_takes_all_bytes_of_its_characters(roberta_tokenizer, answer):
    text = "The  house is Ödön 한국 😀, they say."
    asked = Example("q", text, "Where?", (answer,), (text.index(answer),))
    features = make_features([asked], roberta_tokenizer)
    found = labelled(features.rows[0], features.examples[0], roberta_tokenizer)
    assert found == (answer, answer)


@pytest.mark.parametrize("question", ["why oh why " * 40 + "?", "😀" * 40])
@pytest.mark.parametrize("kept", [9, 10, 11, 12])
@pytest.mark.parametrize(("kind", "special"), [("tokenizer", 3), ("roberta_tokenizer", 4)])
def test_the_shortest_inputs(request, kind, special, question, kept):
    tokenizer = request.getfixturevalue(kind)
    options = {"stride": 16, "max_question_length": kept}
    least = kept + 16 + special + 1
    long = Example("q", CONTEXT, question, ("Paris",), (24,))
    features = make_features([long], tokenizer, max_length=least, **options)
    assert features.lengths.max() == least
    assert features.examples[-1].offsets[-1, 1] == len(CONTEXT)
    with pytest.raises(UserError, match=f"expected at least {least} .* {special + 1}\\); raise"):
        make_features([long], tokenizer, max_length=least - 1, **options)


def make_window(tokens=10, first=3, identity="q"):
    text = "abcdefghijklmnopqrstuvwxyz"[:tokens]
    offsets = np.stack([np.arange(tokens), np.arange(tokens) + 1], 1).astype(np.int32)
    return Window(Example(identity, text, "?", (text[0],), (0,)), first, offsets)


def test_decoding_considers_only_spans_of_the_passage():
    window = make_window()
    scores = np.zeros((14, 2))
    scores[0] = scores[13] = 50  # [CLS] and [SEP]
    scores[7, 0], scores[5, 1] = 9, 9  # e ends before h starts
    scores[8, 1] = 3
    # (7, 8) scores 12; (4, 5), with a start of 0, scores 9; (7, 5) would score 18.
    assert spans.decode([window], [scores], 20, 30)["q"].text == "ef"


def test_decoding_limits_the_length():
    window = make_window()
    scores = np.zeros((14, 2))
    scores[3, 0], scores[10, 1], scores[4, 1] = 9, 9, 1
    assert spans.decode([window], [scores], 20, 8)["q"].text == "abcdefgh"
    assert spans.decode([window], [scores], 20, 7)["q"].text == "ab"


def test_decoding_takes_the_best_window():
    one, other = make_window(), make_window(tokens=5)
    low, high = np.zeros((14, 2)), np.zeros((9, 2))
    low[3], high[5] = 4, 5
    assert spans.decode([one, other], [low, high], 20, 30)["q"].text == "c"
    assert spans.decode([other, one], [high, low], 20, 30)["q"].text == "c"
    # n_best 1: the best start lies after the best end, and nothing is left.
    high[:] = 0
    high[6, 0] = high[4, 1] = 9
    assert spans.decode([other], [high], 1, 30)["q"].text == ""
    assert spans.decode([other], [high], 2, 30)["q"].text
    with pytest.raises(ValueError, match="7 rows of logits for a window of 8 tokens"):
        spans.decode([other], [high[:7]], 20, 30)


def test_decoding_equals_a_search_of_all_spans():
    rng = np.random.default_rng(0)
    for trial in range(50):
        window, scores = make_window(12), rng.normal(size=(16, 2)).astype(np.float32)
        limit = 1 + trial % 12
        best = max(
            (scores[3 + s, 0] + scores[3 + e, 1], s, e)
            for s in range(12)
            for e in range(s, min(12, s + limit))
        )
        text = window.example.context[best[1] : best[2] + 1]
        assert spans.decode([window], [scores], 12, limit)["q"].text == text


def one_paragraph(name, questions):
    """A SQuAD document that asks the same thing again and again."""
    qas = [
        {
            "id": f"{name}-{i}",
            "question": "Who?",
            "answers": [{"text": name, "answer_start": 0}],
        }
        for i in range(questions)
    ]
    paragraphs = [{"context": f"{name} was born in Rome.", "qas": qas}]
    return {"version": "1.1", "data": [{"title": "People", "paragraphs": paragraphs}]}


def test_holdout_shares_no_passage(tokenizer, tmp_path):
    articles = [one_paragraph(f"Tom {i}", questions=3)["data"][0] for i in range(10)]
    for name in ("train-v1.1.json", "dev-v1.1.json"):
        (tmp_path / name).write_text(json.dumps({"data": articles}))
    prepare("squad", tmp_path, tmp_path)
    task = Squad(data_dir=str(tmp_path), holdout=7)
    train, held = task.train(tokenizer), task.evaluation(tokenizer)
    assert len(held.rows) == 7
    contexts = [{w.example.context for w in features.examples} for features in (train, held)]
    assert not contexts[0] & contexts[1]


def test_real_squad(shared_data, tokenizer, tmp_path):
    (tmp_path / "train-v1.1.json").write_text(json.dumps(one_paragraph("Tom", questions=1)))
    (tmp_path / "dev-v1.1.json").symlink_to(shared_data / "squad" / "dev-v1.1.json")
    prepare("squad", tmp_path, tmp_path)
    task = get_task("squad", data_dir=str(tmp_path))
    features = task.evaluation(tokenizer)
    assert len({window.example.id for window in features.examples}) == 10570
    assert features.lengths.max() == 384
    metrics = task.evaluate(features, gold_logits(features))
    # Not 100: some answers are longer than 30 tokens, and some begin or end inside a token.
    assert metrics["exact_match"] > 99.3
    assert metrics["f1"] > 99.4
    noise = np.random.default_rng(0)
    random = [noise.normal(size=(n, 2)).astype(np.float32) for n in features.lengths]
    assert task.evaluate(features, random)["f1"] < 15


def answered(identity, answer="cat"):
    return Example(identity, "a cat and a dog", "?", (answer,), (2,))


def unanswerable(identity):
    return Example(identity, "a cat and a dog", "?", (), ())


def test_null_odds_are_the_least_null_score_over_the_best_span():
    offsets = np.array([[0, 1], [2, 5]], np.int32)
    windows = [Window(answered("q"), 1, offsets)] * 2
    first = np.array([[3.0, 2.0], [0.0, 0.0], [1.0, 3.0]], np.float32)
    other = np.array([[1.0, 0.5], [0.0, 0.0], [0.0, 1.0]], np.float32)
    answer = spans.decode(windows, [first, other], 20, 30)["q"]
    assert answer == Answer("cat", 1.5 - 4.0)


def test_official_metrics_with_null_answers():
    examples = [answered("a"), answered("b", "dog"), unanswerable("c"), unanswerable("d")]
    answers = {
        "a": Answer("cat", -5.0),  # right
        "b": Answer("big dog", 2.0),  # half right, but taken for no answer
        "c": Answer("cat", -1.0),  # wrong: it has none
        "d": Answer("dog", 3.0),  # right: taken for no answer
    }
    found = spans.score_with_null(answers, examples, 0.0)
    assert found == pytest.approx(
        {
            "f1": 50.0,
            "exact_match": 50.0,
            "has_answer_f1": 50.0,
            "has_answer_exact_match": 50.0,
            "no_answer_f1": 50.0,
            "no_answer_exact_match": 50.0,
            # Answer "a" alone: three of four.
            "best_f1": 75.0,
            "best_f1_threshold": -5.0,
            "best_exact": 75.0,
            "best_exact_threshold": -5.0,
        }
    )
    everything = spans.score_with_null(answers, examples, 10.0)
    assert everything["f1"] == pytest.approx(100 * (1 + 2 / 3) / 4)
    assert spans.score_with_null(answers, examples, -5.0)["exact_match"] == 75.0
    # Nothing is worth an answer.
    poor = {e.id: Answer("house", -1.0) for e in examples}
    assert spans.score_with_null(poor, examples, 0.0)["best_f1"] == 50.0


@pytest.mark.parametrize(
    ("golds", "said", "exact", "f1"),
    [
        ((), "", 100, 100),
        ((), "the", 100, 100),
        ((), ".", 100, 100),
        ((), "cat", 0, 0),
        # Answers without words are left out; where no other is left, none is right.
        (("the",), "", 100, 100),
        (("the", "."), "A!", 100, 100),
        (("the",), "cat", 0, 0),
        (("the", "cat"), "the", 0, 0),
        (("the", "cat"), "", 0, 0),
        (("the", "cat"), "the cat", 100, 100),
        ((".", "big cat"), "cat", 0, 200 / 3),
    ],
)
def test_answers_without_words_in_version_2(golds, said, exact, f1):
    asked = Example("q", "the big cat .", "?", golds, tuple(map("the big cat .".find, golds)))
    found = spans.score_with_null({"q": Answer(said, -9.0)}, [asked], 0.0)
    assert (found["exact_match"], found["f1"]) == pytest.approx((exact, f1))
    part = "has_answer" if golds else "no_answer"
    assert found[f"{part}_exact_match"] == exact and len(found) == 8
    # Whether there is an answer is told by whether one is given.
    null = spans.score_with_null({"q": Answer(said, 9.0)}, [asked], 0.0)
    assert null["exact_match"] == null["f1"] == 100 * (not golds)


TEXTS = st.sampled_from(["", "the", ".", "a!", "cat", "the cat", "big cat", "Dog."])


@given(
    st.lists(
        st.tuples(st.lists(TEXTS.filter(bool), max_size=3), TEXTS, st.integers(-3, 3)),
        min_size=1,
        max_size=8,
    ),
    st.integers(-3, 3),
)
def test_scores_with_null_by_their_definition(rows, threshold):
    """Each question alone, and the best threshold by going through all of them."""

    def rate(of, golds, said):
        golds = [gold for gold in golds if spans.normalize(gold)] or [""]
        if of is spans.f1 and (golds == [""] or not spans.normalize(said)):
            return float(not spans.normalize(said) and golds == [""])
        return of(said, golds)

    examples = [Example(str(i), "", "?", tuple(row[0]), ()) for i, row in enumerate(rows)]
    answers = {str(i): Answer(said, float(odds)) for i, (_, said, odds) in enumerate(rows)}
    found = spans.score_with_null(answers, examples, threshold)
    for name, best, of in (
        ("f1", "best_f1", spans.f1),
        ("exact_match", "best_exact", spans.exact_match),
    ):
        rates = [rate(of, golds, said) for golds, said, _ in rows]
        at = [
            rates[i] if odds <= threshold else float(not golds)
            for i, (golds, _, odds) in enumerate(rows)
        ]
        assert found[name] == pytest.approx(100 * np.mean(at))
        for part, wanted in (("has_answer", True), ("no_answer", False)):
            picked = [at[i] for i, row in enumerate(rows) if bool(row[0]) == wanted]
            if picked:
                assert found[f"{part}_{name}"] == pytest.approx(100 * np.mean(picked))
        now = most = sum(not golds for golds, _, _ in rows)
        limit = 0.0
        for i in sorted(range(len(rows)), key=lambda i: rows[i][2]):
            golds, said, odds = rows[i]
            now += rates[i] if golds else -bool(said)
            if now > most + 1e-9:
                most, limit = now, odds
        assert found[best] == pytest.approx(100 * most / len(rows))
        assert found[f"{best}_threshold"] == limit


def test_squad_v2_from_its_files(tokenizer, tmp_path):
    def question(identity, answers, **more):
        entry = {"id": identity, "question": "Where did Tom die?", "answers": answers}
        return {**entry, "is_impossible": not answers, **more}

    there = [{"text": "New York", "answer_start": CONTEXT.index("New York")}]
    nearly = {"plausible_answers": [{"text": "Paris", "answer_start": 24}]}
    paragraph = {"context": CONTEXT, "qas": [question("a", there), question("b", [], **nearly)]}
    document = {"version": "v2.0", "data": [{"title": "Tom", "paragraphs": [paragraph]}]}
    for name in ("train", "dev"):
        (tmp_path / f"{name}-v2.0.json").write_text(json.dumps(document))
    prepare("squad_v2", tmp_path, tmp_path / "tfds")
    task = get_task("squad_v2", data_dir=str(tmp_path / "tfds"))
    features = task.train(tokenizer)
    starts = {
        w.example.id: row["start_position"]
        for w, row in zip(features.examples, features.rows, strict=True)
    }
    assert starts["b"] == 0 < starts["a"]
    logits = gold_logits(features)
    for row, scores in zip(features.rows, logits, strict=True):
        if row["start_position"] == 0:
            scores[0] = 20
    assert task.evaluate(features, logits)["f1"] == 100.0


def test_real_squad_v2(shared_data):
    rows = dict(official.read_squad_v2(shared_data / "squad" / "dev-v2.0.json"))
    assert len(rows) == 11873
    assert sum(row["is_impossible"] for row in rows.values()) == 5945
