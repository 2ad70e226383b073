"""Live parity with PyTorch transformers: states, logits, gradients, and our files read there.

Run in an environment with the extra `torch`: `pytest tests/parity`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax import models

torch = pytest.importorskip("torch", reason="needs: pip install bpjax[torch]")
transformers = pytest.importorskip("transformers")

from bpjax.errors import UserError  # noqa: E402
from bpjax.exports.formats import export  # noqa: E402
from bpjax.models import bert, checkpoint  # noqa: E402
from bpjax.models import tokenizer as tokenizers  # noqa: E402
from bpjax.models.bert import BertConfig  # noqa: E402
from bpjax.models.bert.encoders import BERT, ENCODERS  # noqa: E402
from bpjax.models.heads import HEADS  # noqa: E402
from bpjax.training import evaluation  # noqa: E402

TINY = BertConfig(
    vocab_size=99,
    hidden_size=48,
    head_dim=12,
    heads=(4,) * 3,
    intermediate=(80,) * 3,
    max_positions=64,
)

TEXT = (
    "Why did the council keep the old mill?",
    "The mill stands where the two rivers meet, twelve miles north of the harbour.",
    "In 1871 a flood carried off its wheel, and for a generation nobody ground corn there.",
    "When the railway came, engineers proposed to clear the bank for a goods yard.",
    "The council voted against them by a single voice, that of the schoolmaster Edwin Marsh.",
    "He argued that the walls, four feet thick, were all that held the bank against the water.",
    "Surveyors sent from the capital agreed with him, although they doubted his arithmetic.",
    "A weir was added in 1904; its stones were taken from the ruined chapel on the hill.",
    "Since then the building has been a dairy, a dance hall and, briefly, a customs office.",
    "Today it houses a small museum, whose most popular exhibit is the schoolmaster's ledger.",
    "Visitors may still see the mark of the flood, cut into the door frame at shoulder height.",
)


def draw_batch(vocab_size, length, seed=0):
    """Three rows: one full, one padded, and one of a few tokens, all with two segments."""
    generator = np.random.default_rng(seed)
    lengths = np.array([length, length * 2 // 3, 5])[:, None]
    positions = np.arange(length)[None]
    mask = (positions < lengths).astype(np.int32)
    ids = generator.integers(1, vocab_size, (3, length)).astype(np.int32) * mask
    types = ((positions >= lengths // 2) * mask).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def read_batch(folder, sentences):
    """Two rows of English: a pair of segments, and one sentence with padding."""
    tokenizer = tokenizers.load_tokenizer(folder)
    rows = [tokenizer(TEXT[0], " ".join(TEXT[1:sentences])), tokenizer(TEXT[2])]
    return dict(tokenizer.pad(rows, return_tensors="np"))


def theirs(model, batch, **options):
    tensors = {name: torch.tensor(value).long() for name, value in batch.items()}
    return model.eval()(**tensors, **options)


def ours(config, params, batch, **options):
    arrays = {name: jnp.asarray(value) for name, value in batch.items()}
    return bert.Bert(config).apply({"params": params}, **arrays, **options)


def assert_close(left, right, batch, what):
    """At most 1e-5 apart wherever there is a real token; nobody reads the states of padding."""
    real = batch["attention_mask"].astype(bool)
    left, right = np.asarray(left), np.asarray(right.detach())
    if left.shape[:2] == real.shape:
        left, right = left[real], right[real]
    worst = np.abs(left - right).max()
    print(f"{what}: {worst:.1e} apart, values up to {np.abs(right).max():.2f}")
    assert worst <= 1e-5


def tiny_of(family):
    """The tiny model in a family, which has its own token types."""
    return TINY.replace(model_type=family, type_vocab_size=ENCODERS[family].token_types)


def draw_theirs(head, num_labels=3, family="bert"):
    """A random model of transformers, with biases and norms that are not the trivial ones."""
    torch.manual_seed(0)
    fields = bert.ARCHITECTURE.write(tiny_of(family))
    labels = HEADS[head].outputs(num_labels if head != "none" else 2)
    config = transformers.AutoConfig.for_model(**fields | {"num_labels": labels})
    model = getattr(transformers, ENCODERS[family].classes[head])(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def logits_of(head, outputs):
    """The logits in our layout: a span head's start and end stacked last."""
    if head == "span":
        return torch.stack([outputs.start_logits, outputs.end_logits], -1)
    return outputs.logits


