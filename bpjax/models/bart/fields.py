"""Fields of config.json: which are read, which values bpjax takes, and which do not matter.

Every field of transformers' config classes for these models stands here. A field that does not is
unknown to transformers as well, which ignores it, or of generation, which is read apart.
"""

from typing import Any

from bpjax.errors import UserError
from bpjax.models import config_fields
from bpjax.models.architecture import Json
from bpjax.models.bart.variants import Variant

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "activation_function": "gelu",
    "d_model": 1024,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "init_std": 0.02,
    "scale_embedding": False,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
"""Fields that `config_json.read` reads, and what transformers takes where one is missing."""

ALIASES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "encoder_layers",
    "num_attention_heads": "encoder_attention_heads",
}
"""Other names that transformers reads for some of these."""

TAKEN: config_fields.Taken = {
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False, None),
    "is_encoder_decoder": (True, None),
    "per_layer_config": (None, {}),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    # One table of word embeddings is of both stacks and the head.
    "share_encoder_decoder_embeddings": (True, None),
    "tie_encoder_decoder": (False, None),
    "tie_word_embeddings": (True, None),
}
"""Values of fields that would change what a model computes: any other is refused."""

WITHOUT_EFFECT = (
    *config_fields.WITHOUT_EFFECT,
    # Of other heads.
    "classif_dropout",
    "classifier_dropout",
)
"""Fields whose values change nothing of what bpjax computes."""


def taken(variant: Variant) -> config_fields.Taken:
    """`TAKEN`, with what older files say that the kind of model says now."""
    return {
        **TAKEN,
        "normalize_before": (variant.pre_norm, None),
        "add_final_layer_norm": (variant.pre_norm, None),
        "normalize_embedding": (variant.norm_embedding, None),
        "static_position_embeddings": (variant.sinusoidal, None),
    }


def require_known(data: Json, variant: Variant, where: str) -> None:
    """Refuses a file whose model computes what ours does not.

    Args:
      data: the decoded config.json.
      variant: of its `model_type`.
      where: its name, for messages.

    Raises:
      UserError: a field with a value that is not taken, or code of its own.
    """
    config_fields.require_taken(data, taken(variant), where)
    written = data.get("decoder_vocab_size")
    if written not in (None, data.get("vocab_size")):
        raise UserError(
            f"{where}: decoder_vocab_size is {written!r}: expected that of the encoder, "
            f"{data.get('vocab_size')!r}; choose a model of one vocabulary"
        )
