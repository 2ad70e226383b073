"""What transformers makes of exported encoder-decoders, for any version of it: it needs no bpjax.

python write_in_torch.py BATCH FOLDER…  BATCH is an npz of input_ids, attention_mask and label.
Beside each folder comes FOLDER-again, what PyTorch saves of the model, and FOLDER.npz:

eager, sdpa, again: logits by implementation of attention, and of what was saved again
greedy, beams: texts, of as many tokens as MAX_LENGTH
without: those of beams without a cache
encoder, decoder, cross: heads by layer that eager shows
still: names of parameters without a gradient
told: what was said of the weights as they were loaded
"""

import sys

import numpy as np
import torch
import transformers

MAX_LENGTH, BEAMS = 9, 3


def look(folder, batch):
    def load(source, **options):
        return transformers.AutoModelForSeq2SeqLM.from_pretrained(
            source, trust_remote_code=True, output_loading_info=True, **options
        )

    source = {name: batch[name] for name in ("input_ids", "attention_mask")}
    found = {}
    for attention in ("eager", "sdpa"):
        model, told = load(folder, attn_implementation=attention)
        outputs = model.eval()(**batch, output_attentions=attention == "eager")
        found[attention] = outputs.logits
        if attention == "eager":
            for name in ("encoder_attentions", "decoder_attentions", "cross_attentions"):
                heads = [weights.shape[1] for weights in outputs[name]]
                found[name.split("_")[0]] = torch.tensor(heads)
            outputs.logits.sum().backward()
            still = [name for name, weight in model.named_parameters() if weight.grad is None]
    for name, beams in (("greedy", 1), ("beams", BEAMS), ("without", BEAMS)):
        found[name] = model.generate(
            **source, num_beams=beams, max_length=MAX_LENGTH, use_cache=name != "without"
        )
    model.save_pretrained(f"{folder}-again")
    again, _ = load(f"{folder}-again")
    found["again"] = again.eval()(**batch).logits
    arrays = {name: value.detach().numpy() for name, value in found.items()}
    told = [name for names in told.values() for name in names]
    np.savez(f"{folder}.npz", still=still, told=told, **arrays)


if __name__ == "__main__":
    torch.set_num_threads(1)  # small models, and other tests beside
    inputs = {name: torch.tensor(value).long() for name, value in np.load(sys.argv[1]).items()}
    print(transformers.__version__)
    for each in sys.argv[2:]:
        look(each, {("labels" if name == "label" else name): x for name, x in inputs.items()})
