"""The models that are timed: published sizes, and what pruning leaves of them."""

from bpjax.models.bert import BertConfig


def make_config(layers: int, hidden: int, heads: int, **changes: object) -> BertConfig:
    """A dense BERT with a classification head, of the usual proportions."""
    return BertConfig(
        hidden_size=hidden,
        head_dim=hidden // heads,
        heads=(heads,) * layers,
        intermediate=(4 * hidden,) * layers,
        head="classification",
    ).replace(**changes)


MINILM = make_config(6, 384, 12)
BASE = make_config(12, 768, 12)
LARGE = make_config(24, 1024, 16)

# 64 heads of 144 and 26% of the linear parameters: the totals on the card of the paper's model
# squadv1-x2.44-f87.7-d26-hybrid-filled. It does not give sizes by layer: they fall with depth
# here as they do in the models that bpjax prunes.
BASE_26 = BASE.replace(
    heads=(7, 7, 7, 6, 6, 6, 6, 5, 5, 4, 3, 2),
    intermediate=(905, 901, 862, 791, 713, 628, 506, 386, 243, 118, 69, 62),
)
BASE_15 = BASE.replace(
    heads=(5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 1, 1),
    intermediate=(530, 520, 490, 440, 390, 330, 260, 190, 120, 60, 35, 30),
)
# The same profile over twice as many layers.
LARGE_26 = LARGE.replace(
    heads=tuple(round(4 / 3 * n) for n in BASE_26.heads for _ in range(2)),
    intermediate=tuple(round(4 / 3 * n) for n in BASE_26.intermediate for _ in range(2)),
)
# Sizes as a run on SST-2 left them: results/sst2/penalty20_seed17.
MINILM_SST2 = MINILM.replace(heads=(3, 2, 2, 1, 1, 3), intermediate=(893, 761, 407, 65, 25, 29))

MODELS: dict[str, dict[str, BertConfig]] = {
    "MiniLM": {"dense": MINILM, "pruned": MINILM_SST2},
    "BERT-base": {"dense": BASE, "26%": BASE_26, "15%": BASE_15},
}
"""By model, by variant; the first variant is the one that the others are compared with."""

SHAPES = ((1, 128), (8, 128), (32, 128), (8, 384))
