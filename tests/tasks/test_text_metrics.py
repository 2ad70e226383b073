"""ROUGE, BLEU and chrF by hand, and against the published examples of their libraries."""

import pathlib

import pytest
import sacrebleu.metrics

from bpjax.tasks.text_metrics import bleu, rouge, sentences


def f1(hits, predicted, gold):
    return 200 * hits / (predicted + gold)


def test_rouge_by_hand():
    """Three of four words, one of three pairs; the longest common subsequence has three."""
    found = rouge(["the cat sat down"], [("the cat was sat",)])
    expected = {"rouge1": f1(3, 4, 4), "rouge2": f1(1, 3, 3), "rougeL": f1(3, 4, 4)}
    assert found == pytest.approx(expected | {"rougeLsum": f1(3, 4, 4)})
    assert [*found] == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert all(type(value) is float for value in found.values())


def test_words_are_stemmed_and_an_empty_text_is_nothing():
    assert rouge(["Cats running!"], [("a cat runs",)])["rouge1"] == pytest.approx(f1(2, 2, 3))
    assert set(rouge([""], [("a cat",)]).values()) == {0.0}
    both = rouge(["a cat", ""], [("a cat",), ("a dog",)])
    assert both["rouge1"] == pytest.approx(50)  # the mean over rows


def test_sentences_meet_each_other_in_rouge_lsum_alone():
    """The order of sentences is another: ROUGE-L sees half, ROUGE-Lsum all."""
    found = rouge(["The sun is out. A man sits."], [("A man sits. The sun is out.",)])
    assert found["rougeLsum"] == pytest.approx(100)
    assert found["rougeL"] == pytest.approx(f1(4, 7, 7))
    lines = rouge(["The sun is out\nA man sits"], [("A man sits\nThe sun is out",)])
    assert lines["rougeLsum"] == pytest.approx(100)


def test_of_several_references_the_one_of_the_highest_rouge_1_counts():
    """The second has the longer sequence, and the first the more words."""
    references = ("d c b a e", "a b c")
    found = rouge(["a b c d"], [references])
    alone = [rouge(["a b c d"], [(each,)]) for each in references]
    assert alone[0]["rouge1"] > alone[1]["rouge1"] and alone[0]["rougeL"] < alone[1]["rougeL"]
    assert found == alone[0] == rouge(["a b c d"], [references[::-1]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. Smith met Dr. J. Doe. They left.", ["Mr. Smith met Dr. J. Doe.", "They left."]),
        ("It rose 3.5% in the U.S. last year.", ["It rose 3.5% in the U.S. last year."]),
        ('He said: "Stop." Then he left.', ['He said: "Stop."', "Then he left."]),
        ("We test e.g. BART. See Fig. 2.", ["We test e.g. BART.", "See Fig. 2."]),
        ("A line\n\nanother. More ", ["A line", "another.", "More"]),
        ("", []),
        ("  \n", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text).split("\n") == (expected or [""])


# From the README of sacrebleu: two systems' sentences with two references.
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
FIRST = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
SECOND = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]


def test_bleu_is_that_of_the_librarys_example():
    found = bleu(SYSTEM, [*zip(FIRST, SECOND, strict=True)])
    assert found["bleu"] == pytest.approx(48.530827009929865)
    assert found["chrf"] == pytest.approx(59.73, abs=0.005)
    assert [*found] == ["bleu", "chrf"] and all(type(x) is float for x in found.values())


def test_bleu_by_hand():
    """Precisions 4/5, 2/4, 1/3 and, smoothed, 1/4; as long as its reference."""
    found = bleu(["a b c x e"], [("a b c d e",)])
    assert found["bleu"] == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / 4) ** 0.25)


def test_rows_may_have_other_numbers_of_references():
    references = [("The dog bit the man.",), (FIRST[1], SECOND[1]), (SECOND[2],)]
    found = bleu(SYSTEM, references)
    # A reference that is there twice adds nothing.
    full = [(each[0], each[-1]) for each in references]
    assert found == pytest.approx(bleu(SYSTEM, full))
    assert bleu(["", ""], [("a b",), ("c", "d")])["bleu"] == 0


def test_signatures_are_those_of_the_documents():
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "docs/reference/tasks.md").read_text()
    for metric in (sacrebleu.metrics.BLEU(), sacrebleu.metrics.CHRF()):
        metric.corpus_score(["a"], [["a"]])
        signature = str(metric.get_signature()).rpartition("|version")[0]
        assert f"`{signature}|version:" in text
