"""The model card holds what the report holds, in the form that the hub reads."""

import pytest
from huggingface_hub import ModelCard
from test_report import make_report
from tiny import TINY, make_params

from bpjax.deploy.export import FORMATS
from bpjax.report.card import write_card
from bpjax.report.environment import describe_environment


def test_the_hub_reads_the_card(tmp_path):
    report = make_report() | {"environment": describe_environment()}
    card = ModelCard.load(write_card(report, tmp_path))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 88.42)
    assert (result.dataset_name, result.task_type) == ("sst2", "text-classification")
    assert "hybrid" in card.data.tags
    for told in ("22.6% of the linear", "2.40 times faster", "at 1x128", "872 examples", "2.5e-06"):
        assert told in card.text, told
    assert report["command"] in card.text and "Licence: that of minilm" in card.text
    assert "| accuracy [%] | 89.56 | 88.42 | -1.14 |" in card.text


@pytest.mark.parametrize("form", ["hf", "hf-padded", "stablehlo"])
def test_exports_take_the_card_along(tmp_path, form):
    (tmp_path / "README.md").write_text("a card")
    FORMATS[form].save(TINY, make_params(), tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "a card"
