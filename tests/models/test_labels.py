"""Names of labels: read, kept, matched by name, contradictions refused."""

import json

import numpy as np
import pytest
from checkpoints import DENSE, change_json, refused, saved

from bpjax.exports.formats import export
from bpjax.models.checkpoint import load_pretrained, read_config, save_pretrained
from bpjax.models.labels import match

NAMES = ("contradiction", "entailment", "neutral")
NLI = DENSE.replace(head="classification", num_labels=3, labels=NAMES)


def config_of(tmp_path, **fields):
    saved(tmp_path, NLI)
    change_json(tmp_path, **fields)
    return read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("wanted", "found", "places"),
    [
        (("a", "b", "c"), ("c", "a", "b"), [1, 2, 0]),
        (("not_duplicate", "duplicate"), ("Duplicate", "Not-Duplicate"), [1, 0]),
        (("a", "b"), ("a", "c"), None),
        (("a", "b"), ("a", "b", "c"), None),
        (("a", "A"), ("a", "A"), None),  # which is which?
        ((), (), []),
    ],
)
def test_names_are_matched_whatever_their_case(wanted, found, places):
    assert match(wanted, found) == places


@pytest.mark.parametrize(
    ("fields", "head", "labels"),
    [
        ({"problem_type": None}, "classification", NAMES),
        ({"problem_type": "multi_label_classification"}, "multi_label", NAMES),
        ({"id2label": {"1": "b", "0": "a", "2": "c"}}, "classification", ("a", "b", "c")),
        ({"id2label": {f"{i}": f"LABEL_{i}" for i in range(3)}}, "classification", ()),
        ({"id2label": {"0": "score"}}, "regression", ("score",)),
        ({"id2label": {"0": "score"}, "problem_type": "regression"}, "regression", ("score",)),
        ({"id2label": None, "num_labels": 4}, "classification", ()),
        # Left from before somebody named the classes.
        ({"label2id": {"LABEL_0": 2}}, "classification", NAMES),
    ],
)
def test_head_and_names_are_read(tmp_path, fields, head, labels):
    config = config_of(tmp_path, **fields)
    assert (config.head, config.labels) == (head, labels)
    assert config.problem_type == fields.get("problem_type")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "id2label is .*expected a name for each number"),
        ({"id2label": {}}, "expected a name for each number"),
        ({"id2label": ["a", "b"]}, "expected a name for each number"),
        ({"id2label": {"0": "a", "1": 2}}, "expected names in quotes"),
        ({"num_labels": 5}, "num_labels is 5 and id2label has 3 names"),
        ({"label2id": {"neutral": 0}}, "label2id has 'neutral' as 0, id2label as 2"),
        ({"problem_type": "ranking"}, "problem_type is 'ranking': expected one of"),
        ({"problem_type": "regression"}, "'regression' of 3 labels: expected 1 label"),
        (
            {"id2label": {"0": "a"}, "problem_type": "single_label_classification"},
            "of 1 labels: expected 2 or more",
        ),
        ({"architectures": ["BertForMaskedLM"]}, "architectures is .*BertForMaskedLM.*expected"),
        ({"architectures": 3}, "architectures is 3: expected one of BertModel"),
    ],
)
def test_contradictions_are_refused(tmp_path, fields, message):
    with refused(message):
        config_of(tmp_path, **fields)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
@pytest.mark.parametrize("kind", ["hf", "hf-padded"])
def test_names_and_problem_survive(tmp_path, kind, problem):
    head = "multi_label" if problem else "classification"
    saved(tmp_path / "a", NLI.replace(head=head, problem_type=problem, heads=(1, 3)))
    config, params = load_pretrained(tmp_path / "a")
    export(kind, config, params, tmp_path / "a", tmp_path / "b")
    data = json.loads((tmp_path / "b" / "config.json").read_text())
    assert data["id2label"] == dict(zip("012", NAMES, strict=True))
    assert data["label2id"] == {name: i for i, name in enumerate(NAMES)}
    assert data.get("problem_type") == problem
    again, _ = load_pretrained(tmp_path / "b")
    assert (again.head, again.labels, again.problem_type) == (head, NAMES, problem)


def test_outputs_come_in_the_order_that_is_asked_for(tmp_path):
    params = saved(tmp_path, NLI)
    order = ("Entailment", "neutral", "contradiction")
    for head in ("saved", "classification"):
        config, found = load_pretrained(tmp_path, head=head, num_labels=3, labels=order)
        assert config.labels == ("entailment", "neutral", "contradiction")
        for part in ("kernel", "bias"):
            np.testing.assert_array_equal(found["head"][part], params["head"][part][..., [1, 2, 0]])
    again = load_pretrained(save_pretrained(tmp_path / "again", config, found))
    assert again[0].labels == config.labels


def test_a_head_for_other_names_is_drawn_anew_or_refused(tmp_path):
    params = saved(tmp_path, NLI)
    others = ("negative", "neutral", "positive")
    with refused("its labels are contradiction, entailment, neutral: expected negative, neutral"):
        load_pretrained(tmp_path, labels=others)
    config, found = load_pretrained(tmp_path, head="classification", num_labels=3, labels=others)
    assert config.labels == others and config.problem_type == "single_label_classification"
    assert not found["head"]["bias"].any()
    np.testing.assert_array_equal(found["pooler"]["kernel"], params["pooler"]["kernel"])
    # Of the same shape, and of another kind.
    config, found = load_pretrained(tmp_path, head="multi_label", num_labels=3)
    assert not found["head"]["bias"].any() and config.labels == ()


def test_only_a_new_head_begins_with_the_bias_that_is_given(tmp_path):
    params = saved(tmp_path, NLI)
    given = {"num_labels": 3, "bias": (1.0, -2.0, 0.5)}
    _, new = load_pretrained(tmp_path, head="multi_label", **given)
    np.testing.assert_array_equal(new["head"]["bias"], [1.0, -2.0, 0.5])
    _, kept = load_pretrained(tmp_path, head="classification", **given)
    np.testing.assert_array_equal(kept["head"]["bias"], params["head"]["bias"])
