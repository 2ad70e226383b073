"""What a saved model says of new texts: labels by name, scores, words, answers."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import refused
from small_run import SMALL, TOKENIZER, save_model
from tables import TABLE, TableConfig, table

import bpjax
from bpjax import models
from bpjax.cli import main
from bpjax.generation import generate
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.prediction import answers
from bpjax.prediction.texts import read_texts
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


def test_texts_come_from_lines_and_tables(tmp_path, monkeypatch):
    lines = tmp_path / "texts.txt"
    lines.write_bytes(b"\xef\xbb\xbfone, two\r\nthree")
    assert read_texts(str(lines), "classification") == ["one, two", "three"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("café\n".encode())))
    assert read_texts("-", "tokens") == ["café"]
    table = tmp_path / "table.csv"
    table.write_text('text,category\n"one, two",a\nthree,b\n')
    assert read_texts(str(table), "classification") == ["one, two", "three"]
    assert read_texts(str(table), "classification", ["text", "category"]) == [
        ("one, two", "a"),
        ("three", "b"),
    ]
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"question": "who ?", "context": "the team"}\n')
    assert read_texts(str(asked), "span") == [("who ?", "the team")]


@pytest.mark.parametrize(
    ("name", "content", "head", "columns", "message"),
    [
        ("a.txt", b"one\n\ntwo\n", "tokens", (), "a.txt line 2 is blank"),
        ("a.txt", b"", "tokens", (), "a.txt: no text"),
        ("a.txt", b"caf\xe9", "tokens", (), "a.txt line 1: byte 3 of the file is not UTF-8"),
        ("a.txt", b"one", "span", (), "expected a table with the columns question and context"),
        ("a.txt", b"one", "tokens", ["text"], "columns text: expected none"),
        ("a.csv", b"words,x\none,1\n", "tokens", (), "no column 'text'; the columns are 'words'"),
        ("a.csv", b"words,x\none,1\n", "tokens", ["word"], "no column 'word'"),
        ("a.csv", b"text,x\n ,1\n", "tokens", (), "line 2: text is empty"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content, head, columns, message):
    (tmp_path / name).write_bytes(content)
    with refused(message):
        read_texts(str(tmp_path / name), head, columns)


def test_the_command_answers_line_by_line(tmp_path, monkeypatch, capsys):
    load(tmp_path, "classification", ("bad", "so so", "good"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the mill\nthe team\n")))
    with pytest.raises(SystemExit) as end:
        main(["predict", str(tmp_path)])
    said = capsys.readouterr()
    assert end.value.code == 0 and "2/2" in said.err
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [answer.keys() for answer in found] == [{"label", "score", "scores"}] * 2


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """The folder of a model that writes."""
    monkeypatch.setitem(models.ARCHITECTURES, "table", TABLE)
    settings = TableConfig().generation.replace(pad_token_id=0, max_new_tokens=6)
    config = TableConfig(SMALL.vocab_size, max_positions=40, generation=settings)
    save_pretrained(tmp_path / "writer", config, table(config), TOKENIZER)
    return tmp_path / "writer"


def test_texts_are_written(writer):
    model = bpjax.load(writer)
    found = model.predict([*TEXTS, " ".join(["mill"] * 30)], batch_size=2, max_length=16)
    tokenizer = load_tokenizer(TOKENIZER)
    for text, answer in zip(TEXTS, found, strict=False):
        row = tokenizer(text)["input_ids"]
        batch = {"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), int)}
        (tokens,) = generate(model.config, {"params": model.params}, batch).tokens
        assert answer == {"text": tokenizer.decode(tokens, skip_special_tokens=True)}
    assert len({answer["text"] for answer in found}) == 4 and found[3]["cut"]
    shorter = model.predict(TEXTS, generation={"num_beams": 2, "max_new_tokens": 2})
    assert all(len(answer["text"].split()) <= 2 for answer in shorter)
    assert model.predict(TEXTS, generation={}) == found[:3]
    with refused("expected one text"):
        model.predict([("a", "b")])
    with refused("generation.num_beans: expected one of"):
        model.predict(TEXTS, generation={"num_beans": 2})
    with refused("bos_token_id 5000: expected a token below"):
        model.predict(TEXTS, generation={"bos_token_id": 5000})


def test_the_command_writes_with_other_settings(writer, monkeypatch, capsys):
    def said(*arguments, code=0):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the mill\nthe team\n")))
        with pytest.raises(SystemExit) as end:
            main(["predict", str(writer), *arguments])
        assert end.value.code == code
        out, err = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()] if code == 0 else err

    model = bpjax.load(writer)
    settings = {"num_beams": 3, "early_stopping": "never", "bad_words_ids": [[5], [6, 7]]}
    arguments = [f"--generation.{name}={json.dumps(x)}" for name, x in settings.items()]
    expected = model.predict(["the mill", "the team"], generation=settings)
    assert said(*arguments) == expected != said()
    assert said("--generation.early_stopping=never", *arguments[::2]) == expected
    assert said("--generation.early_stopping=True")  # as Python writes it
    for argument, message in (
        ("--generation.num_beams=x", "generation.num_beams is 'x': expected a whole number"),
        ("--generation.num_beams", "argument '--generation.num_beams': expected --generation.FI"),
        ("--beams=4", "argument '--beams=4': expected --generation.FIELD=VALUE"),
    ):
        assert said(argument, code=2).startswith(f"bpjax: {message}")


def test_settings_of_generation_are_refused_where_nothing_is_written(tmp_path):
    model = load(tmp_path, "classification")
    with refused("generation {'num_beams': 2}: expected none, for the model writes no texts"):
        model.predict(TEXTS, generation={"num_beams": 2})
