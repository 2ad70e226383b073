"""Fields of config.json: which are read, which values bpjax takes, and which do not matter.

Every field of transformers' config classes for these encoders stands here, or among the names in
`encoders`. A field that is in neither is unknown to transformers as well, which ignores it.
"""

from bpjax.models import config_fields
from bpjax.models.architecture import Json

READ = (
    "embedding_size",
    "initializer_range",
    "layer_norm_eps",
    "max_position_embeddings",
    "pad_token_id",
    "pruned_heads",
    "type_vocab_size",
    "vocab_size",
)
"""Fields that `config_json.read` reads, beside those that have another name in each encoder."""

TAKEN: config_fields.Taken = {
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "per_layer_config": (None, {}),
    "position_embedding_type": ("absolute", None),
    "quantization_config": (None,),
}
"""Values of fields that would change what a model computes: any other is refused."""

WITHOUT_EFFECT = (
    *config_fields.WITHOUT_EFFECT,
    # Of other heads, of generation, of new weights, and of a tokenizer that has its own files.
    "bos_token_id",
    "eos_token_id",
    "summary_activation",
    "summary_last_dropout",
    "summary_type",
    "summary_use_proj",
    "sinusoidal_pos_embds",  # how DistilBERT's positions begin, before they are read
    "tie_word_embeddings",
)
"""Fields whose values change nothing of what bpjax computes."""


def require_known(data: Json, where: str) -> None:
    """Refuses a file whose model computes what ours does not.

    Args:
      data: the decoded config.json.
      where: its name, for messages.

    Raises:
      UserError: a field with a value that is not `TAKEN`, or code of its own.
    """
    config_fields.require_taken(data, TAKEN, where, "encoder")
