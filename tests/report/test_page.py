"""report.html: everything in one file, and readable in a browser, on a phone too."""

import re
import shutil
import subprocess

import pytest
from test_report import make_report

from bpjax.pruning.summary import SublayerSummary
from bpjax.report.compare import Group
from bpjax.report.environment import describe_environment
from bpjax.report.page import write_comparison_page, write_run_page
from bpjax.report.plots import plot_curves
from bpjax.report.sizes import size_keys

MATRICES = ("query", "key", "value", "output")
ATTENTION = [
    SublayerSummary(
        f"layer_{i}/attention",
        "attention",
        {},
        dict.fromkeys(MATRICES, densities),
        densities,
        3,
        10,
    )
    for i, densities in enumerate([(0.25, 0.0, 1.0), (0.0, 0.5, 0.0)])
]
KEPT = {"layer_0/attention": 3, "layer_0/ffn": 1046, "layer_1/attention": 0, "layer_1/ffn": 14}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (390, 1280)  # of a phone and a desktop, in CSS pixels


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    report = make_report() | {"environment": describe_environment(), "task": "sst2 <b>&</b>"}
    report |= size_keys(KEPT, dict.fromkeys(KEPT, 1536))
    report["environment"] |= {"commit": "abc123", "dirty": True}
    rows = [{"stage": "prune", "step": i, "loss": 1 / (i + 1)} for i in range(40)]
    plot_curves(rows, folder / "curves.png")
    run = write_run_page(report, ATTENTION, folder)
    groups = [Group(name, {}, [report, report]) for name in ("hybrid", "block")]
    return run, write_comparison_page(groups, "8x128", folder / "sweep.html")


def test_a_page_says_what_the_report_holds(pages):
    text = pages[0].read_text()
    for told in (
        "88.42",
        "(-1.14)",
        "22.6%",
        "2.40×",
        "4.52×",
        "1,046 of 1,536",
        "2.5e-06",
        "abc123, with",
    ):
        assert told in text, told
    assert "layer_0, head 2, key: 100%" in text and "layer_1, head 1, value: 50%" in text
    assert text.count("<rect") == 4 * 2 * 3 * 2 + 2 * 2  # two a cell, two a bar
    assert "<b>&</b>" not in text  # nothing from a report is taken for markup
    assert "bpjax run --config=configs/sst2_hybrid.py" in text


def test_a_layer_that_had_no_heads_before(tmp_path):
    report = make_report() | {"environment": describe_environment()}
    report |= size_keys(KEPT, dict.fromkeys(KEPT, 0))
    bare = SublayerSummary("layer_0/attention", "attention", {}, {}, (), 0, 0)
    text = write_run_page(report, [bare, ATTENTION[0]], tmp_path).read_text()
    assert text.count("<rect") == 4 * 3 * 2 + 2 * 2


def test_an_older_report_does_not_tell_sizes_before(tmp_path):
    report = make_report() | {"environment": describe_environment()}
    text = write_run_page(report, ATTENTION, tmp_path).read_text()
    assert ">1,046</text>" in text and "1,046 of" not in text


def test_other_architectures_have_a_row_a_sublayer(tmp_path):
    sizes = {"layer_0/attention": 3, "layer_0/cross_attention": 2, "layer_0/ffn": 7}
    report = make_report() | {"environment": describe_environment()}
    del report["heads_kept"], report["ffn_kept"]
    report |= size_keys(sizes, dict.fromkeys(sizes, 8))
    text = write_run_page(report, [], tmp_path).read_text()
    assert "layer_0/cross_attention" in text and "87.5%" in text
    assert "<rect" not in text


def test_a_page_of_many_runs(pages):
    text = pages[1].read_text()
    assert "4 runs" in text and text.count("<tr>") == 3
    assert "88.42 ± 0.00" in text and "17, 17" in text


def test_pages_need_nothing_else(pages):
    for page in pages:
        sources = re.findall(r'(?:src|href)="([^"]*)"', page.read_text())
        assert sources and all(source.startswith("data:") for source in sources)
    assert not list(pages[0].parent.glob("*.partial"))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium in the path")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("number", [0, 1])
def test_a_browser_shows_it(pages, tmp_path, number, width):
    page = tmp_path / "page.html"
    told = "document.title = [innerWidth, document.documentElement.scrollWidth, "
    told += "[...document.images].every(x => x.naturalWidth > 0)]"
    page.write_text(f"{pages[number].read_text()}<script>onload = () => {{{told}}}</script>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    shown = subprocess.run(
        [CHROMIUM, *options, f"--window-size={width},2000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    inner, needed, whole = re.search("<title>(.*),(.*),(.*)</title>", shown.stdout).groups()
    assert whole == "true"
    assert int(needed) <= int(inner) <= max(width, 500)  # no scrolling sideways
    assert "CONSOLE" not in shown.stderr, shown.stderr
