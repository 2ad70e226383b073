"""report.json is whole or refused; the table says what it holds; plots show what they are given."""

import copy
import io
import itertools
import json
import pathlib

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bpjax.errors import UserError
from bpjax.report.plots import plot_curves, plot_masks
from bpjax.report.sizes import sizes_of
from bpjax.report.table import align, format_layers, format_report
from bpjax.report.write import KEYS, MODEL_KEYS, read_report, write_report


def make_report():
    def model(accuracy, linear, total, size, latency):
        values = ({"accuracy": accuracy}, linear, total, size, latency)
        return dict(zip(MODEL_KEYS, values, strict=True))

    return {
        "task": "sst2",
        "model": "minilm",
        "pattern": "hybrid",
        "method": "movement",
        "seed": 17,
        "command": "bpjax run --config=configs/sst2_hybrid.py",
        "config": {"density": 0.226, "heads": (12, 12)},
        "environment": {"cores": 2},
        "seconds": {"teacher": 871.0},
        "dense": model(89.56, 10_616_832, 22_713_216, 90_864_192, {"8x128": 102.0, "1x128": 12.0}),
        "pruned": model(88.42, 2_397_696, 14_494_080, 57_976_320, {"8x128": 25.2, "1x128": 5.0}),
        "density": 0.22584,
        "heads_kept": [3, 0],
        "ffn_kept": [1046, 14],
        "speedup": {"8x128": 4.048, "1x128": 2.4},
        "theoretical_speedup": {"8x128": 4.52, "1x128": 4.52},
        "equivalence": {"max_abs_diff": 2.5e-6, "examples": 872},
    }


def test_report_survives_a_round_trip(tmp_path):
    report = make_report()
    path = write_report(report, tmp_path)
    assert path == tmp_path / "report.json"
    report["config"]["heads"] = [12, 12]
    assert read_report(tmp_path) == report
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_numbers_of_numpy_become_json(tmp_path):
    report = make_report() | {
        "density": np.float32(0.25),
        "heads_kept": np.array([3, 0]),
        "theoretical_speedup": {"8x128": float("inf"), "1x128": np.float64("nan")},
        "extra": pathlib.PurePosixPath("runs/one"),
    }
    write_report(report, tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert "Infinity" not in text and "NaN" not in text
    found = json.loads(text)
    assert found["density"] == 0.25
    assert found["heads_kept"] == [3, 0]
    assert found["theoretical_speedup"] == {"8x128": None, "1x128": None}
    assert found["extra"] == "runs/one"


def test_a_report_of_another_architecture_needs_no_heads(tmp_path):
    report = make_report() | {"sizes": {"layer_0/experts/5": 3}}
    del report["heads_kept"], report["ffn_kept"]
    write_report(report, tmp_path)
    assert sizes_of(read_report(tmp_path)) == {"layer_0/experts/5": 3}


@pytest.mark.parametrize("key", ["heads_kept", "ffn_kept"])
def test_a_report_without_sizes_is_not_written(tmp_path, key):
    report = make_report()
    del report[key]
    with pytest.raises(ValueError, match="report without sizes:"):
        write_report(report, tmp_path)


ALL_KEYS = [(key,) for key in KEYS] + [(key, name) for key in KEYS for name in KEYS[key]]


@pytest.mark.parametrize("keys", ALL_KEYS, ids=".".join)
def test_a_report_without_a_key_is_not_written(tmp_path, keys):
    write_report(make_report(), tmp_path)
    before = (tmp_path / "report.json").read_text()
    report = copy.deepcopy(make_report()) | {"seed": 18}
    inner = report if len(keys) == 1 else report[keys[0]]
    del inner[keys[-1]]
    with pytest.raises(ValueError, match=rf"report without {'[.]'.join(keys)}:"):
        write_report(report, tmp_path)
    assert (tmp_path / "report.json").read_text() == before


def test_what_json_cannot_hold_overwrites_nothing(tmp_path):
    write_report(make_report(), tmp_path)
    with pytest.raises(TypeError):
        write_report(make_report() | {"config": object()}, tmp_path)
    assert read_report(tmp_path)["config"]["density"] == 0.226


@pytest.mark.parametrize("text", [None, "", '{"task": "sst2"', "[]", '{"task": "sst2"}'])
def test_reading_something_else_names_the_file(tmp_path, text):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match=r"report\.json: expected the report of a finished run"):
        read_report(tmp_path)


