"""What transformers makes of exported folders, for any version of it: it needs no bpjax.

python answer_in_torch.py BATCH FOLDER…  BATCH is an npz of the model's inputs. Beside each folder
comes FOLDER-again, what PyTorch saves of the model, and FOLDER.npz:

eager, sdpa: answers by implementation of attention, those that there are
again, half: answers of what was saved again, in float32 and in bfloat16
heads: by layer, of the attentions that eager gives
states: how many hidden states there are
saved: heads and intermediate size in the config.json of what was saved again
stds: of each matrix of a model of new weights
still: names of parameters without a gradient
plain: what transformers' own class said of what was saved again
missing: names of the parameters that a masked language model draws anew
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers


def answer(model, batch, **options):
    """The outputs, and of them the logits in bpjax's layout or the last states."""
    outputs = model(**batch, **options)
    if "start_logits" in outputs:
        return outputs, torch.stack([outputs.start_logits, outputs.end_logits], -1)
    return outputs, outputs[
        next(name for name in ("logits", "last_hidden_state") if name in outputs)
    ]


def look(folder, batch):
    config = transformers.AutoConfig.from_pretrained(folder)
    plain = config.architectures[0].removeprefix("Bpjax")
    head = plain.partition("For")[2]
    auto = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel")

    def load(source, **options):
        return auto.from_pretrained(source, trust_remote_code=True, **options).eval()

    found = {}
    for attention in ("sdpa", "eager"):
        try:
            model = load(folder, attn_implementation=attention)
        except ValueError as error:  # transformers 4 has no other than eager of ELECTRA
            if "scaled_dot_product_attention" not in str(error):
                raise
            continue
        found[attention] = answer(model, batch)[1]
    outputs, logits = answer(model, batch, output_attentions=True, output_hidden_states=True)
    found["heads"] = torch.tensor([weights.shape[1] for weights in outputs.attentions])
    found["states"] = torch.tensor(len(outputs.hidden_states))
    logits.sum().backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None]

    again = f"{folder}-again"
    model.save_pretrained(again)
    found["again"] = answer(load(again), batch)[1]
    found["half"] = answer(load(again, dtype=torch.bfloat16), batch)[1]
    saved = json.loads(pathlib.Path(again, "config.json").read_text())
    names = ("num_attention_heads", "n_heads", "intermediate_size", "hidden_dim")
    found["saved"] = torch.tensor([saved[name] for name in names if name in saved])
    try:
        getattr(transformers, plain).from_pretrained(again, ignore_mismatched_sizes=True)
        said = "loaded"
    except ZeroDivisionError as error:
        said = repr(error)

    _, report = transformers.AutoModelForMaskedLM.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )

    new = auto.from_config(config, trust_remote_code=True)
    found["stds"] = torch.tensor([x.detach().std() for x in new.parameters() if x.ndim == 2])
    arrays = {name: value.detach().float().numpy() for name, value in found.items()}
    np.savez(f"{folder}.npz", plain=said, still=still, missing=[*report["missing_keys"]], **arrays)


if __name__ == "__main__":
    torch.set_num_threads(1)  # small models, and other tests beside
    inputs = {name: torch.tensor(value).long() for name, value in np.load(sys.argv[1]).items()}
    print(transformers.__version__)
    for each in sys.argv[2:]:
        look(each, inputs)
