"""A run of a model that writes texts: every stage, its report, and being killed on the way."""

import json
import signal

import numpy as np
import pytest
import small_run
from flax.traverse_util import unflatten_dict
from tasks.seq2seq_small import make_tokenizer

import bpjax
from bpjax import models
from bpjax.config import read_config, validate
from bpjax.errors import UserError
from bpjax.models.bart import BartConfig, Stack
from bpjax.models.checkpoint import save_pretrained
from bpjax.models.generation import Generation
from bpjax.pipeline import run
from bpjax.stages.inputs import check_inputs, prepare
from bpjax.training.scalars import read_scalars

WORDS = "one two three four five six seven eight"

CONFIG = """
from bpjax.config import default_config

def get_config():
    config = default_config(task="translation")
    config.model.source = {source!r}
    config.task.data, config.task.eval = {train!r}, {dev!r}
    config.task.max_length = config.task.max_target_length = 12
    config.batch.size, config.batch.eval_size = 16, 20
    for stage in (config.teacher, config.prune, config.fill):
        stage.epochs, stage.warmup_steps, stage.learning_rate = 1, 2, 1e-3
    config.prune.epochs = 2
    config.pruning.method, config.pruning.pattern = "movement", "hybrid"
    config.pruning.block = (4, 4)
    config.pruning.movement.binarizer = "top_k"
    config.prune.score_learning_rate = 0.1
    config.budget.kind, config.budget.value = "density", 0.5
    config.distillation.hidden.prune = config.distillation.attention.prune = 1.0
    config.distillation.replace.prune = 0.5
    config.generation.num_beams, config.generation.max_length = 2, 12
    config.measure.shapes, config.measure.rounds = ("2x8",), 3
    config.log_every, config.checkpoint_every = 1, 4
    return config
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config file of a run that learns to turn words round."""
    folder, tokenizer = tmp_path_factory.mktemp("writing"), make_tokenizer(WORDS)
    generator, words = np.random.default_rng(0), WORDS.split()
    for name, rows in (("train", 96), ("dev", 20)):
        drawn = [generator.choice(words, generator.integers(2, 7)) for _ in range(rows)]
        for ending, texts in (("en", drawn), ("de", [row[::-1] for row in drawn])):
            (folder / f"{name}.{ending}").write_text("".join(f"{' '.join(x)}\n" for x in texts))
    model = BartConfig(
        vocab_size=len(tokenizer),
        num_labels=len(tokenizer),
        hidden_size=8,
        encoder=Stack((2,), (12,), (), 4),
        decoder=Stack((2,), (12,), (2,), 4),
        max_positions=16,
        generation=Generation(
            decoder_start_token_id=2, eos_token_id=(2,), pad_token_id=1, forced_bos_token_id=0
        ),
    )
    params = {
        path: (
            np.full(tensor.shape, float(path.endswith("scale")), np.float32)
            if path.endswith(("bias", "scale"))
            else generator.normal(scale=0.3, size=tensor.shape).astype(np.float32)
        )
        for path, tensor in models.architecture(model).tensors(model).items()
    }
    save_pretrained(folder / "model", model, unflatten_dict(params, sep="/"), tokenizer)
    pairs = [f"{folder}/{name}.en,{folder}/{name}.de" for name in ("train", "dev")]
    path = folder / "config.py"
    path.write_text(CONFIG.format(source=str(folder / "model"), train=pairs[0], dev=pairs[1]))
    return path


@pytest.fixture(scope="module")
def workdir(config):
    """Of a run that nobody interrupted."""
    run(read_config(str(config), []), config.parent / "run", "bpjax run")
    return config.parent / "run"


def test_the_report_tells_what_was_written_and_the_stacks_apart(workdir):
    report = json.loads((workdir / "report.json").read_text())
    assert {"bleu", "chrf"} <= report["pruned"]["metrics"].keys()
    assert report["equivalence"]["max_abs_diff"] < 1e-4
    assert report["equivalence"]["examples"] == 20
    assert report["equivalence"]["predictions_changed"] == 0
    # All are of the beams that the config asks for, not of those while a stage trains.
    assert report["shrunken"] == {name: report["masked"][name] for name in report["shrunken"]}
    stacks = report["pruned"]["linear_params_by_stack"]
    assert stacks.keys() == {"encoder", "decoder"}
    assert sum(stacks.values()) == report["pruned"]["linear_params"]
    assert report["pruned"]["linear_params"] < report["dense"]["linear_params"]
    assert "of the decoder" in (workdir / "report.html").read_text()
    losses = [row for row in read_scalars(workdir) if row["stage"] == "prune" and "loss" in row]
    assert all({"hidden", "attention", "distillation", "task_loss"} <= row.keys() for row in losses)


def test_lengths_and_heads_that_do_not_fit_are_refused(config, small_model):
    def refused(saying, *overrides):
        typed = validate(read_config(str(config), [f"--config.{x}" for x in overrides]))
        with pytest.raises(UserError, match=saying):
            check_inputs(prepare(typed), typed)

    refused(
        f"{small_model} is of type bert, for which bpjax has no seq2seq head: expected one of bart",
        f"model.source={small_model}",
    )
    refused(
        "largest bucket, 4; add bucket [0-9]+ to target_buckets or lower max_target_length",
        "batch.target_buckets=(4,)",
    )
    refused("40 tokens in a row: expected at most 16", "generation.max_length=40")
    refused("20 tokens in a row: expected at most 16", "batch.target_buckets=(20,)")
    refused(
        "packing is 12, with bart: expected an encoder of BERT's family; set batch.packing to 0",
        "batch.packing=12",
    )


def test_what_came_out_writes_and_is_evaluated(workdir):
    model = workdir / "fill" / "model"
    (answer,) = bpjax.load(model).predict(["one two three"])
    assert set(answer["text"].split()) <= set(WORDS.split())
    data = read_config(str(workdir.parent / "config.py"), []).task
    found = bpjax.evaluate(model, "translation", data=data.data, eval=data.eval)
    assert 0 <= found["bleu"] <= 100


def test_a_killed_run_goes_on_to_the_same_end(config, workdir, tmp_path):
    process = small_run.start(config, tmp_path / "killed", end_by=signal.SIGKILL)
    process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "prune" / "done.json").exists()
    run(read_config(str(config), []), tmp_path / "killed", "bpjax run")
    assert read_scalars(tmp_path / "killed") == read_scalars(workdir)
    for file in ("prune/params", "prune/scores", "prune/masks", "fill/model/model"):
        parts = [folder / f"{file}.safetensors" for folder in (workdir, tmp_path / "killed")]
        assert parts[0].read_bytes() == parts[1].read_bytes(), file
