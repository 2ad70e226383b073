"""Sizes by sublayer are what a report tells; an encoder's lists are derived from them, and back."""

import pytest
from test_report import make_report

from bpjax.report.parts import Part, format_parts
from bpjax.report.sizes import (
    EncoderSizes,
    dense_sizes_of,
    encoder_sizes,
    kind_of,
    size_keys,
    sizes_of,
    streams_of,
    units_by_kind,
)
from bpjax.report.table import format_layers, format_report, format_sizes

ENCODER = {f"layer_{i}/{kind}": 12 for i in range(11) for kind in ("attention", "ffn")}
MIXTURE = {
    "layer_0/attention": [3, 2, 2],
    "layer_0/cross_attention": 0,
    "layer_0/experts/0": 4,
    "layer_0/experts/1": 5,
}


def test_an_encoder_has_its_two_lists_as_well():
    sizes = {"layer_0/attention": 3, "layer_0/ffn": 1046, "layer_1/ffn": 14, "layer_1/attention": 0}
    keys = size_keys(sizes, dict.fromkeys(sizes, 9))
    assert (keys["heads_kept"], keys["ffn_kept"]) == ([3, 0], [1046, 14])
    assert sizes_of(keys) == sizes and dense_sizes_of(keys) == dict.fromkeys(sizes, 9)
    assert len(size_keys(ENCODER, ENCODER)["heads_kept"]) == 11


def test_other_architectures_have_sizes_alone():
    assert size_keys(MIXTURE, MIXTURE).keys() == {"sizes", "dense_sizes"}
    for sizes in (
        {},
        {"layer_0/attention": 1},
        {"layer_0/attention": 1, "layer_0/ffn": 1, "layer_1/ffn": 1},
        {"layer_0/attention": 1, "layer_0/ffn/0": 1, "layer_0/ffn/1": 1},
    ):
        assert encoder_sizes(sizes) is None


def test_sizes_of_different_sublayers_are_refused():
    with pytest.raises(
        ValueError, match="sizes of layer_0/ffn: expected those of layer_0/attention"
    ):
        size_keys({"layer_0/ffn": 1}, {"layer_0/attention": 1})


def test_an_older_report_has_its_sizes_from_the_lists():
    report = make_report()
    assert sizes_of(report) == {
        "layer_0/attention": 3,
        "layer_0/ffn": 1046,
        "layer_1/attention": 0,
        "layer_1/ffn": 14,
    }
    assert encoder_sizes(sizes_of(report)) == EncoderSizes([3, 0], [1046, 14])
    assert dense_sizes_of(report) == {}


def test_units_are_counted_by_kind_over_groups():
    assert units_by_kind(MIXTURE) == {"attention": 7, "cross_attention": 0, "experts": 9}
    assert [kind_of(name) for name in ("layer_3/experts/5", "ffn", "7")] == ["experts", "ffn", "7"]


def test_streams_by_name():
    assert streams_of({"hidden_size": 8}) == streams_of({"streams": {"hidden": 8}}) == {"hidden": 8}
    assert streams_of({}) == {}


def of_a_mixture(**changes):
    report = make_report() | size_keys(MIXTURE, dict.fromkeys(MIXTURE, 10)) | changes
    del report["heads_kept"], report["ffn_kept"]
    return report


def test_the_table_of_an_encoder_has_a_row_a_layer():
    assert format_sizes(make_report()) == format_layers([3, 0], [1046, 14])


def test_the_table_of_another_architecture_has_a_row_a_sublayer():
    assert format_sizes(of_a_mixture()) == (
        "sublayer                 kind             units left  of       \n"
        "───────────────────────  ───────────────  ──────────  ──  ─────\n"
        "layer_0/attention        attention                 7  10  70.0%\n"
        "layer_0/cross_attention  cross_attention           0  10   0.0%\n"
        "layer_0/experts/0        experts                   4  10  40.0%\n"
        "layer_0/experts/1        experts                   5  10  50.0%\n"
        "all                      attention                 7  10  70.0%\n"
        "all                      cross_attention           0  10   0.0%\n"
        "all                      experts                   9  20  45.0%"
    ).replace("of       \n", "of\n")
    assert "experts/1" in format_report(of_a_mixture())


def test_sizes_before_that_are_not_told_are_dashes():
    lines = format_sizes(of_a_mixture(dense_sizes={})).splitlines()
    assert lines[2].split() == ["layer_0/attention", "attention", "7", "–"]


def test_streams_that_changed_have_rows():
    report = of_a_mixture()
    report["dense"]["streams"] = {"hidden": 8, "encoder": 6}
    report["pruned"]["streams"] = {"hidden": 4, "encoder": 6}
    (row,) = (line for line in format_report(report).splitlines() if "dimensions" in line)
    assert row.split() == ["hidden", "dimensions", "8", "4", "50.0%"]


def test_parts_of_another_architecture_have_a_row_each():
    parts = [
        Part("layer_0/cross_attention", 2, 30, 60, 15),
        Part("layer_0/experts/1", 0, 0, None, 0),
    ]
    table, found = format_parts(parts)
    lines = [line.split() for line in table.splitlines()]
    assert lines[2] == ["layer_0/cross_attention", "cross_attention", "2", "50.0%", "50.0%"]
    assert lines[3] == ["layer_0/experts/1", "experts", "0", "–", "100.0%"]
    assert found["sizes"] == {"layer_0/cross_attention": 2, "layer_0/experts/1": 0}
    assert "heads" not in found
