"""The functions of `import bpjax`: their examples run, and they refuse what they cannot do."""

import doctest
import inspect
import json

import jax
import numpy as np
import pytest
from checkpoints import refused
from small_run import SMALL, TOKENIZER, save_model

import bpjax
from bpjax.api.prune import Masked
from bpjax.config import read_task_options
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.sources import CARD
from bpjax.prediction.model import Model
from bpjax.pruning.methods import METHODS
from bpjax.pruning.summary import summarize
from bpjax.tasks import TASKS

TEXTS = ["the old mill", "a painting of the village and the river", "the team"]
NAMES = [*bpjax._PLACES]


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    """A working folder with the models of a finished `make quickstart`, though smaller ones."""
    monkeypatch.chdir(tmp_path)
    span = SMALL.replace(head="span")
    save_model(tmp_path / "runs/quickstart/teacher/model", span)
    save_model(tmp_path / "runs/quickstart/fill/model", span.replace(intermediate=(8, 0)))


@pytest.fixture
def classifier(tmp_path):
    config = SMALL.replace(head="classification", num_labels=3, labels=("bad", "so so", "good"))
    return bpjax.load(save_model(tmp_path / "classifier", config))


def scores(model):
    return np.array([[*answer["scores"].values()] for answer in model.predict(TEXTS)])


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(name, quickstart, minilm_dir):
    del quickstart, minilm_dir  # which the examples name
    text = getattr(bpjax, name).__doc__
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    printed = []
    found = doctest.DocTestRunner().run(example, out=printed.append)
    assert found.attempted > 1 and not found.failed, "".join(printed)


@pytest.mark.parametrize("name", NAMES)
def test_is_documented_and_typed(name):
    function = getattr(bpjax, name)
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert f"\n{part}\n" in inspect.cleandoc(function.__doc__), part
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Parameter.empty
    for each in signature.parameters.values():
        assert each.annotation is not inspect.Parameter.empty
        assert f"{each.name}: " in function.__doc__


def test_no_option_of_a_task_is_an_argument_of_evaluate():
    own = inspect.signature(bpjax.evaluate).parameters
    for task in TASKS:
        assert not {*own} & {*read_task_options(task, [])}


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("magnitude", "hybrid"),
        ("group_lasso", "block"),
        ("activation", "struct"),
        ("fisher", "hybrid"),
    ],
)
def test_a_masked_model_and_what_it_leaves_say_the_same(classifier, method, pattern):
    data = TEXTS if method in ("activation", "fisher") else None
    masked = bpjax.mask(
        classifier, density=0.3, pattern=pattern, method=method, block=(8, 8), data=data
    )
    assert isinstance(masked, Masked) and masked.config == classifier.config
    parts = summarize(masked.params, bpjax.describe(masked))
    left = sum(x.nonzero for x in parts) / sum(x.weights for x in parts)
    assert left <= 0.32 and abs(scores(masked) - scores(classifier)).max() > 1e-4
    small = bpjax.shrink(masked)
    np.testing.assert_allclose(scores(small), scores(masked), rtol=1e-4)
    sizes = [
        sum(x.size for x in jax.tree.leaves(each.params)) for each in (small, masked, classifier)
    ]
    assert sizes[0] <= sizes[1] == sizes[2] and (pattern != "struct" or sizes[0] < sizes[1])


def test_all_or_nothing_is_left(classifier):
    whole = bpjax.shrink(bpjax.mask(classifier, density=1))
    assert bpjax.describe(whole) == bpjax.describe(classifier)
    np.testing.assert_array_equal(scores(whole), scores(classifier))
    nothing = bpjax.shrink(bpjax.mask(classifier, density=0, block=(8, 8)))
    assert {each.units for each in bpjax.describe(nothing).sublayers} == {0}
    rounded = bpjax.shrink(bpjax.mask(classifier, density=0.1), round_to=8)
    assert [x.units for x in bpjax.describe(rounded).sublayers if x.kind == "ffn"] == [8, 8]


def test_zeros_of_ones_own_are_removed(classifier):
    config, params = classifier
    params = jax.tree.map(lambda x: x, params)
    kernel = params["layer_0"]["ffn"]["out"]["kernel"]
    params["layer_0"]["ffn"]["out"]["kernel"] = kernel.at[:20].set(0)
    zeros = Model(config, params, classifier.source)
    small = bpjax.shrink(zeros)
    assert [x.units for x in bpjax.describe(small).sublayers if x.kind == "ffn"] == [12, 32]
    np.testing.assert_allclose(scores(small), scores(zeros), rtol=1e-5)


def test_a_smaller_model_keeps_tokenizer_and_labels(classifier, tmp_path):
    (classifier.source / CARD).write_text("100% accurate, as it was")
    small = bpjax.shrink(bpjax.mask(classifier))
    folder = bpjax.save(tmp_path / "small", small)
    assert bpjax.load(folder).predict(TEXTS) == small.predict(TEXTS)
    assert not (folder / CARD).exists()
    bpjax.export(small, "hf", tmp_path / "exported")
    assert bpjax.load(tmp_path / "exported").predict(TEXTS) == small.predict(TEXTS)
    assert not (tmp_path / "exported" / CARD).exists()
    bpjax.export(folder, "hf-padded", str(tmp_path / "padded"))
    padded = bpjax.predict(tmp_path / "padded", TEXTS)
    assert [x["label"] for x in padded] == [x["label"] for x in small.predict(TEXTS)]


