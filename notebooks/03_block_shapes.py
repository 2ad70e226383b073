# %% [markdown]
# # Block shapes
#
# What the shape of a block costs and brings: smaller blocks keep more accuracy at a density, larger
# ones turn density into speed. Reads the reports of a sweep, by default
# `bpjax sweep experiments/block_shapes.py --workdir=runs/block_shapes`; name another folder in
# BPJAX_SWEEP.

# %%
import os
from pathlib import Path

from bpjax.config import default_fields
from bpjax.report.compare import choose_shape, format_groups, gather, only_task
from bpjax.report.pareto import plot_pareto
from bpjax.report.table import align

SWEEP = Path(os.environ.get("BPJAX_SWEEP", "runs/block_shapes"))
groups = only_task(gather([SWEEP], default_fields))
print(format_groups(groups))

# %% [markdown]
# How much of the speed that the arithmetic promises arrives, and where it comes from.

# %%
shape = choose_shape(groups)
metric = next(iter(groups[0].reports[0]["dense"]["metrics"]))
rows = [("pattern", "block", "density", "heads", "FFN", "speedup", "of theory", f"Δ {metric}")]
for report in sorted((r for group in groups for r in group.reports), key=lambda r: r["density"]):
    dense, pruned = (report[name]["metrics"][metric] for name in ("dense", "pruned"))
    speedup, theory = (report[name][shape] for name in ("speedup", "theoretical_speedup"))
    rows.append(
        (
            report["pattern"],
            "×".join(map(str, report["config"]["pruning"]["block"])),
            f"{report['density']:.1%}",
            str(sum(report["heads_kept"])),
            f"{sum(report['ffn_kept']):,}",
            f"{speedup:.2f}×",
            f"{speedup / theory:.0%}" if theory else "–",  # none where nothing is left
            f"{pruned - dense:+.2f}",
        )
    )
print(align(rows, left=(0, 1)))

# %%
plot_pareto(groups, shape, SWEEP / "pareto.png")