@pytest.mark.parametrize("sentences", [3, len(TEXT)])  # attention has two forms, by length
def test_hidden_states_of_minilm(minilm_dir, sentences):
    model = transformers.BertModel.from_pretrained(minilm_dir)
    config, params = checkpoint.load_pretrained(minilm_dir)
    batch = read_batch(minilm_dir, sentences)
    length = batch["input_ids"].shape[1]
    assert (length > 160) == (sentences > 3)
    with torch.no_grad():
        expected = theirs(model, batch, output_hidden_states=True).hidden_states
    found = ours(config, params, batch, hidden_states=True).hidden_states.values()
    for i, (left, right) in enumerate(zip(found, expected, strict=True)):
        assert_close(left, right, batch, f"MiniLM, length {length}, states {i}")


def test_attention_of_minilm(minilm_dir):
    model = transformers.BertModel.from_pretrained(minilm_dir, attn_implementation="eager")
    config, params = checkpoint.load_pretrained(minilm_dir)
    batch = read_batch(minilm_dir, 3)
    with torch.no_grad():
        expected = theirs(model, batch, output_attentions=True).attentions
    arrays = {name: jnp.asarray(value) for name, value in batch.items()}
    scores = evaluation.apply(config, params, arrays, activations=True).attention_scores
    mask = batch["attention_mask"][:, None, None, :]
    assert len(scores) == len(expected) == 6
    for i, weights in enumerate(expected):
        found = jnp.where(mask > 0, scores[f"layer_{i}/attention"], -jnp.inf)
        found = jax.nn.softmax(found, axis=-1)
        assert np.abs(np.asarray(found) - np.asarray(weights)).max() < 1e-5


@pytest.mark.parametrize("head", ["span", "classification", "regression"])
def test_logits_of_minilm_with_our_head(tmp_path, minilm_dir, head):
    """A dense model that we save is loaded by transformers and gives the same logits."""
    config, params = checkpoint.load_pretrained(
        minilm_dir, head=head, num_labels=3, rng=jax.random.key(1)
    )
    checkpoint.save_pretrained(tmp_path / "model", config, params, minilm_dir)
    kind = getattr(transformers, BERT.classes[head])
    model, report = kind.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report.values()), report
    assert model.config.num_labels == config.num_labels
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("hello")["input_ids"] == [101, 7592, 102]

    batch = draw_batch(30522, 40)
    with torch.no_grad():
        expected = logits_of(head, theirs(model, batch))
    assert_close(ours(config, params, batch).logits, expected, batch, f"MiniLM, {head} logits")


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("head", ["none", "span", "classification", "regression", "tokens"])
def test_random_models_of_transformers(tmp_path, head, family):
    """A model that transformers saves is loaded by us, its head included, and the way back."""
    model = draw_theirs(head, family=family)
    problem = model.config.problem_type = "regression" if head == "regression" else None
    model.save_pretrained(tmp_path / "theirs")
    config, params = checkpoint.load_pretrained(tmp_path / "theirs", head="saved")
    labels = HEADS[head].outputs(3 if head != "none" else 2)
    expected = tiny_of(family).replace(head=head, num_labels=labels, problem_type=problem)
    assert config == expected
    checkpoint.save_pretrained(tmp_path / "ours", config, params)
    back, report = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report

    batch = draw_batch(99, 30)
    batch["token_type_ids"] %= max(config.type_vocab_size, 1)
    given = {k: v for k, v in batch.items() if (k, family) != ("token_type_ids", "distilbert")}
    with torch.no_grad():
        expected = theirs(model, given, output_hidden_states=True)
        returned = theirs(back, given)
    found = ours(config, params, batch, hidden_states=True)
    for i, (left, right) in enumerate(
        zip(found.hidden_states.values(), expected.hidden_states, strict=True)
    ):
        assert_close(left, right, batch, f"{family}, states {i}")
    if head != "none":
        assert_close(found.logits, logits_of(head, expected), batch, f"{family}, {head} logits")
        assert_close(found.logits, logits_of(head, returned), batch, f"{family}, {head} back")


@pytest.mark.parametrize("head", ["span", "classification"])
def test_gradients_of_every_parameter(tmp_path, head):
    model = draw_theirs(head)
    model.save_pretrained(tmp_path)
    config, params = checkpoint.load_pretrained(tmp_path, head="saved")
    batch = draw_batch(99, 30)
    # Real tokens only, and weights that tell the logits apart.
    real = batch["attention_mask"][..., None] if head == "span" else 1
    weight = np.random.default_rng(1).normal(size=(3, 30, 2) if head == "span" else (3, 3)) * real
    weight = weight.astype(np.float32)

    (logits_of(head, theirs(model, batch)) * torch.tensor(weight)).sum().backward()
    expected = {name: tensor.grad for name, tensor in model.named_parameters()}
    grads = jax.grad(lambda params: (ours(config, params, batch).logits * weight).sum())(params)

    for path, stored in bert.ARCHITECTURE.tensors(config).items():
        found = grads
        for part in path.split("/"):
            found = found[part]
        right = np.asarray(expected[stored.name])
        right = right.T if stored.turn == "transpose" else right
        scale = max(1.0, np.abs(right).max())
        assert np.abs(np.asarray(found) - right).max() <= 1e-5 * scale, path


