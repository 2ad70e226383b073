"""BART (Lewis et al. 2020) and its relatives: mBART, Pegasus and Marian."""

from pathlib import Path

from bpjax.models.architecture import Architecture
from bpjax.models.bart.config import BartConfig, Stack
from bpjax.models.bart.config_json import read, write
from bpjax.models.bart.decoder import DECODER
from bpjax.models.bart.describe import dense, describe, pad, resize
from bpjax.models.bart.module import Bart, inputs
from bpjax.models.bart.tensors import owned, tensors, unread
from bpjax.models.bart.variants import VARIANTS

__all__ = [
    "ARCHITECTURE",
    "Bart",
    "BartConfig",
    "Stack",
    "config",
    "config_json",
    "decoder",
    "dense",
    "describe",
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
    "variants",
    "write",
]

ARCHITECTURE = Architecture(
    model_types=tuple(VARIANTS),
    read=read,
    write=write,
    build=Bart,
    describe=describe,
    resize=resize,
    dense=dense,
    pad=pad,
    inputs=inputs,
    tensors=tensors,
    owned=owned,
    unread=unread,
    heads=lambda model_type: VARIANTS[model_type].classes,
    approximations={"relu": {"activation": "relu"}, "affine_norm": {"norm": "affine"}},
    tiny=lambda **changes: BartConfig(
        **{
            "vocab_size": 40,
            "hidden_size": 12,
            "encoder": Stack((3, 3), (10, 10), (), 4),
            "decoder": Stack((2, 2), (8, 8), (2, 2), 6),
            "max_positions": 16,
            "num_labels": 40,
            **changes,
        }
    ),
    torch_code=Path(__file__).with_name("torch_code.py"),
    decoder=DECODER,
)
