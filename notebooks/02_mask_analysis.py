# %% [markdown]
# # What died
#
# Reads the masks of a run and shows, layer by layer, which heads and feed-forward dimensions are
# left, what the heads looked at, and how much the masks of several runs agree. Run
# `make quickstart` first, or name other runs' folders in BPJAX_RUNS, separated by colons; the first
# is the one that is looked at closely.

# %%
import itertools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.config import read_saved
from bpjax.models import describe
from bpjax.models.checkpoint import load_pretrained
from bpjax.pruning import apply_masks, build_mask_collection, make_pattern, summarize
from bpjax.pruning.kept import kept_units
from bpjax.pruning.summary import by_layer
from bpjax.report.table import align, format_layers
from bpjax.report.write import read_report
from bpjax.stages.inputs import prepare
from bpjax.training.evaluation import apply
from bpjax.training.input import Batching, eval_batches
from bpjax.workdir import load_arrays

RUNS = [Path(name) for name in os.environ.get("BPJAX_RUNS", "runs/quickstart").split(":")]
RUN = RUNS[0]
report = read_report(RUN)

# %% [markdown]
# The student as it was when fine-pruning ended: unmasked weights, and one mask value a block.

# %%
config, _ = load_pretrained(report["model"])
structure = describe(config)


def read_masks(run):
    """The pattern of a run of this model, and its mask values."""
    pruning = read_report(run)["config"]["pruning"]
    rules = pruning.get("block_rules", ())
    pattern = make_pattern(pruning["pattern"], structure, tuple(pruning["block"]), rules)
    return pattern, load_arrays(run / "prune" / "masks.safetensors")


pattern, values = read_masks(RUN)
params = load_arrays(RUN / "prune" / "params.safetensors")
left = kept_units(structure, pattern, values)

# %% [markdown]
# Density of each matrix and head. A head with density above zero may still be removed: one whose
# values died adds a constant, which surgery folds into a bias.

# %%
masked = apply_masks(params, build_mask_collection(pattern, values))
for layer in by_layer(summarize(masked, structure)):
    print(f"{layer.name}: density {layer.density:.0%}")
    for sublayer in layer.sublayers:
        kernels = ", ".join(f"{role} {density:.0%}" for role, density in sublayer.kernels.items())
        kept = int(left.units[sublayer.name].sum())
        print(f"  {sublayer.kind}: {kernels} → {kept} of {len(sublayer.units)} kept")
        if sublayer.kind == "attention":
            print("  heads", *(f"{density:.2f}" for density in sublayer.units))

# %%
print(format_layers(report["heads_kept"], report["ffn_kept"]))

# %% [markdown]
# How widely each head of the dense model attends: the entropy of its attention weights in bits,
# over real tokens of the first evaluation rows. Zero is one token, and a row of n tokens has at
# most log₂ n. Heads that pruning kept are marked.

# %%
data = prepare(read_saved(report["config"]))
source = report["config"]["teacher"]["source"] or RUN / "teacher" / "model"
dense, dense_params = load_pretrained(source, head="saved")


@jax.jit
def entropies(params, batch):
    """Sum over real queries of each head's entropy `[layers, heads]`, and the number of queries."""
    mask = batch["attention_mask"] > 0
    found = []
    for scores in apply(dense, params, batch, activations=True).attention_scores.values():
        weights = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, -jnp.inf), axis=-1)
        entropy = jax.scipy.special.entr(weights).sum(-1) / jnp.log(2)
        found.append(jnp.where(mask[:, None, :], entropy, 0).sum((0, 2)))
    return jnp.stack(found), mask.sum()


batches = itertools.islice(eval_batches(data.evaluation, Batching(32)), 4)
sums, counts = zip(*(entropies(dense_params, batch) for batch in batches), strict=True)
entropy = np.asarray(sum(sums) / sum(counts))

heads = [np.asarray(left.units[x.name]) for x in structure.sublayers if x.kind == "attention"]
rows = [("layer", *(f"head {i}" for i in range(entropy.shape[1])))]
for i, (line, kept) in enumerate(zip(entropy, heads, strict=True)):
    marks = ("●" if k else " " for k in kept)
    rows.append((str(i), *(f"{m} {x:.2f}" for m, x in zip(marks, line, strict=True))))
print(align(rows))
alive = np.stack(heads)
for name, which in (("kept", alive), ("removed", ~alive)):
    if which.any():
        print(f"{name}: {which.sum()} heads, {entropy[which].mean():.2f} bits on average")

# %% [markdown]
# How much two runs agree: heads (and dimensions) that both kept, of those that either kept. Beside
# it what masks of these sizes would share by chance.


# %%
def overlap(first, second):
    """Jaccard index of two sets given as booleans, and its expectation for random sets."""
    both, either = (first & second).sum(), (first | second).sum()
    by_chance = first.mean() * second.mean()
    return both / max(1, either), by_chance / max(first.mean() + second.mean() - by_chance, 1e-9)


def units_of(kept, kind):
    """Which units of all sublayers of a kind are left, end to end."""
    return np.concatenate([kept.units[x.name] for x in structure.sublayers if x.kind == kind])


kept = {run: kept_units(structure, *read_masks(run)) for run in RUNS}
rows = [("runs", "heads", "by chance", "dimensions", "by chance")]
for (a, first), (b, second) in itertools.combinations(kept.items(), 2):
    cells = [
        f"{value:.2f}"
        for kind in ("attention", "ffn")
        for value in overlap(*(units_of(x, kind) for x in (first, second)))
    ]
    rows.append((f"{a.name} and {b.name}", *cells))
if len(rows) > 1:
    print(align(rows, left=(0,)))