def test_table_of_a_report():
    lines = format_report(make_report()).splitlines()
    assert lines[0] == "task sst2 · model minilm · pattern hybrid · method movement · seed 17"
    cells = {line.split("  ")[0].strip(): line.split()[-6:] for line in lines if line}
    assert cells["accuracy [%]"][-3:] == ["89.56", "88.42", "-1.14"]
    assert cells["linear parameters"][-3:] == ["10,616,832", "2,397,696", "22.6%"]
    assert cells["parameters"][-3:] == ["22,713,216", "14,494,080", "63.8%"]
    assert cells["on disk [MB]"][-3:] == ["90.86", "57.98", "63.8%"]
    rows = {line.split("]")[0]: line.split("]")[1].split() for line in lines if "latency" in line}
    faster = ["102.00", "25.20", "4.05×", "faster,", "4.52×", "in", "theory"]
    assert rows["latency 8x128 [ms"] == faster
    assert rows["latency 1x128 [ms"][:3] == ["12.00", "5.00", "2.40×"]
    assert "22.6% of the linear parameters are left." in lines[-1]
    assert "logits of 872 examples by 2.5e-06 at most" in lines[-1]
    assert format_layers([3, 0], [1046, 14]) in "\n".join(lines)


def test_table_of_a_report_that_was_read_back(tmp_path):
    report = make_report()
    report["theoretical_speedup"]["8x128"] = float("inf")
    write_report(report, tmp_path)
    assert "4.05× faster, – in theory" in format_report(read_report(tmp_path))


def test_table_by_layer():
    assert format_layers([3, 0], [1046, 14], [0.5, 0.25]) == (
        "layer  heads  FFN dimensions  density\n"
        "─────  ─────  ──────────────  ───────\n"
        "    0      3           1,046    50.0%\n"
        "    1      0              14    25.0%\n"
        "  all      3           1,060    37.5%"
    )
    assert "density" not in format_layers([3, 0], [1046, 14])
    assert format_layers([3], [9], [0.5], nonzero=[0.25]).split()[-4:] == [
        "3",
        "9",
        "50.0%",
        "25.0%",
    ]


def test_what_is_not_zero_is_weighed_by_what_is_left():
    table = format_layers([3, 0], [9, 1], [0.5, 0.1], [0.25, 1.0], linear_params=[90, 10])
    assert table.split()[-5:] == ["all", "3", "10", "30.0%", "32.5%"]


def test_align_sets_words_left_and_numbers_right():
    assert align([("a", "b"), ("long", "1"), ("x", "23")], left=(0,)) == (
        "a      b\n────  ──\nlong   1\nx     23"
    )


def read_png(path):
    return matplotlib.image.imread(io.BytesIO(path.read_bytes()))[..., :3]


