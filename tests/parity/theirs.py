"""What PyTorch transformers makes of a checkpoint of tests/config_changes.py."""

import logging

import torch
import transformers
from config_changes import IDS, MASK, real

from bpjax.models.heads import HEADS

transformers.logging.set_verbosity(logging.CRITICAL)
transformers.logging.disable_progress_bar()


def their_answer(folder, head):
    """The logits or last states at real tokens; None where it refuses, or draws what is missing."""
    kind = getattr(transformers, HEADS[head].auto_class)
    try:
        model, told = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        with torch.no_grad():
            out = model.eval()(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK))
    except Exception:  # noqa: BLE001 (of many kinds, none of which is ours)
        return None
    if told["missing_keys"] or told["mismatched_keys"]:
        return None
    if head == "none":
        return real(out.last_hidden_state)
    if head == "span":
        return real(torch.stack([out.start_logits, out.end_logits], -1))
    return real(out.logits)
