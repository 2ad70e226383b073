# %% [markdown]
# # What died
#
# Reads the masks of a run and shows, layer by layer, which heads and feed-forward dimensions are
# left. Run `make quickstart` first, or name another run's folder. Open it as a notebook with
# jupytext, or run it as a script.

# %%
import os
from pathlib import Path

from bpjax.models import bert
from bpjax.models.pretrained import load_pretrained
from bpjax.pruning.patterns import apply_masks, make_pattern, spread
from bpjax.pruning.summary import summarize
from bpjax.report.table import format_layers
from bpjax.report.write import read_report
from bpjax.workdir import load_arrays

RUN = Path(os.environ.get("BPJAX_RUN", "runs/quickstart"))
report = read_report(RUN)

# %% [markdown]
# The student as it was when fine-pruning ended: unmasked weights, and one mask value a block.

# %%
config, _ = load_pretrained(report["model"])
structure = bert.describe(config)
pruning = report["config"]["pruning"]
pattern = make_pattern(
    pruning["pattern"], structure, tuple(pruning["block"]), pruning.get("block_rules", ())
)
params = load_arrays(RUN / "prune" / "params.safetensors")
masks = spread(pattern, load_arrays(RUN / "prune" / "masks.safetensors"))

# %% [markdown]
# Density of each matrix and head. A head with density above zero may still be removed: one whose
# values died adds a constant, which surgery folds into a bias.

# %%
for layer, kept in zip(
    summarize(apply_masks(params, masks), structure), report["heads_kept"], strict=True
):
    matrices = ", ".join(f"{name} {density:.0%}" for name, density in layer.matrices.items())
    heads = " ".join(f"{density:.2f}" for density in layer.heads)
    print(f"{layer.name}: {matrices}\n  heads {heads} → {kept} kept")

# %%
print(format_layers(report["heads_kept"], report["ffn_kept"]))
