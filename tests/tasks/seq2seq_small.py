"""A tokenizer of whole words with the special tokens of BART, and tasks on small tables."""

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def make_tokenizer(text, single="<s> $A </s>"):
    """Of the words of a text; `single` is how a text is surrounded."""
    words = dict.fromkeys([*SPECIAL, *text.lower().split()])
    ids = {word: place for place, word in enumerate(words)}
    found = tokenizers.Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    found.normalizer = normalizers.Lowercase()
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, ids[name]) for name in SPECIAL]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=found,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