@pytest.mark.parametrize("size", ["ragged", "fewer", "empty"])
def test_transformers_refuses_a_shrunken_model(tmp_path, size):
    """It must never fill a removed layer with random weights; the tokenizer stays usable."""
    config = {
        "ragged": TINY.replace(heads=(4, 0, 4), intermediate=(80, 80, 80)),
        "fewer": TINY.replace(heads=(2, 2, 2)),
        "empty": TINY.replace(heads=(0, 0, 0), intermediate=(0, 0, 0)),
    }[size]
    params = models.init(config, jax.random.key(0))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    checkpoint.save_pretrained(
        tmp_path / "model", config, params, tokenizers.load_tokenizer(tmp_path)
    )
    for kind in (transformers.AutoModel, transformers.BertModel):
        with pytest.raises(ZeroDivisionError):
            kind.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("hello")["input_ids"] == [2, 5, 3]


def run_theirs(model, family):
    """A batch that every family takes, and what transformers' model makes of it."""
    batch = draw_batch(99, 30)
    batch["token_type_ids"][:] = 0
    real = batch["attention_mask"] == 1
    batch["input_ids"] = np.where(real, np.maximum(batch["input_ids"], 2), 1).astype(np.int32)
    given = {k: v for k, v in batch.items() if (k, family) != ("token_type_ids", "distilbert")}
    with torch.no_grad():
        return batch, theirs(model, given)


@pytest.mark.parametrize(("form", "gone"), [("hf", 0), ("hf", 5), ("hf-padded", 0)])
@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("head", ["none", "span", "classification", "tokens"])
def test_transformers_loads_an_exported_model(tmp_path, family, head, form, gone):
    sizes = {"heads": (2, 0, 4), "intermediate": (7, 80, 0)}
    config = tiny_of(family).replace(head=head, num_labels=2, **sizes)
    if gone:  # dimensions of the hidden state
        config = config.replace(
            hidden_size=config.hidden_size - gone, pooler_size=config.hidden_size
        )
    params = models.init(config, jax.random.key(0))
    export(form, config, params, tmp_path, tmp_path / "model")
    auto = getattr(transformers, HEADS[head].auto_class)
    model, report = auto.from_pretrained(
        tmp_path / "model", trust_remote_code=form == "hf", output_loading_info=True
    )
    assert not any(report.values()), report
    count = sum(weight.numel() for weight in model.parameters())
    if form == "hf":
        assert count == sum(x.size for x in jax.tree.leaves(params))

    batch, expected = run_theirs(model, family)
    found = ours(config, params, batch)
    if head == "none":
        assert_close(found.hidden, expected.last_hidden_state, batch, f"{family}, {form}")
    else:
        assert_close(found.logits, logits_of(head, expected), batch, f"{family}, {form}")


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("sizes", [{}, {"heads": (2, 0, 4), "intermediate": (7, 80, 0)}])
def test_transformers_loads_a_model_without_layer_norms(tmp_path, family, sizes):
    config = tiny_of(family).replace(head="none", activation="relu", norm="affine", **sizes)
    params = models.init(config, jax.random.key(0))
    params = jax.tree.map(lambda x: 1.5 * x + 0.01, params)  # norms that do something
    export("hf", config, params, tmp_path, tmp_path / "model")
    model, report = transformers.AutoModel.from_pretrained(
        tmp_path / "model", trust_remote_code=True, output_loading_info=True
    )
    assert not any(report.values()), report
    batch, expected = run_theirs(model, family)
    assert_close(ours(config, params, batch).hidden, expected.last_hidden_state, batch, family)
    with pytest.raises(UserError, match="the model has affine norms, expected layer norms"):
        export("hf-padded", config, params, tmp_path, tmp_path / "padded")


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "none"), ("roberta", "span"), ("distilbert", "classification")]
)
def test_onnx_runtime_runs_an_exported_model(tmp_path, family, head):
    pytest.importorskip("onnxruntime", reason="needs: pip install bpjax[onnx]")
    sizes = {"heads": (2, 0, 4), "intermediate": (7, 80, 0)}
    config = tiny_of(family).replace(head=head, num_labels=2, **sizes)
    params = models.init(config, jax.random.key(0))
    found = export("onnx", config, params, tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.onnx"}
    assert "auto_map" not in (tmp_path / "out" / "config.json").read_text()  # no code to run
    assert found["max_abs_diff"] < 1e-5 and found["ms"] > 0
