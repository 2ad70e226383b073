"""What a saved model says of new texts: labels by name, scores, words, answers."""

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import refused
from small_run import SMALL, TOKENIZER, save_model

import bpjax
from bpjax.models.tokenizer import load_tokenizer
from bpjax.prediction import answers
from bpjax.training.evaluation import apply

TEXTS = ["the old mill", "a painting of the village and the river", "the team"]


def load(folder, head, labels=(), **fields):
    number = {"span": 2, "regression": 1, "none": 2}.get(head, len(labels) or 3)
    save_model(folder, SMALL.replace(head=head, num_labels=number, labels=labels, **fields))
    return bpjax.load(folder)


def logits_of(model, *texts):
    """Each row by itself, without padding."""
    tokenizer, found = load_tokenizer(TOKENIZER), []
    for text in texts:
        pair = text if isinstance(text, tuple) else (text,)
        row = tokenizer(*pair, return_token_type_ids=True, return_tensors="np")
        batch = {name: jnp.asarray(x, jnp.int32) for name, x in row.items()}
        found.append(np.asarray(apply(model.config, model.params, batch).logits)[0])
    return found


def test_a_loaded_model_is_config_and_params(tmp_path):
    model = load(tmp_path, "none")
    config, params = model
    assert config == SMALL and params is model.params
    with refused("the model has no head"):
        model.predict(TEXTS)


def test_classes_by_name(tmp_path):
    model = load(tmp_path, "classification", ("bad", "so so", "good"))
    found = model.predict(TEXTS, batch_size=2)
    for answer, logits in zip(found, logits_of(model, *TEXTS), strict=True):
        scores = np.exp(logits) / np.exp(logits).sum()
        assert answer["label"] == ("bad", "so so", "good")[logits.argmax()]
        np.testing.assert_allclose([*answer["scores"].values()], scores, rtol=1e-4)
        assert answer["score"] == max(answer["scores"].values()) and "cut" not in answer
    pairs = [(text, "a river") for text in TEXTS]
    assert [x["scores"]["bad"] for x in model.predict(pairs)] != [x["scores"]["bad"] for x in found]


def test_several_labels_scores_and_names_that_nobody_gave(tmp_path):
    model = load(tmp_path / "a", "multi_label", problem_type="multi_label_classification")
    (answer,), (logits,) = model.predict(TEXTS[:1]), logits_of(model, TEXTS[0])
    np.testing.assert_allclose([*answer["scores"].values()], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    assert answer["labels"] == [f"LABEL_{i}" for i in range(3) if logits[i] > 0]
    model = load(tmp_path / "b", "regression")
    (answer,), (logits,) = model.predict(TEXTS[:1]), logits_of(model, TEXTS[0])
    assert answer == {"score": pytest.approx(float(logits[0]), rel=1e-4)}


def test_words_have_their_first_tokens_label(tmp_path):
    model = load(tmp_path, "tokens", ("O", "B-PLACE", "I-PLACE"))
    (answer,), (logits,) = model.predict(TEXTS[1:2]), logits_of(model, TEXTS[1])
    assert [word["text"] for word in answer["words"]] == TEXTS[1].split()
    for word in answer["words"]:
        assert TEXTS[1][word["start"] : word["end"]] == word["text"]
    tokens = load_tokenizer(TOKENIZER)(TEXTS[1]).word_ids()
    firsts = [tokens.index(i) for i in range(len(answer["words"]))]
    best = logits[firsts].argmax(-1)
    assert [word["label"] for word in answer["words"]] == [model.config.labels[i] for i in best]


def test_entities_are_read_as_conll_does():
    labels = ("O", "B-X", "I-X", "I-Y")
    tags = ["B-X", "I-X", "O", "I-X", "I-Y", "I-Y", "B-X", "B-X"]
    text = " ".join("abcdefgh")
    logits = 50 * np.eye(4)[[labels.index(tag) for tag in tags]]
    spans = [(2 * i, 2 * i + 1) for i in range(8)]
    found = answers.words(logits, labels, spans, text)["entities"]
    assert [(x["text"], x["label"]) for x in found] == [
        ("a b", "X"),
        ("d", "X"),
        ("e f", "Y"),
        ("g", "X"),
        ("h", "X"),
    ]
    assert found[0]["score"] == pytest.approx(1)
    assert "entities" not in answers.words(logits, ("a", "b", "c", "d"), spans, text)


def test_questions_are_answered_from_long_passages(tmp_path):
    model = load(tmp_path, "span")
    passage = " ".join(f"the mill {i} stands in the village ." for i in range(40))
    found = model.predict([("where is the mill ?", passage), ("who ?", " "), ("who ?", "the")])
    assert found[0]["answer"] in passage and np.isfinite(found[0]["no_answer"])
    assert found[1] == {"answer": "", "no_answer": None} and found[2]["answer"] in ("the", "")


def test_a_text_that_is_cut_is_told(tmp_path):
    model = load(tmp_path, "classification")
    long = " ".join(["mill"] * 300)
    (answer, other) = model.predict([long, "mill"], max_length=16)
    assert answer["cut"] is True and "cut" not in other
    assert model.predict([" ".join(["mill"] * 14)], max_length=16)[0]["scores"] == answer["scores"]
    with refused("max_length 999: expected 8 to 160"):
        model.predict(TEXTS, max_length=999)


@pytest.mark.parametrize(
    ("head", "rows", "message"),
    [
        ("classification", ["a", "  "], "row 1 is blank"),
        ("classification", ["a", 3], "row 1 is 3: expected a text or two"),
        ("classification", [("a", "b", "c")], "expected a text or two"),
        ("classification", ["a", ("a", "b")], "texts and pairs of texts"),
        ("classification", ["a\ud83d"], r"row 0 has '\\ud83d' at character 1"),
        ("span", ["where ?"], "expected a question and a passage"),
        ("tokens", [("a", "b")], "expected one text"),
    ],
)
def test_rows_that_cannot_be_answered_are_refused(tmp_path, head, rows, message):
    model = load(tmp_path, head)
    with refused(message):
        model.predict(rows)


def test_no_rows_no_answers(tmp_path):
    assert load(tmp_path, "classification").predict([]) == []
