# %% [markdown]
# # Prune a model of your own
#
# `bpjax.pruning` needs a parameter tree, and to be told where in it heads and feed-forward
# dimensions are; the model may be anybody's. Here it is a small transformer in plain Flax that
# reads the rows of scikit-learn's 1,797 handwritten digits. Half a minute on two cores.

# %%
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from bpjax.pruning import (
    Kernel,
    Stream,
    Structure,
    Sublayer,
    apply_masks,
    build_mask_collection,
    cubic,
    make_method,
    make_pattern,
    shrink,
    summarize,
)
from bpjax.pruning.structure import VALUE, inner
from bpjax.pruning.summary import by_layer

HIDDEN, HEAD, STEPS = 64, 16, 800

# %% [markdown]
# The model. All that surgery asks of it: a sublayer's last layer adds to the residual stream, its
# sizes are arguments, and a sublayer of which nothing is left is its bias.


# %%
class Out(nn.Module):
    """The last layer of a sublayer."""

    @nn.compact
    def __call__(self, x):
        bias = self.param("bias", nn.initializers.zeros, (HIDDEN,))
        if x.shape[-1] == 0:
            return bias
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], HIDDEN))
        return x @ kernel + bias


class Digits(nn.Module):
    """Eight rows of eight pixels to ten digits."""

    heads: tuple[int, ...] = (4, 4)
    sizes: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, images):
        place = self.param("place", nn.initializers.normal(0.1), (8, HIDDEN))
        x = nn.Dense(HIDDEN, name="read")(images) + place
        for i, (heads, size) in enumerate(zip(self.heads, self.sizes, strict=True)):
            y = nn.LayerNorm(name=f"norm_{i}a")(x)
            mixed = y[..., :0]
            if heads:
                q, k, v = (
                    nn.Dense(heads * HEAD, name=f"{name}_{i}")(y).reshape(*y.shape[:2], heads, HEAD)
                    for name in ("query", "key", "value")
                )
                scores = jnp.einsum("blhd,bmhd->bhlm", q, k) / math.sqrt(HEAD)
                mixed = jnp.einsum("bhlm,bmhd->blhd", jax.nn.softmax(scores), v)
                mixed = mixed.reshape(*y.shape[:2], -1)
            x = x + Out(name=f"output_{i}")(mixed)
            y = nn.LayerNorm(name=f"norm_{i}b")(x)
            inner = nn.relu(nn.Dense(size, name=f"in_{i}")(y)) if size else y[..., :0]
            x = x + Out(name=f"out_{i}")(inner)
        return nn.Dense(10, name="head")(x.mean(1))


# %% [markdown]
# Where its heads and dimensions are: the paths of the kernels that read the residual stream and of
# the one that writes to it, and when a unit is silent: a head without values adds its value bias,
# a dimension that reads nothing is its bias through the activation.


# %%
def attention(i):
    query, key, value, output = (
        Kernel(role, (f"{role}_{i}",), width=HEAD) for role in ("query", "key", "value", "output")
    )
    return Sublayer(f"layer_{i}/attention", "attention", 4, (query, key, value), output, VALUE)


def ffn(i):
    reads = (Kernel("in", (f"in_{i}",)),)
    return Sublayer(
        f"layer_{i}/ffn", "ffn", 256, reads, Kernel("out", (f"out_{i}",)), inner(nn.relu)
    )


structure = Structure(
    sublayers=(attention(0), ffn(0), attention(1), ffn(1)),
    streams={"hidden": Stream(HIDDEN)},
)
pattern = make_pattern("hybrid", structure, block=(16, 16))
method = make_method("movement", pattern)
schedule = cubic(
    steps=STEPS, warmup_steps=50, initial_warmup=1, final_warmup=2, threshold=(0, 0.1), penalty=10.0
)

# %% [markdown]
# Fine-pruning: the masks are a function of the scores, and gradients pass straight through them.

# %%
digits = load_digits()
split = train_test_split(digits.images / 16.0, digits.target, test_size=0.25, random_state=0)
images, held_out, labels, held_out_labels = map(jnp.asarray, split)

model = Digits()
params = model.init(jax.random.key(0), images[:1])["params"]
state = method.init(jax.random.key(1), params)
trained = {"params": params, "learned": state.learned}
optimizer = optax.partition(
    {"params": optax.adam(1e-3), "learned": optax.adam(3e-2)},
    {"params": "params", "learned": "learned"},
)
opt_state = optimizer.init(trained)


def masked(trained, step):
    """Parameters as the masked model uses them, and the penalty of this step."""
    scheduled, now = schedule(step), state._replace(learned=trained["learned"])
    values = method.masks(now, trained["params"], scheduled, None)
    penalty = method.penalty(now, trained["params"], scheduled)
    return apply_masks(trained["params"], build_mask_collection(pattern, values)), penalty


@jax.jit
def update(trained, opt_state, step):
    """One step on 128 images."""

    def loss(trained):
        params, penalty = masked(trained, step)
        rows = jax.random.choice(jax.random.key(step), len(images), (128,))
        logits = model.apply({"params": params}, images[rows])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows])
        return losses.mean() + penalty

    updates, opt_state = optimizer.update(jax.grad(loss)(trained), opt_state, trained)
    return optax.apply_updates(trained, updates), opt_state


for step in range(STEPS):
    trained, opt_state = update(trained, opt_state, step)

# %% [markdown]
# Surgery: the smaller model is the same class with smaller sizes, and computes the same.

# %%
final, _ = masked(trained, STEPS)
small = shrink(final, structure)
heads, sizes = (
    tuple(small.sizes.units[f"layer_{i}/{kind}"] for i in range(2)) for kind in ("attention", "ffn")
)
smaller = Digits(heads=heads, sizes=sizes)
before = model.apply({"params": final}, held_out)
after = smaller.apply({"params": small.params}, held_out)
accuracy = float((after.argmax(-1) == held_out_labels).mean())
difference = float(jnp.abs(before - after).max())
count = {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in (("before", final), ("after", small.params))
}
for layer in by_layer(summarize(final, structure)):
    print(f"{layer.name}: density {layer.density:.2f}, heads {layer.sublayers[0].units}")
print(f"heads {heads}, FFN dimensions {sizes}")
print(f"{count['before']:,} parameters before, {count['after']:,} after")
print(f"accuracy {accuracy:.3f}; removal changed no logit by more than {difference:.1e}")