def test_save_takes_a_config_and_parameters_too(classifier, tmp_path):
    config, params = classifier
    folder = bpjax.save(tmp_path / "a", config, params)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    folder = bpjax.save(tmp_path / "a", config, params, TOKENIZER, overwrite=True)
    assert bpjax.predict(folder, TEXTS) == classifier.predict(TEXTS)
    with refused("is not empty: expected a new folder"):
        bpjax.save(folder, classifier)
    for given in ((config,), (classifier, params)):
        with pytest.raises(ValueError, match="expected with a config, and not with a Model"):
            bpjax.save(tmp_path / "b", *given)
    bare = Model(config, params)
    bpjax.save(tmp_path / "c", bare)
    with refused("the model has no source: expected a folder, package or hub name"):
        bare.predict(TEXTS)
    assert load_pretrained(tmp_path / "c")[0] == config


def test_a_model_in_memory_is_evaluated_as_its_folder_is(tmp_path):
    model = bpjax.load(save_model(tmp_path / "span", SMALL.replace(head="span")))
    given = {"task": "embedded", "eval_size": 12, "batch_size": 5}
    assert bpjax.evaluate(model, **given) == bpjax.evaluate(model.source, **given)


def test_metrics_come_with_the_classes(classifier, tmp_path):
    files = {}
    for option, word in (("data", "mill"), ("eval", "river")):
        labels = ["bad", "good", "so so", "good"] * 3
        rows = [{"text": f"the {word} {i}", "label": label} for i, label in enumerate(labels)]
        table = tmp_path / f"{option}.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[option] = str(table)
    found = bpjax.evaluate(classifier, "text", **files)
    assert {*found["classes"]} == {"bad", "so so", "good"} and 0 <= found["accuracy"] <= 100
    with refused("option 'dta' of task text: expected one of"):
        bpjax.evaluate(classifier, "text", dta="rows.csv")
    with refused("has a classification head of 3 outputs"):
        bpjax.evaluate(classifier, "embedded")


def test_one_model_is_timed_or_two(classifier):
    (found,) = bpjax.benchmark(classifier, shapes=["2x8"], rounds=2).values()
    assert found.ms > 0 and found.against_ms is None and found.speedup is None
    small = bpjax.shrink(bpjax.mask(classifier, pattern="struct"))
    times = bpjax.benchmark(small, classifier.source, shapes=["2x8", "1x16"], rounds=2)
    assert [*times] == ["2x8", "1x16"]
    assert all(x.speedup == x.against_ms / x.ms for x in times.values())
    for shape in ("8by8", "8x0"):
        with refused(f"shape '{shape}': expected BATCHxLENGTH"):
            bpjax.benchmark(classifier, shapes=[shape])
    with refused("input of 161 tokens: expected at most 160"):
        bpjax.benchmark(classifier, shapes=["1x161"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 1.5}, "density 1.5: expected a fraction from 0 to 1"),
        ({"density": float("nan")}, "density nan: expected a fraction from 0 to 1"),
        ({"pattern": "hybird"}, "pattern 'hybird': expected one of block, hybrid"),
        ({"method": "magnitud"}, "method 'magnitud': expected one of movement, magnitude"),
        (
            {"method": "movement"},
            "method movement learns its scores in training: expected one of magnitude, "
            "group_lasso, or with data activation, fisher; choose one",
        ),
        ({"method": "l0"}, "method l0 learns its scores in training"),
        ({"method": "cofi", "pattern": "cofi"}, "method cofi learns its scores in training"),
        ({"pattern": "cofi"}, "method magnitude: the pattern is cofi"),
        (
            {"method": "activation"},
            "method activation reads data: expected data=texts, or one of magnitude, group_lasso",
        ),
        (
            {"method": "fisher", "pattern": "struct"},
            "method fisher reads data: expected data=texts",
        ),
        ({"method": "fisher", "data": TEXTS}, "expected .*block"),  # 32 × 32 in heads of 8
        (
            {"data": TEXTS},
            "method magnitude reads no data: expected none, or one of activation, fisher",
        ),
        ({"method": "activation", "data": []}, "no texts: expected at least one"),
        ({"method": "activation", "data": "the mill"}, "texts is one text, 'the mill': expected a"),
        ({"method": "activation", "data": ["a", " "]}, "row 1 is blank"),
    ],
)
def test_what_cannot_be_masked_is_refused(classifier, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        bpjax.mask(classifier, **options)
    assert "\n" not in str(caught.value)


def test_every_method_masks_or_says_why_not(classifier):
    for method in METHODS:
        for data in (None, TEXTS):
            try:
                masked = bpjax.mask(classifier, method=method, block=(8, 8), data=data)
            except ValueError as error:
                assert f"method {method}" in str(error)
            else:
                assert isinstance(masked, Masked)
