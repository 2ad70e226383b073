"""Live parity with PyTorch transformers: logits and states of BART and its relatives, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
transformers = pytest.importorskip("transformers")

from tiny_bart import make_batch, run  # noqa: E402

from bpjax.models.bart.variants import VARIANTS  # noqa: E402
from bpjax.models.checkpoint import load_pretrained, save_pretrained  # noqa: E402

FIELDS = {
    "vocab_size": 99,
    "d_model": 48,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_layers": 2,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
CHOICES = {
    "bart": {"activation_function": "gelu"},
    "mbart": {"activation_function": "gelu_new", "scale_embedding": True},
    "pegasus": {"activation_function": "relu", "scale_embedding": True},
    "marian": {"activation_function": "swish", "scale_embedding": True},
}
BATCH = make_batch((17, 9, 2), (12, 5, 14), 99)


def theirs_of(kind, head="seq2seq", seed=0, **fields):
    """A model of random weights, none of which is zero or one."""
    torch.manual_seed(seed)
    config = transformers.CONFIG_MAPPING[kind](**FIELDS | CHOICES[kind] | fields)
    model = getattr(transformers, VARIANTS[kind].classes[head])(config)
    with torch.no_grad():
        for name, x in model.state_dict().items():
            if "embed_positions" not in name or not VARIANTS[kind].sinusoidal:
                x += 0.1 * torch.randn_like(x)
    return model.eval()


def answer(model, **options):
    """What PyTorch makes of the batch, as `Outputs` has it."""
    batch = {name: torch.tensor(np.asarray(x)).long() for name, x in BATCH.items()}
    source = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if model.get_output_embeddings() is not None:
        options["labels"] = batch["label"]
    with torch.no_grad():
        return model(**source, output_hidden_states=True, **options)


def assert_close(found, wanted, real, what):
    real = np.asarray(real).astype(bool)
    differences = np.abs(np.asarray(found)[real] - wanted.numpy()[real])
    assert differences.max() < 1e-5, what


@pytest.mark.parametrize("kind", VARIANTS)
def test_logits_and_states(tmp_path, kind):
    model = theirs_of(kind)
    model.save_pretrained(tmp_path)
    config, params = load_pretrained(tmp_path)
    found = run(config, params, batch=BATCH, hidden_states=True)
    wanted = answer(model)
    read, written = BATCH["attention_mask"], BATCH["decoder_attention_mask"]
    # Logits are sums of products of numbers above 1: 1e-5 of their size.
    scale = float(wanted.logits.abs().max())
    assert_close(found.logits / scale, wanted.logits / scale, written, "logits")
    encoder = [x for name, x in found.hidden_states.items() if name.startswith("encoder")]
    decoder = [x for name, x in found.hidden_states.items() if name.startswith("decoder")]
    for ours, theirs, real in (
        (encoder, wanted.encoder_hidden_states, read),
        (decoder, wanted.decoder_hidden_states, written),
    ):
        assert len(ours) == len(theirs)
        last = -1 if VARIANTS[kind].pre_norm else None  # theirs is behind the norm at the end
        for i, (x, y) in enumerate(zip(ours[:last], theirs[:last], strict=True)):
            assert_close(x, y, real, f"state {i}")


@pytest.mark.parametrize("kind", VARIANTS)
def test_states_without_a_head(tmp_path, kind):
    model = theirs_of(kind, "none")
    model.save_pretrained(tmp_path)
    config, params = load_pretrained(tmp_path)
    assert config.head == "none"
    found = run(config, params, batch=BATCH)
    options = {}
    if kind in ("marian", "pegasus"):  # which make no decoder's input of the source themselves
        shift = transformers.models.bart.modeling_bart.shift_tokens_right
        ids = torch.tensor(np.asarray(BATCH["input_ids"])).long()
        options["decoder_input_ids"] = shift(ids, 1, 2)
    wanted = answer(model, **options).last_hidden_state
    assert_close(found.hidden, wanted, BATCH["attention_mask"], "states")


@pytest.mark.parametrize("head", ["seq2seq", "none"])
@pytest.mark.parametrize("kind", VARIANTS)
def test_our_files_are_read_there_without_a_word(tmp_path, kind, head):
    theirs_of(kind, head).save_pretrained(tmp_path / "theirs")
    config, params = load_pretrained(tmp_path / "theirs")
    changed = jax.tree.map(lambda x: x + 0.01, params)
    if VARIANTS[kind].sinusoidal:
        for stack in ("encoder", "decoder"):
            changed[stack]["positions"] = params[stack]["positions"]
    save_pretrained(tmp_path / "ours", config, changed)
    auto = transformers.AutoModelForSeq2SeqLM if head == "seq2seq" else transformers.AutoModel
    for kind_of in (getattr(transformers, VARIANTS[kind].classes[head]), auto):
        model, told = kind_of.from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not any(told.values()), told
    if head == "none":
        return
    wanted = answer(model.eval()).logits
    found = run(config, changed, batch=BATCH).logits
    scale = float(wanted.abs().max())
    assert_close(found / scale, wanted / scale, BATCH["decoder_attention_mask"], "logits")


def test_logits_in_double_precision(tmp_path):
    """What is left of the differences is rounding."""
    with jax.enable_x64(True):
        model = theirs_of("mbart").double()
        model.float().save_pretrained(tmp_path)
        config, params = load_pretrained(tmp_path)
        config = config.replace(dtype="float64")
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        found, wanted = run(config, wide, batch=BATCH).logits, answer(model.double()).logits
        difference = np.asarray(found) - wanted.numpy()
        assert np.abs(difference[np.asarray(BATCH["label"]) >= 0]).max() < 1e-10
