"""Random changes of BARTs' files: bpjax answers as PyTorch does to 1e-5, or refuses in one line."""

import functools
import logging
import pathlib
import shutil
import tempfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
transformers = pytest.importorskip("transformers")

from checkpoints import change_json, rewrite  # noqa: E402
from config_changes import change  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from test_bart_parity import BATCH, FIELDS, answer, theirs_of  # noqa: E402
from tiny_bart import run  # noqa: E402

from bpjax.errors import UserError  # noqa: E402
from bpjax.models.bart.variants import VARIANTS  # noqa: E402
from bpjax.models.checkpoint import load_pretrained  # noqa: E402

transformers.logging.set_verbosity(logging.CRITICAL)
transformers.logging.disable_progress_bar()

odd = st.sampled_from([None, 0, 1, -1, 2.5, "1", True, [], {}])
token = st.one_of(st.integers(0, 98), st.sampled_from([99, None, "2", [2], True]))
VALUES = {
    **{name: token for name in FIELDS if name.endswith("_token_id")},
    "activation_function": st.sampled_from(["gelu", "relu", "silu", "swish", "gelu_new", "tanh"]),
    "architectures": st.sampled_from([None, [], ["BartForCausalLM"], "BartModel", [3]]),
    "d_model": st.sampled_from([48, 24, "48"]),
    "decoder_attention_heads": st.sampled_from([1, 2, 5, 6, 8, 0]),
    "decoder_ffn_dim": st.sampled_from([64, 63]),
    "decoder_layerdrop": st.sampled_from([0.0, 0.5, 2, None]),
    "decoder_layers": st.sampled_from([2, 1, 0, 3]),
    "decoder_vocab_size": st.sampled_from([99, None, 98]),
    "dropout": st.sampled_from([0.0, 0.9, "no", None]),
    "encoder_attention_heads": st.sampled_from([1, 2, 5, 6, 8, 0]),
    "hidden_size": st.sampled_from([48, 24]),
    "init_std": st.sampled_from([0.1, 3, None]),
    "is_decoder": st.sampled_from([False, True, None]),
    "is_encoder_decoder": st.sampled_from([False, True]),
    "max_position_embeddings": st.one_of(st.integers(12, 42), odd),
    "model_type": st.sampled_from([*VARIANTS, "blenderbot", None]),
    "normalize_before": st.sampled_from([False, True]),
    "num_hidden_layers": st.sampled_from([3, 2]),
    "per_layer_config": st.sampled_from([{}, {"0": {"encoder_ffn_dim": 5}}]),
    "scale_embedding": st.sampled_from([False, True, None, 1]),
    "share_encoder_decoder_embeddings": st.sampled_from([False, True]),
    "tie_word_embeddings": st.sampled_from([False, True]),
    "vocab_size": st.sampled_from([99, 98]),
}
fields = st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


def read(folder):
    """The logits at real tokens, or the words of a refusal."""
    try:
        config, params = load_pretrained(folder, head="seq2seq")
        found = run(config, params, batch=BATCH).logits
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return np.asarray(found)[np.asarray(BATCH["label"]) >= 0]


def theirs(folder):
    """The same of PyTorch; None where it refuses, or draws what is missing."""
    try:
        model, told = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32
        )
        logits = answer(model.eval()).logits
    except Exception:  # noqa: BLE001 (of many kinds, none of which is ours)
        return None
    # Sines and cosines that are missing are computed.
    computed = "embed_positions.weight" if VARIANTS[model.config.model_type].sinusoidal else "-"
    missing = [key for key in told["missing_keys"] if not key.endswith(computed)]
    if missing or told["mismatched_keys"]:
        return None
    return logits.numpy()[np.asarray(BATCH["label"]) >= 0]


@functools.cache
def base(kind):
    folder = pathlib.Path(tempfile.mkdtemp())
    theirs_of(kind).save_pretrained(folder)
    change_json(folder, pad_token_id=1)
    return folder


@pytest.mark.parametrize("kind", VARIANTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(
    fields=fields,
    drop=st.lists(st.sampled_from(sorted(VALUES)), max_size=1),
    prefix=st.sampled_from(["", "", "", "module."]),
    lost=st.sampled_from(["-", "-", "final_logits_bias", "embed_positions.weight", "fc1.bias"]),
)
def test_the_answer_is_pytorchs_or_a_line(kind, fields, drop, prefix, lost):
    folder = pathlib.Path(shutil.copytree(base(kind), tempfile.mkdtemp(), dirs_exist_ok=True))
    rewrite(folder, lambda ts: {k: v for k, v in ts.items() if not k.endswith(lost)})
    change(folder, fields, drop, prefix)
    found = read(folder)
    if isinstance(found, str):
        return
    expected = theirs(folder)
    if expected is None:
        assert prefix, (fields, drop)  # what PyTorch cannot read, and what is read all the same
        return
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)
