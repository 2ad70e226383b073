"""Encoders that compute alike and are called differently: BERT, RoBERTa, DistilBERT.

An `Encoder` says what tells one from the others: the names of its tensors and of the fields of its
config.json, where its positions start, and what stands between the encoder and a classifier. To
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
      base_pooler: the pooler in a model without a task head; None where there is none.
      pooler: the layer before a classifier, which is outside the encoder unless it is the base
        pooler.
      pooler_activation: "tanh" or "relu".
      classifier: the last layer of a classifier of rows.
      position_offset: the row of the position embeddings that the first token takes.
      token_types: rows of token types; 0 where there are none.
      pad_token_id: what config.json says of padding, which our models never look at.
    """

    name: str
    prefix: str
    classes: dict[str, str]
    layer: str
    layer_names: dict[str, str]
    fields: dict[str, str]
    base_pooler: str | None
    pooler: str
    pooler_activation: str
    classifier: str
    position_offset: int
    token_types: int
    pad_token_id: int


def _classes(stem: str) -> dict[str, str]:
    classifier = f"{stem}ForSequenceClassification"
    return {
        "none": f"{stem}Model",
        "span": f"{stem}ForQuestionAnswering",
        "classification": classifier,
        "regression": classifier,
        "tokens": f"{stem}ForTokenClassification",
    }


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
    base_pooler="pooler.dense",
    pooler="pooler.dense",
    pooler_activation="tanh",
    classifier="classifier",
    position_offset=0,
    token_types=2,
    pad_token_id=0,
)

ROBERTA = BERT._replace(
    name="roberta",
    prefix="roberta.",
    classes=_classes("Roberta"),
    pooler="classifier.dense",
    classifier="classifier.out_proj",
    position_offset=2,
    token_types=1,
    pad_token_id=1,
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
    base_pooler=None,
    pooler="pre_classifier",
    pooler_activation="relu",
    token_types=0,
)

ENCODERS = {encoder.name: encoder for encoder in (BERT, ROBERTA, DISTILBERT)}
