"""Classes go by their names, whatever the order in which dataset, model and teacher number them."""

import json

import numpy as np
import pytest
from checkpoints import refused
from glue_small import write_glue
from small_run import SMALL, TOKENIZER, save_model

from bpjax.config import default_config, validate
from bpjax.models.checkpoint import load_pretrained
from bpjax.models.tokenizer import load_tokenizer
from bpjax.stages.inputs import check_inputs, prepare
from bpjax.stages.opened import fitted
from bpjax.tasks import get_task
from bpjax.tasks.glue_files import FILES
from bpjax.tasks.prepare import prepare as prepare_files

DATASETS = FILES["mnli"].labels
MODELS = ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")
NLI = SMALL.replace(head="classification", num_labels=3, labels=MODELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnli")
    prepare_files("mnli", write_glue("mnli", folder / "official"), folder / "data")
    return str(folder / "data")


def inputs_of(data, source, **fields):
    config = default_config(task="mnli")
    config.model.source, config.task.data_dir = str(source), data
    config.batch.size = 2
    config.measure.shapes = ("1x16",)
    config.update_from_flattened_dict(fields)
    typed = validate(config)
    inputs = prepare(typed)
    check_inputs(inputs, typed)
    return inputs, typed


def gold(task, features):
    return [task.labels[label].casefold() for label in features.columns["label"].values]


def test_a_new_head_of_several_labels_begins_with_their_shares(tmp_path):
    """Where they are rare; begun at one half, a short stage learns little else (GoEmotions)."""
    save_model(tmp_path / "model", SMALL)
    rows = ["a,new", "b,new old", "c,", "d,", "e,new", "f,"]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    config = default_config(task="text")
    config.model.source = str(tmp_path / "model")
    config.task.data = config.task.eval = str(tmp_path / "train.csv")
    config.task.allow_overlap = True
    config.task.separator = " "
    typed = validate(config)
    _, params = prepare(typed).pretrained(typed.model, seed=0)
    np.testing.assert_allclose(params["head"]["bias"], np.log([4 / 4, 2 / 6]), rtol=1e-6)


def test_a_model_in_another_order_is_evaluated_by_names(data, tmp_path):
    save_model(tmp_path, NLI)
    tokenizer, plain = load_tokenizer(TOKENIZER), get_task("mnli", data_dir=data)
    task = fitted(plain, tmp_path, NLI, tokenizer)
    assert [name.upper() for name in task.labels] == [*MODELS]
    features = task.evaluation(tokenizer)
    right = [np.eye(3)[label] for label in features.columns["label"].values]
    assert set(task.evaluate(features, right).values()) == {100.0}
    wrong = [np.roll(row, 1) for row in right]
    assert set(task.evaluate(features, wrong).values()) == {0.0}
    # The same rows, and the dataset's own numbers.
    before = plain.evaluation(tokenizer)
    assert gold(task, features) == gold(plain, before)
    assert before.examples == features.examples


def test_a_run_numbers_the_classes_as_its_model_does(data, tmp_path):
    save_model(tmp_path / "model", NLI)
    save_model(tmp_path / "teacher", NLI.replace(labels=DATASETS))
    inputs, config = inputs_of(
        data, tmp_path / "model", **{"teacher.source": str(tmp_path / "teacher")}
    )
    assert [name.upper() for name in inputs.task.labels] == [*MODELS]
    model, params = inputs.pretrained(config.model, config.seed)
    assert model.labels == MODELS
    own = load_pretrained(tmp_path / "model")[1]["head"]["kernel"]
    np.testing.assert_array_equal(params["head"]["kernel"], own)
    teacher, params = inputs.finished(config.teacher.source)
    assert [name.upper() for name in teacher.labels] == [*MODELS]
    order = [DATASETS.index(name) for name in teacher.labels]
    kernel = load_pretrained(tmp_path / "teacher")[1]["head"]["kernel"]
    np.testing.assert_array_equal(params["head"]["kernel"], kernel[:, order])


def test_a_new_head_gets_the_datasets_names(data, tmp_path):
    save_model(tmp_path / "a", SMALL)
    save_model(tmp_path / "b", NLI.replace(labels=("good", "bad", "ugly")))
    for folder in ("a", "b"):
        inputs, config = inputs_of(data, tmp_path / folder)
        model, params = inputs.pretrained(config.model, config.seed)
        assert inputs.task.labels == model.labels == DATASETS
        assert model.problem_type == "single_label_classification"
        assert not params["head"]["bias"].any()


@pytest.mark.parametrize("labels", [("good", "bad", "ugly"), ()])
def test_other_names_are_refused_and_none_are_taken_at_their_number(data, tmp_path, labels):
    model = NLI.replace(labels=labels)
    save_model(tmp_path, model)
    tokenizer, plain = load_tokenizer(TOKENIZER), get_task("mnli", data_dir=data)
    if not labels:
        assert fitted(plain, tmp_path, model, tokenizer) == plain
        assert "LABEL_2" in json.loads((tmp_path / "config.json").read_text())["label2id"]
        return
    with refused(r"head of 3 outputs \(good, bad, ugly\): task mnli expects classification of 3"):
        fitted(plain, tmp_path, model, tokenizer)
    with refused("its labels are good, bad, ugly: expected entailment, neutral, contradiction"):
        inputs_of(data, tmp_path, **{"teacher.source": str(tmp_path)})
