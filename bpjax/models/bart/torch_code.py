"""Loads an encoder-decoder that bpjax shrank into PyTorch: layers of fewer heads and dimensions.

AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)
"""

import typing

import torch
import transformers
from torch import nn

_VERSION = tuple(map(int, transformers.__version__.split(".")[:2]))

if _VERSION < (4, 57):
    raise ImportError(
        f"a model that bpjax shrank needs transformers 4.57 or newer, found "
        f"{transformers.__version__}: pip install --upgrade transformers"
    )


class Constant(nn.Module):
    """What is left of an output layer that nothing feeds: its bias."""

    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x):
        return self.bias.expand(*x.shape[:-1], -1)


class Zero(nn.Module):
    """A projection of an attention without heads: one zero for each token.

    They go into the cache, by whose first layer transformers knows how long the texts are.
    """

    def forward(self, x):
        return x.new_zeros(*x.shape[:-1], 1)


class AffineLayerNorm(nn.LayerNorm):
    """What stands in the place of a norm: a scale and a shift, the same for all tokens."""

    def forward(self, x):
        return x * self.weight + self.bias


def _show_no_heads(attention, given, found):
    """A hook, for `output_attentions`: [batch, 0, length, length]."""
    states, weights = found
    return states, weights if weights is None else weights[:, :0]


def _resize_attention(attention, hidden, heads, head_dim):
    # Without heads there is one of a zero, whose output nobody reads.
    attention.num_heads, attention.head_dim = (heads, head_dim) if heads else (1, 1)
    attention.scaling = attention.head_dim**-0.5
    inner = heads * head_dim
    for name in ("q_proj", "k_proj", "v_proj"):
        setattr(attention, name, nn.Linear(hidden, inner) if inner else Zero())
    attention.out_proj = nn.Linear(inner, hidden) if inner else Constant(hidden)
    if not inner:
        attention.register_forward_hook(_show_no_heads)


def _resize_ffn(layer, hidden, size):
    if size:
        layer.fc1, layer.fc2 = nn.Linear(hidden, size), nn.Linear(size, hidden)
    else:
        layer.fc1, layer.activation_fn, layer.fc2 = nn.Identity(), nn.Identity(), Constant(hidden)


_NORMS = {
    "attention": "self_attn_layer_norm",
    "cross_attention": "encoder_attn_layer_norm",
    "ffn": "final_layer_norm",
}
_PRE_NORM = ("mbart", "pegasus")


def _resize(model):
    """Gives the layers of a model of transformers the sizes that its config has under `bpjax`."""
    config, saved = model.config, model.config.bpjax
    hidden, units, changes = config.d_model, saved["sizes"]["units"], saved["changes"]
    stacks = getattr(model, model.base_model_prefix, model)
    for stack, head_dim in saved["head_dim"].items():
        for i, layer in enumerate(getattr(stacks, stack).layers):
            sizes = {part: units.get(f"{stack}/layer_{i}/{part}") for part in _NORMS}
            _resize_attention(layer.self_attn, hidden, sizes["attention"], head_dim)
            if sizes["cross_attention"] is not None:
                _resize_attention(layer.encoder_attn, hidden, sizes["cross_attention"], head_dim)
            _resize_ffn(layer, hidden, sizes["ffn"])
            for part, norm in _NORMS.items():
                if sizes[part] == 0 and config.model_type in _PRE_NORM:
                    setattr(layer, norm, nn.Identity())
    if "scaled_by" in changes:
        for module in model.modules():
            if hasattr(module, "embed_scale"):
                module.embed_scale = changes["scaled_by"] ** 0.5
    if changes.get("norm") == "affine":
        for name, module in [*model.named_modules()]:
            if isinstance(module, nn.LayerNorm):
                parent, _, last = name.rpartition(".")
                affine = AffineLayerNorm(module.normalized_shape)
                setattr(model.get_submodule(parent), last, affine)


_SIZES = tuple(
    f"{stack}_{size}" for stack in ("encoder", "decoder") for size in ("attention_heads", "ffn_dim")
)


class _Shrunken:
    """Before a class of transformers: layers of the sizes that the config has under `bpjax`."""

    # Sines and cosines lack the dimensions that went, and so are saved as all else.
    _keys_to_ignore_on_save = None

    def __init__(self, config: typing.Any, *args: typing.Any, **kwargs: typing.Any) -> None:
        # Its numbers of heads and of feed-forward dimensions are 0, of which transformers makes no
        # layer, and are to be 0 where the config is saved again: no other class may then load it.
        before = [getattr(config, name) for name in _SIZES]
        try:
            for name in _SIZES:
                setattr(config, name, 1)
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        finally:
            for name, value in zip(_SIZES, before):  # noqa: B905  # Python 3.9 has no strict
                setattr(config, name, value)

    def post_init(self):
        """The last that each class calls as it is made: draws the weights, of the new sizes."""
        _resize(self)
        super().post_init()  # type: ignore[misc]

    def _init_weights(self, module):
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, Constant):
            nn.init.zeros_(module.bias)


def _named(name, auto_class):
    base = getattr(transformers, name)
    fields = {
        "__module__": __name__,
        "__doc__": f"A shrunken {name}.",
        "_auto_class": auto_class,  # save_pretrained adds this file
    }
    return type(f"Bpjax{name}", (_Shrunken, base), fields)


_FAMILIES = ("Bart", "MBart", "Pegasus", "Marian")
_WRITERS = (
    *("BartForConditionalGeneration", "MBartForConditionalGeneration"),
    *("PegasusForConditionalGeneration", "MarianMTModel"),
)
_CLASSES = [
    *(_named(f"{family}Model", "AutoModel") for family in _FAMILIES),
    *(_named(name, "AutoModelForSeq2SeqLM") for name in _WRITERS),
]
globals().update({each.__name__: each for each in _CLASSES})
