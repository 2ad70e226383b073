"""What configs/multi30k.py starts from: a tokenizer of its words, a BART of random weights.

Command:  python -m experiments.multi30k_start --data=data/multi30k --output=runs/multi30k_start
"""

import argparse
from pathlib import Path

import jax
import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from bpjax import models as architectures
from bpjax.models.bart.config import BartConfig, Stack
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.generation import Generation

# In the order of their ids, which are BART's.
BEGIN, PADDING, END, UNKNOWN = MARKS = ("<s>", "<pad>", "</s>", "<unk>")
VOCABULARY = 8000
LAYERS, HIDDEN, HEADS, FFN, POSITIONS = 3, 256, 4, 1024, 128


def train_tokenizer(files: list[Path]) -> transformers.PreTrainedTokenizerFast:
    """Byte pairs of both languages, with BART's marks around a text."""
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train([*map(str, files)], trainer)
    found.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 0), (END, 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=found,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=POSITIONS,
    )


def make_config(vocabulary: int) -> BartConfig:
    """A BART of three layers in each stack."""
    heads, ffn = (HEADS,) * LAYERS, (FFN,) * LAYERS
    return BartConfig(
        vocab_size=vocabulary,
        num_labels=vocabulary,
        hidden_size=HIDDEN,
        encoder=Stack(heads, ffn, head_dim=HIDDEN // HEADS),
        decoder=Stack(heads, ffn, heads, head_dim=HIDDEN // HEADS),
        max_positions=POSITIONS,
        generation=Generation(
            decoder_start_token_id=2,
            eos_token_id=(2,),
            pad_token_id=1,
            forced_bos_token_id=0,
            num_beams=5,
            max_length=64,
        ),
    )


def main() -> None:
    """Trains the tokenizer and saves both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.en and train.de")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    options = parser.parse_args()
    tokenizer = train_tokenizer([options.data / f"train.{name}" for name in ("en", "de")])
    config = make_config(len(tokenizer))
    params = architectures.init(config, jax.random.key(options.seed))
    save_pretrained(options.output, config, params, tokenizer)
    print(f"{options.output}: {len(tokenizer):,} tokens, {config}")


if __name__ == "__main__":
    main()
