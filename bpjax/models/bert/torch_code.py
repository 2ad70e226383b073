"""Loads a model that bpjax shrank into PyTorch: layers of fewer heads and dimensions, or none.

AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True), and so on.
"""

import importlib
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


class AffineLayerNorm(nn.LayerNorm):
    """What stands in the place of a norm: a scale and a shift, the same for all tokens."""

    def forward(self, x):
        return x * self.weight + self.bias


class NoHeads:
    """Before an attention's class: an attention without heads and projections.

    It is of that class because transformers 5 knows by it whose weights `output_attentions` is to
    collect: here [batch, 0, length, length]. DistilBERT keeps its output layer in it.
    """

    def __init__(self, config, output=None):
        nn.Module.__init__(self)
        self.config = config
        if output is not None:
            self.out_lin = output

    def forward(self, hidden_states=None, *args, query=None, **kwargs):
        x = hidden_states if query is None else query
        # Other attentions than eager give no weights in transformers 5, and always some before.
        shown = _VERSION < (5,) or self.config._attn_implementation == "eager"
        weights = x.new_zeros(x.shape[0], 0, x.shape[1], x.shape[1]) if shown else None
        return (self.out_lin(x) if hasattr(self, "out_lin") else x), weights


def _no_heads(family, name):
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    return type(f"{name}NoHeads", (NoHeads, getattr(module, name)), {"__module__": __name__})


_ATTENTIONS = {
    "bert": "BertSelfAttention",
    "roberta": "RobertaSelfAttention",
    "xlm_roberta": "XLMRobertaSelfAttention",
    "camembert": "CamembertSelfAttention",
    "electra": "ElectraSelfAttention",
    "distilbert": "DistilBertSelfAttention" if _VERSION >= (5,) else "MultiHeadSelfAttention",
}
_NO_HEADS = {family: _no_heads(family, name) for family, name in _ATTENTIONS.items()}
globals().update({kind.__name__: kind for kind in _NO_HEADS.values()})  # for pickle


def _resize_bert(layer, config, heads, head_dim, size):
    attention, hidden, inner = layer.attention.self, config.hidden_size, heads * head_dim
    if inner:
        attention.num_attention_heads, attention.all_head_size = heads, inner
        attention.attention_head_size, attention.scaling = head_dim, head_dim**-0.5
        for name in ("query", "key", "value"):
            setattr(attention, name, nn.Linear(hidden, inner))
        layer.attention.output.dense = nn.Linear(inner, hidden)
    else:
        kind = _NO_HEADS[config.model_type.replace("-", "_")]
        layer.attention.self, layer.attention.output.dense = kind(config), Constant(hidden)
    if size:
        layer.intermediate.dense = nn.Linear(hidden, size)
        layer.output.dense = nn.Linear(size, hidden)
    else:
        layer.intermediate, layer.output.dense = nn.Identity(), Constant(hidden)


def _resize_distilbert(layer, config, heads, head_dim, size):
    attention, hidden, inner = layer.attention, config.hidden_size, heads * head_dim
    if inner:
        attention.n_heads, attention.dim = heads, inner
        attention.attention_head_size, attention.scaling = head_dim, head_dim**-0.5
        for name in ("q_lin", "k_lin", "v_lin"):
            setattr(attention, name, nn.Linear(hidden, inner))
        attention.out_lin = nn.Linear(inner, hidden)
    else:
        layer.attention = _NO_HEADS["distilbert"](config, Constant(hidden))
    if size:
        layer.ffn.lin1, layer.ffn.lin2 = nn.Linear(hidden, size), nn.Linear(size, hidden)
    else:
        layer.ffn.lin1, layer.ffn.lin2 = nn.Identity(), Constant(hidden)


_POOLERS = ("pooler.dense", "classifier.dense", "pre_classifier")
_CLASSIFIERS = ("classifier", "classifier.out_proj")


def _resize(model):
    """Gives the layers of a model of transformers the sizes that its config has under `bpjax`."""
    config, saved = model.config, model.config.bpjax
    encoder = getattr(model, model.base_model_prefix, model)
    layers = (encoder.transformer if hasattr(encoder, "transformer") else encoder.encoder).layer
    resize = _resize_distilbert if config.model_type == "distilbert" else _resize_bert
    for i, layer in enumerate(layers):
        heads, size = (
            saved["sizes"]["units"][f"layer_{i}/{part}"] for part in ("attention", "ffn")
        )
        resize(layer, config, heads, saved["head_dim"], size)
    hidden, pooled = config.hidden_size, saved["changes"].get("pooler_size", config.hidden_size)
    if saved["changes"].get("project"):  # else there is such a layer where the sizes differ
        encoder.embeddings_project = nn.Linear(config.embedding_size, hidden)
    linear = {name: x for name, x in model.named_modules() if isinstance(x, nn.Linear)}
    poolers = [name for name in linear if name.endswith(_POOLERS)]
    for name in poolers:
        _replace(model, name, nn.Linear(hidden, pooled))
    if poolers:  # else the classifier reads the states of all tokens
        for name in linear.keys() & _CLASSIFIERS:
            _replace(model, name, nn.Linear(pooled, linear[name].out_features))
    if saved["changes"].get("norm") == "affine":
        for name, module in [*encoder.named_modules()]:
            if isinstance(module, nn.LayerNorm):
                _replace(encoder, name, AffineLayerNorm(module.normalized_shape))


def _replace(model, name, module):
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


_SIZES = {"distilbert": ("n_heads", "hidden_dim")}


class _Shrunken:
    """Before a class of transformers: layers of the sizes that the config has under `bpjax`."""

    def __init__(self, config: typing.Any, *args: typing.Any, **kwargs: typing.Any) -> None:
        # Its number of heads and intermediate size are 0, of which transformers makes no layer, and
        # are to be 0 where the config is saved again: no other class may then load the model.
        names = _SIZES.get(config.model_type, ("num_attention_heads", "intermediate_size"))
        before = [getattr(config, name) for name in names]
        try:
            for name in names:
                setattr(config, name, 1)
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        finally:
            for name, value in zip(names, before):  # noqa: B905  # Python 3.9 has no strict
                setattr(config, name, value)

    def post_init(self):
        """The last that each class calls as it is made: draws the weights, of the new sizes."""
        _resize(self)
        super().post_init()  # type: ignore[misc]

    def _init_weights(self, module):
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, Constant):
            nn.init.zeros_(module.bias)


def _named(family, kind):
    base = getattr(transformers, family + kind)
    fields = {
        "__module__": __name__,
        "__doc__": f"A shrunken {base.__name__}.",
        "_auto_class": f"AutoModel{kind.removeprefix('Model')}",  # save_pretrained adds this file
    }
    return type(f"Bpjax{family}{kind}", (_Shrunken, base), fields)


_FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "DistilBert")
_KINDS = (
    "Model",
    *("ForMaskedLM", "ForMultipleChoice", "ForQuestionAnswering"),
    *("ForSequenceClassification", "ForTokenClassification"),
)
_CLASSES = [_named(family, kind) for family in _FAMILIES for kind in _KINDS]
globals().update({each.__name__: each for each in _CLASSES})
