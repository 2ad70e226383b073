"""What only more devices than one can show, as JSON: run by test_mesh with eight simulated ones."""

import json
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from test_step import CLASSIFY, DENSE, OPTIMIZER, make_batch, prune
from tiny import TINY, make_params

from bpjax.errors import UserError
from bpjax.models.bert import describe
from bpjax.pruning.masks import top_k
from bpjax.pruning.structure import at
from bpjax.training.mesh import make_layout
from bpjax.training.state import Recipe, init_state
from bpjax.training.step import make_train_step

CONFIG = TINY.replace(heads=(2,), intermediate=(5,))


def collectives(pruning, layout):
    """How many operations of each kind between devices the compiled step has."""
    recipe = Recipe(CONFIG, describe(CONFIG), CLASSIFY, pruning, OPTIMIZER, layout=layout)
    step = make_train_step(recipe)
    state = init_state(make_params(CONFIG), pruning, OPTIMIZER, jax.random.key(0))
    batch = layout.batch(jax.tree.map(np.asarray, make_batch(rows=8)))
    text = step.compiled.lower(layout.shard(state), batch, {}).compile().as_text()
    return Counter(re.findall(r" ([a-z]+-(?:reduce|gather|scatter|to-all|permute))\(", text))


def kept(layout):
    """Whether top-k over scores that are divided over devices keeps what it keeps on one."""
    scores = {"learned": {"x": jnp.asarray(np.random.default_rng(0).integers(0, 9, (16, 3)), "f4")}}
    divided = layout.shard(scores)["learned"]["x"]
    assert len({str(shard.index) for shard in divided.addressable_shards}) == 4
    found = jax.jit(top_k)(divided, jnp.float32(0.4))
    return bool((found == top_k(scores["learned"]["x"], jnp.float32(0.4))).all())


def laid_out(layout):
    """What fsdp does not divide, and in how many pieces kernels are."""
    params = make_params(TINY)
    pieces = {}
    for path in ("layer_0/ffn/in", "layer_1/ffn/out"):
        kernel = at(layout.shard(params), path.split("/"))["kernel"]
        pieces[f"{path}/kernel"] = len({str(x.index) for x in kernel.addressable_shards})
    return {"undivided": layout.undivided(params), "pieces": pieces}


def refused(layout):
    """What is said of a batch of nine rows."""
    try:
        layout.part(9)
    except UserError as error:
        return str(error)
    return None


def main():
    """Prints it."""
    data = make_layout(-1, 1)
    print(
        json.dumps(
            {
                "plain": collectives(DENSE, data),
                "masked": collectives(prune(), data),
                "divided": collectives(prune(), make_layout(4, 2)),
                "kept": kept(make_layout(2, 4)),
                "refused": refused(data),
                **laid_out(make_layout(4, 2)),
            }
        )
    )


if __name__ == "__main__":
    main()
