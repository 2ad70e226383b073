"""The model card holds what the report holds, in the form that the hub reads."""

import pytest
from huggingface_hub import ModelCard
from test_report import make_report
from tiny import TINY, make_params

from bpjax.exports.formats import export
from bpjax.report.card import write_card
from bpjax.report.environment import describe_environment


def test_the_hub_reads_the_card(tmp_path):
    report = make_report() | {"environment": describe_environment()}
    report["config"] = {"task": {"name": "sst2"}}
    labels = ("negative", "positive")
    card = ModelCard.load(write_card(report, "text-classification", tmp_path, labels))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 88.42)
    assert (result.dataset_name, result.task_type) == ("sst2", "text-classification")
    assert "hybrid" in card.data.tags
    for told in ("22.6% of the linear", "2.40 times faster", "at 1x128", "872 examples", "2.5e-06"):
        assert told in card.text, told
    assert "Labels: 0 negative, 1 positive." in card.text
    assert report["command"] in card.text and "Licence: that of minilm" in card.text
    assert "| accuracy [%] | 89.56 | 88.42 | -1.14 |" in card.text


def test_the_card_says_what_was_evaluated(tmp_path):
    report = make_report() | {"environment": describe_environment(), "task": "squad_v2"}
    report["config"] = {"task": {"name": "squad_v2", "holdout": 100}}
    metrics = {"best_f1": 70.0, "best_f1_threshold": -1.5}
    for name in ("dense", "pruned"):
        report[name] = report[name] | {"metrics": metrics}
    (result,) = ModelCard.load(write_card(report, "question-answering", tmp_path)).data.eval_results
    assert (result.metric_type, result.metric_value) == ("best_f1", 70.0)
    assert (result.task_type, result.dataset_split) == ("question-answering", "train")


@pytest.mark.parametrize("form", ["hf", "hf-padded", "stablehlo"])
def test_exports_take_the_card_along_where_it_is_true(tmp_path, form):
    (tmp_path / "README.md").write_text("small and fast")
    export(form, TINY, make_params(), tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").exists() == (form != "hf-padded")
