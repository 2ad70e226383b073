"""Texts of BART, token for token as transformers writes them."""

import json
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")

import transformers  # noqa: E402

from bpjax.generation import generate  # noqa: E402
from bpjax.models.checkpoint import load_pretrained, save_pretrained  # noqa: E402
from bpjax.models.generation_files import override  # noqa: E402
from bpjax.models.inputs import ATTENTION_MASK, INPUT_IDS  # noqa: E402

ROWS, LENGTH, VOCABULARY = 200, 24, 90
SAVED = {"max_length": 24, "num_beams": 2, "early_stopping": True, "no_repeat_ngram_size": 3}
CASES = {
    "as it was saved": {},
    "greedy": {"num_beams": 1, "max_length": 40},
    "greedy, penalties": {
        "num_beams": 1,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 8,
        "max_new_tokens": 30,
        "suppress_tokens": [7, 8, 9],
    },
    "cnn": {
        "num_beams": 4,
        "length_penalty": 2.0,
        "max_length": 42,
        "min_length": 16,
        "forced_bos_token_id": 0,
    },
    "xsum": {"num_beams": 6, "early_stopping": True, "max_length": 30, "min_length": 11},
    "translation": {
        "num_beams": 5,
        "early_stopping": False,
        "bad_words_ids": [[1], [5, 6], [10, 11, 12]],
        "no_repeat_ngram_size": 0,
        "length_penalty": -1.0,
        "renormalize_logits": True,
        "remove_invalid_values": True,
    },
    "never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.5, "max_length": 30},
    "shorter is better": {"num_beams": 3, "early_stopping": "never", "length_penalty": -0.5},
    "many ends": {
        "num_beams": 3,
        "early_stopping": False,
        "eos_token_id": [2, 30, 31, 32],
        "forced_eos_token_id": [30],
        "encoder_no_repeat_ngram_size": 2,
        "begin_suppress_tokens": [40, 41],
    },
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A model of transformers whose texts end sooner and later, and its folder."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        init_std=0.35,
    )
    model = transformers.BartForConditionalGeneration(config).eval()
    model.final_logits_bias[0, [2, 30, 31]] = torch.tensor([3.0, 1.0, 1.0])
    model.generation_config.update(**SAVED)
    folder = tmp_path_factory.mktemp("bart")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def ours(theirs):
    return load_pretrained(theirs[1])


def sources():
    generator = np.random.default_rng(0)
    ids = generator.integers(3, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
    lengths = generator.integers(4, LENGTH + 1, (ROWS, 1))
    mask = (np.arange(LENGTH) < lengths).astype(np.int32)
    ids = np.where(np.arange(LENGTH) == lengths - 1, 2, ids)
    return {INPUT_IDS: np.where(mask, ids, 1), ATTENTION_MASK: mask}


@pytest.mark.parametrize("case", CASES)
def test_both_write_the_same(theirs, ours, case):
    model, (config, params) = theirs[0], ours
    batch, changes = sources(), CASES[case]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        told = model.generate(
            **{name: torch.tensor(x, dtype=torch.long) for name, x in batch.items()},
            **changes,
            return_dict_in_generate=True,
            output_scores=True,
        )
    settings = override(config.generation, changes)
    found = generate(config, {"params": params}, batch, settings)
    expected = told.sequences.numpy()
    tokens = np.asarray(found.tokens)
    np.testing.assert_array_equal(tokens[:, : expected.shape[1]], expected)
    assert (tokens[:, expected.shape[1] :] == settings.pad_token_id).all()
    if settings.num_beams > 1:
        np.testing.assert_allclose(found.scores, told.sequences_scores, rtol=1e-4, atol=1e-5)
    lengths = (expected != settings.pad_token_id).sum(1)
    assert len({*map(tuple, expected)}) > ROWS / 2 and len({*lengths}) > 3  # no two alike


def test_the_settings_go_there_and_back(theirs, ours, tmp_path):
    config, params = ours
    assert config.generation.num_beams == 2 and config.generation.forced_eos_token_id == (2,)
    save_pretrained(tmp_path / "model", config, params)
    again = transformers.GenerationConfig.from_pretrained(tmp_path / "model")
    before = transformers.GenerationConfig.from_pretrained(theirs[1])
    told = [json.loads(each.to_json_string(ignore_metadata=True)) for each in (again, before)]
    without = {"_from_model_config", "use_cache", "output_attentions", "output_hidden_states"}
    assert {k: v for k, v in told[0].items() if k not in without} == {
        k: v for k, v in told[1].items() if k not in without
    }
