"""Fields of config.json: which are read, which values bpjax takes, and which do not matter.

Every field of transformers' config classes for these encoders stands here, or among the names in
`encoders`. A field that is in neither is unknown to transformers as well, which ignores it.
"""

from typing import Any

from bpjax.errors import UserError
from bpjax.models.architecture import Json
from bpjax.models.sizes import SHRUNKEN_KEY

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

TAKEN: dict[str, tuple[Any, ...]] = {
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
    "architectures",  # read apart, as are the names of labels: `labels.read_head`
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "model_type",
    # How a computation is done, what comes with its result, and what is told of the file.
    "_name_or_path",
    "_attn_implementation",
    "attn_implementation",
    "chunk_size_feed_forward",
    "dtype",  # weights are read as float32
    "torch_dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "tie_last_hidden_states",
    "transformers_version",
    "use_cache",
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
    for key, taken in TAKEN.items():
        # Files older than a key mean its default.
        found = data.get(key, taken[0])
        if not any(found == value and type(found) is type(value) for value in taken):
            raise UserError(
                f"{where}: {key} is {repr(found)[:80]}: expected {taken[0]!r}; choose another "
                "encoder"
            )
    if data.get("auto_map") and SHRUNKEN_KEY not in data:
        raise UserError(
            f"{where}: auto_map names code of the model's own: expected a model that "
            "transformers has; choose another encoder"
        )