def count(picture, color):
    """Pixels of an exact colour, given as #rrggbb."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.round(picture * 255) == rgb).all(-1).sum())


KEPT, REMOVED = "#1f5f99", "#e9edf1"


def make_masks(layers, kept):
    masks = {}
    for i in range(layers):
        for part in ("query", "key", "value", "output"):
            masks[f"layer_{i}/attention/{part}"] = np.full((12, 12), kept)
        masks[f"layer_{i}/ffn"] = np.full(1536, kept)
    return masks


@pytest.mark.parametrize(("kept", "shown", "other"), [(1.0, KEPT, REMOVED), (0.0, REMOVED, KEPT)])
def test_masks_show_what_is_kept(tmp_path, kept, shown, other):
    plot_masks(make_masks(3, kept), tmp_path / "masks.png")
    picture = read_png(tmp_path / "masks.png")
    assert count(picture, shown) > 0.4 * picture[..., 0].size > 100 * count(picture, other)


def test_many_layers_have_readable_rows(tmp_path):
    plot_masks(make_masks(24, 1.0), tmp_path / "masks.png")
    picture = read_png(tmp_path / "masks.png")
    assert picture.shape[0] > 80 * 24
    assert count(picture, KEPT) > 0.4 * picture[..., 0].size


def test_masks_show_a_head_as_a_column_in_the_output_too(tmp_path):
    # Rows of the output matrix are heads: with the first half of them kept, the left half of the
    # transposed picture is dark.
    output = np.zeros((12, 10))
    output[:6] = 1
    plot_masks({"layer_0/attention/output": output}, tmp_path / "masks.png")
    picture = read_png(tmp_path / "masks.png")
    dark = np.abs(picture - [0x1F / 255, 0x5F / 255, 0x99 / 255]).max(-1) < 1e-3
    light = np.abs(picture - [0xE9 / 255, 0xED / 255, 0xF1 / 255]).max(-1) < 1e-3
    assert dark.sum() > 1000 and light.sum() > 1000
    assert np.nonzero(dark)[1].max() <= np.nonzero(light.sum(0) > 20)[0].min()


def test_a_strip_with_more_dimensions_than_pixels_is_averaged(tmp_path):
    # Every second dimension kept: without averaging, a strip of one colour would be drawn.
    plot_masks({"layer_0/ffn": np.arange(30720) % 2}, tmp_path / "masks.png")
    picture = read_png(tmp_path / "masks.png")
    halfway = (np.array([0x1F + 0xE9, 0x5F + 0xED, 0x99 + 0xF1]) / 2) / 255
    assert (np.abs(picture - halfway).max(-1) < 0.02).mean() > 0.3
    assert count(picture, KEPT) == 0


def test_masks_over_the_whole_model_and_of_heads(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(Axes, "set_xlabel", lambda self, text, **_: labels.append(text))
    masks = {"layer_0/attention": np.array([1, 0, 1]), "hidden": np.arange(8) > 1}
    plot_masks(masks, tmp_path / "masks.png")
    assert labels == ["2 of 3 heads, 67%", "6 of 8 dimensions, 75%"]


def test_masks_of_other_shapes_and_missing_ones_are_drawn(tmp_path):
    masks = {
        "layer_0/ffn/in": np.ones((12, 48)),
        "layer_0/ffn/out": np.ones((48, 12)),
        "layer_1/attention/query": np.ones((384, 384)),
        "layer_1/other": np.ones(7),
    }
    plot_masks(masks, tmp_path / "masks.png")
    assert count(read_png(tmp_path / "masks.png"), KEPT) > 10_000


@pytest.mark.parametrize("masks", [{}, {"layer_0/ffn": np.ones((2, 2, 2))}])
def test_masks_refused(tmp_path, masks):
    with pytest.raises(ValueError, match="expected"):
        plot_masks(masks, tmp_path / "masks.png")
    assert not (tmp_path / "masks.png").exists()


def make_log():
    rows = []
    for stage, steps in (("teacher", 60), ("fine_prune", 200), ("fill", 60)):
        for step in range(1, steps + 1):
            density = {"teacher": 1.0, "fine_prune": 1 - 0.7 * step / steps, "fill": 0.3}[stage]
            rows.append({"stage": stage, "step": step, "loss": 1 / step, "density": density})
            if step % 20 == 0:
                rows.append({"stage": stage, "step": step, "accuracy": 80 + step / 10})
    return rows


def test_curves_have_a_panel_for_each_kind_of_value(tmp_path):
    rows = make_log()
    plot_curves(rows, tmp_path / "all.png", metric="accuracy")
    plot_curves(rows, tmp_path / "two.png", metric="f1")
    every, two = read_png(tmp_path / "all.png"), read_png(tmp_path / "two.png")
    blue, orange, grey = "#1f5f99", "#c2571a", "#4d5a68"
    assert all(count(every, color) > 100 for color in (blue, orange, grey))
    assert count(two, blue) == 0 and count(two, orange) > 100
    assert every.shape[0] > 1.5 * two.shape[0]


def test_a_step_logged_twice_counts_once(tmp_path):
    rows = make_log()
    plot_curves(rows, tmp_path / "once.png", metric="accuracy")
    # Killed after step 50 of fine-pruning, resumed at 30; what was logged in between was other.
    at = next(i for i, r in enumerate(rows) if r["stage"] == "fine_prune" and r["step"] == 31)
    lost = [{"stage": "fine_prune", "step": step, "loss": 9.0} for step in range(31, 51)]
    plot_curves(rows[:at] + lost + rows[at:], tmp_path / "twice.png", metric="accuracy")
    once, twice = read_png(tmp_path / "once.png"), read_png(tmp_path / "twice.png")
    np.testing.assert_array_equal(once, twice)


def test_curves_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no row has f1, density or loss"):
        plot_curves([{"stage": "teacher", "step": 1}], tmp_path / "c.png", metric="f1")


def test_masks_of_any_sublayer_are_drawn(tmp_path, monkeypatch):
    labels, titles = [], []
    monkeypatch.setattr(Axes, "set_xlabel", lambda self, text, **_: labels.append(text))
    monkeypatch.setattr(Axes, "set_title", lambda self, text, **_: titles.append(text))
    down = np.zeros((8, 4))
    down[:4] = 1
    masks = {
        "layer_0/experts/5/gate": np.ones((4, 8)),
        "layer_0/experts/5/down": down,
        "layer_0/cross_attention": np.array([1, 0]),
        "layer_0/cross_attention/output": np.eye(4),
    }
    plot_masks(masks, tmp_path / "masks.png")
    assert titles == ["cross Oᵀ", "cross heads", "experts/5/gate", "experts/5/downᵀ"]
    assert labels == [
        "25%",
        "1 of 2 heads, 50%",
        "32 of 32 blocks, 100%",
        "16 of 32 blocks, 50%",
    ]


def test_names_of_layers_fit_and_titles_do_not_meet(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self))
    parts = [f"cross_attention/{name}" for name in ("query", "key", "value", "output")]
    plot_masks({f"decoder/layer_10/{part}": np.eye(4) for part in parts}, tmp_path / "masks.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    names = [axes.yaxis.label.get_window_extent() for axes in figure.axes[:1]]
    assert all(name.x0 >= 0 for name in names)
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(one.x1 < next_.x0 for one, next_ in itertools.pairwise(titles))
