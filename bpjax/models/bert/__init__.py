"""BERT (Devlin et al. 2019) and its family: RoBERTa, DistilBERT, ELECTRA and others."""

from pathlib import Path

from bpjax.models.architecture import Architecture
from bpjax.models.bert.config import BertConfig
from bpjax.models.bert.config_json import read, write
from bpjax.models.bert.describe import dense, describe, embed, pad, resize
from bpjax.models.bert.encoders import ENCODERS
from bpjax.models.bert.module import Bert, inputs
from bpjax.models.bert.tensors import complete, owned, tensors, unread

# All but torch_code, which wants PyTorch.
__all__ = [
    "ARCHITECTURE",
    "Bert",
    "BertConfig",
    "complete",
    "config",
    "config_json",
    "dense",
    "describe",
    "embed",
    "encoders",
    "fields",
    "inputs",
    "module",
    "owned",
    "pad",
    "read",
    "resize",
    "sublayers",
    "tensors",
    "unread",
    "write",
]

ARCHITECTURE = Architecture(
    model_types=tuple(ENCODERS),
    read=read,
    write=write,
    build=Bert,
    describe=describe,
    resize=resize,
    dense=dense,
    pad=pad,
    inputs=inputs,
    tensors=tensors,
    owned=owned,
    unread=unread,
    heads=lambda model_type: ENCODERS[model_type].classes,
    approximations={"relu": {"activation": "relu"}, "affine_norm": {"norm": "affine"}},
    tiny=lambda **changes: BertConfig(
        **{
            "vocab_size": 40,
            "hidden_size": 12,
            "head_dim": 4,
            "heads": (3, 3),
            "intermediate": (10, 10),
            "max_positions": 16,
            **changes,
        }
    ),
    torch_code=Path(__file__).with_name("torch_code.py"),
    torch_heads=("ForMaskedLM", "ForMultipleChoice"),
    complete=complete,
    embed=embed,
    embedding=lambda config: config.embedding,
    packs=True,
)
