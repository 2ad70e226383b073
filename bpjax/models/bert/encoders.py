"""Encoders that compute alike and are called differently: BERT, RoBERTa, DistilBERT and others.

An `Encoder` says what tells one from the others: the names of its tensors and of the fields of its
config.json, how its positions count, and what stands between the encoder and a classifier. To
add one, describe it here and name it in `ENCODERS`.
"""

from typing import NamedTuple


class Encoder(NamedTuple):
    """One kind of encoder.

    Attributes:
      name: `model_type` in config.json.
      prefix: of the encoder's tensors in a model with a task head.
      classes: the class of transformers for each of `heads.HEADS` that it has.
      layer: prefix of layer i's tensors.
      layer_names: of a layer's parts, by our path within the layer.
      fields: names in config.json of our sizes and rates.
      aliases: other names that transformers reads for some of these.
      head_dropout: name and default of the rate before the last layer, by head; None is the rate
        `hidden_dropout`. A head that is not here has no such dropout.
      base_pooler: the pooler in a model without a task head; None where there is none.
      pooler: the layer before a classifier, which is outside the encoder unless it is the base
        pooler.
      pooler_activation: "tanh", "relu" or "gelu".
      classifier: the last layer of a classifier of rows.
      counts_tokens: positions count the tokens that are not padding, from `pad_token_id` + 1; else
        all, from 0.
      token_types: rows of token types; 0 where there are none.
      pad_token_id: what config.json says of padding, by default.
      norm_eps: of all norms, where config.json has no say in it.
      projects: embeddings may have a size of their own, from which a layer leads to the hidden one.
    """

    name: str
    prefix: str
    classes: dict[str, str]
    layer: str
    layer_names: dict[str, str]
    fields: dict[str, str]
    aliases: dict[str, str]
    head_dropout: dict[str, tuple[str, float | None]]
    base_pooler: str | None
    pooler: str
    pooler_activation: str
    classifier: str
    counts_tokens: bool
    token_types: int
    pad_token_id: int
    norm_eps: float | None = None
    projects: bool = False


def _classes(stem: str) -> dict[str, str]:
    classifier = f"{stem}ForSequenceClassification"
    return {
        "none": f"{stem}Model",
        "span": f"{stem}ForQuestionAnswering",
        "classification": classifier,
        "multi_label": classifier,
        "regression": classifier,
        "tokens": f"{stem}ForTokenClassification",
        "embedding": f"{stem}Model",
    }


_SEQUENCE = ("classification", "multi_label", "regression")

BERT = Encoder(
    name="bert",
    prefix="bert.",
    classes=_classes("Bert"),
    layer="encoder.layer.{}",
    layer_names={
        "attention/query": "attention.self.query",
        "attention/key": "attention.self.key",
        "attention/value": "attention.self.value",
        "attention/output": "attention.output.dense",
        "attention/norm": "attention.output.LayerNorm",
        "ffn/in": "intermediate.dense",
        "ffn/out": "output.dense",
        "ffn/norm": "output.LayerNorm",
    },
    fields={
        "hidden_size": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "hidden_dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "activation": "hidden_act",
    },
    aliases={},
    head_dropout=dict.fromkeys((*_SEQUENCE, "tokens"), ("classifier_dropout", None)),
    base_pooler="pooler.dense",
    pooler="pooler.dense",
    pooler_activation="tanh",
    classifier="classifier",
    counts_tokens=False,
    token_types=2,
    pad_token_id=0,
)

ROBERTA = BERT._replace(
    name="roberta",
    prefix="roberta.",
    classes=_classes("Roberta"),
    pooler="classifier.dense",
    classifier="classifier.out_proj",
    counts_tokens=True,
    pad_token_id=1,
)

# Which compute as RoBERTa does, and name their tensors as it does.
XLM_ROBERTA = ROBERTA._replace(name="xlm-roberta", classes=_classes("XLMRoberta"))
CAMEMBERT = ROBERTA._replace(name="camembert", classes=_classes("Camembert"))

ELECTRA = BERT._replace(
    name="electra",
    prefix="electra.",
    classes=_classes("Electra"),
    base_pooler=None,
    pooler="classifier.dense",
    pooler_activation="gelu",
    classifier="classifier.out_proj",
    projects=True,
)

DISTILBERT = BERT._replace(
    name="distilbert",
    prefix="distilbert.",
    classes=_classes("DistilBert"),
    layer="transformer.layer.{}",
    layer_names={
        "attention/query": "attention.q_lin",
        "attention/key": "attention.k_lin",
        "attention/value": "attention.v_lin",
        "attention/output": "attention.out_lin",
        "attention/norm": "sa_layer_norm",
        "ffn/in": "ffn.lin1",
        "ffn/out": "ffn.lin2",
        "ffn/norm": "output_layer_norm",
    },
    fields={
        "hidden_size": "dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "intermediate": "hidden_dim",
        "hidden_dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "activation": "activation",
    },
    aliases={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
    },
    head_dropout={
        **dict.fromkeys(_SEQUENCE, ("seq_classif_dropout", 0.2)),
        "span": ("qa_dropout", 0.1),
        "tokens": ("dropout", None),
    },
    base_pooler=None,
    pooler="pre_classifier",
    pooler_activation="relu",
    token_types=0,
    norm_eps=1e-12,
)

ENCODERS = {
    encoder.name: encoder
    for encoder in (BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, DISTILBERT, ELECTRA)
}
