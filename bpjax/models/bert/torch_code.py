"""Loads a model that bpjax shrank into PyTorch: layers of fewer heads and dimensions, or none.

AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True), and so on.
"""

import copy
import typing

import torch
import transformers
from torch import nn


class Constant(nn.Module):
    """What is left of an output layer that nothing feeds: its bias."""

    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x):
        return self.bias.expand(*x.shape[:-1], -1)


class Affine(nn.Module):
    """What stands in the place of a norm: a scale and a shift, the same for all tokens."""

    def __init__(self, features):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )

    def forward(self, x):
        return x * self.weight + self.bias


class NoHeads(nn.Module):
    """An attention without heads; DistilBERT keeps its output layer in it."""

    def __init__(self, output=None):
        super().__init__()
        if output is not None:
            self.out_lin = output

    def forward(self, hidden_states, *args, **kwargs):
        return (self.out_lin(hidden_states) if hasattr(self, "out_lin") else hidden_states), None


def _set_heads(attention, head_dim):
    attention.attention_head_size, attention.scaling = head_dim, head_dim**-0.5


def _resize_bert(layer, hidden, heads, head_dim, size):
    attention, inner = layer.attention.self, heads * head_dim
    _set_heads(attention, head_dim)
    for name in ("query", "key", "value"):
        setattr(attention, name, nn.Linear(hidden, inner or 1))
    layer.attention.output.dense = nn.Linear(inner, hidden) if inner else Constant(hidden)
    if not inner:
        layer.attention.self = NoHeads()
    layer.intermediate.dense = nn.Linear(hidden, size or 1)
    layer.output.dense = nn.Linear(size, hidden) if size else Constant(hidden)
    if not size:
        layer.intermediate = nn.Identity()


def _resize_distilbert(layer, hidden, heads, head_dim, size):
    inner = heads * head_dim
    if inner:
        _set_heads(layer.attention, head_dim)
        for name in ("q_lin", "k_lin", "v_lin"):
            setattr(layer.attention, name, nn.Linear(hidden, inner))
        layer.attention.out_lin = nn.Linear(inner, hidden)
    else:
        layer.attention = NoHeads(Constant(hidden))
    if size:
        layer.ffn.lin1, layer.ffn.lin2 = nn.Linear(hidden, size), nn.Linear(size, hidden)
    else:
        layer.ffn.lin1, layer.ffn.lin2 = nn.Identity(), Constant(hidden)


_POOLERS = ("pooler.dense", "classifier.dense", "pre_classifier")


class _Shrunken:
    """A model of transformers, whose layers get the sizes that its config has under `bpjax`."""

    def __init__(self, config: typing.Any, *args: typing.Any, **kwargs: typing.Any) -> None:
        saved, dense = config.bpjax, copy.deepcopy(config)
        if config.model_type == "distilbert":
            dense.n_heads, dense.hidden_dim, resize = 1, 1, _resize_distilbert
        else:
            dense.num_attention_heads, dense.intermediate_size, resize = 1, 1, _resize_bert
        super().__init__(dense, *args, **kwargs)  # type: ignore[call-arg]
        _set_sizes(self, config, saved, resize)


def _set_sizes(model: typing.Any, config: typing.Any, saved: dict, resize: typing.Any) -> None:
    units, changes, hidden = saved["sizes"]["units"], saved["changes"], config.hidden_size
    encoder = getattr(model, model.base_model_prefix, model)
    layers = (encoder.transformer if hasattr(encoder, "transformer") else encoder.encoder).layer
    for i, layer in enumerate(layers):
        heads, size = units[f"layer_{i}/attention"], units[f"layer_{i}/ffn"]
        resize(layer, hidden, heads, saved["head_dim"], size)
    pooled = changes.get("pooler_size", hidden)
    linear = [(name, x) for name, x in model.named_modules() if isinstance(x, nn.Linear)]
    poolers = [name for name, _ in linear if name.endswith(_POOLERS)]
    for name in poolers:
        model.set_submodule(name, nn.Linear(hidden, pooled))
    if poolers:  # else the classifier reads the states of all tokens
        for name, module in linear:
            if name in ("classifier", "classifier.out_proj"):
                model.set_submodule(name, nn.Linear(pooled, module.out_features))
    if changes.get("norm") == "affine":
        for module in [*model.modules()]:
            for name, child in [*module.named_children()]:
                if isinstance(child, nn.LayerNorm):
                    setattr(module, name, Affine(hidden))


def _named(family, kind):
    base = getattr(transformers, family + kind)
    name = f"Bpjax{family}{kind}"
    return type(
        name, (_Shrunken, base), {"__module__": __name__, "__doc__": f"A shrunken {base.__name__}."}
    )


BpjaxBertModel = _named("Bert", "Model")
BpjaxBertForQuestionAnswering = _named("Bert", "ForQuestionAnswering")
BpjaxBertForSequenceClassification = _named("Bert", "ForSequenceClassification")
BpjaxBertForTokenClassification = _named("Bert", "ForTokenClassification")
BpjaxRobertaModel = _named("Roberta", "Model")
BpjaxRobertaForQuestionAnswering = _named("Roberta", "ForQuestionAnswering")
BpjaxRobertaForSequenceClassification = _named("Roberta", "ForSequenceClassification")
BpjaxRobertaForTokenClassification = _named("Roberta", "ForTokenClassification")
BpjaxDistilBertModel = _named("DistilBert", "Model")
BpjaxDistilBertForQuestionAnswering = _named("DistilBert", "ForQuestionAnswering")
BpjaxDistilBertForSequenceClassification = _named("DistilBert", "ForSequenceClassification")
BpjaxDistilBertForTokenClassification = _named("DistilBert", "ForTokenClassification")
