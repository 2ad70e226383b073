"""Official files → TFDS datasets, and every way in which the files can be malformed."""

import json
import shutil

import pytest
import transformers

from bpjax.errors import UserError
from bpjax.tasks import get_task, official
from bpjax.tasks.prepare import prepare
from bpjax.tasks.source import Source, import_tfds

SST2 = {
    "train.tsv": "sentence\tlabel\na \"fine film \t1\nno 'wit' \t0\nétoile \t1\n",
    "dev.tsv": "\ufeffsentence\tlabel\r\ndull\t0\r\n",
    "test.tsv": "index\tsentence\n0\tuneasy mishmash\n1\tso so\n",
}

CONTEXT = "Anna was born in Paris. Tom was born in Rome."


def squad(answers, context=CONTEXT, identity="q1", question="Where was Tom born?"):
    qa = {"id": identity, "question": question, "answers": answers}
    paragraph = {"context": context, "qas": [qa]}
    return {"version": "1.1", "data": [{"title": "People", "paragraphs": [paragraph]}]}


@pytest.fixture(scope="module")
def tokenizer(minilm_dir):
    return transformers.AutoTokenizer.from_pretrained(minilm_dir)


ROME = [{"text": "Rome", "answer_start": 40}]


def write_sst2(folder, **changes):
    folder.mkdir(exist_ok=True)
    for name, text in {**SST2, **changes}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def write_squad(folder, train, dev=None):
    folder.mkdir(exist_ok=True)
    (folder / "train-v1.1.json").write_text(json.dumps(train))
    (folder / "dev-v1.1.json").write_text(json.dumps(dev or squad(ROME)))
    return folder


def read(dataset, data_dir, split):
    return Source(dataset, "task", str(data_dir), download=False).read(split)


def test_sst2_keeps_quotes_and_tolerates_a_byte_order_mark(tmp_path):
    prepare("sst2", write_sst2(tmp_path / "official"), tmp_path / "tfds")
    rows = sorted(read("glue/sst2", tmp_path / "tfds", "train"), key=lambda row: row["idx"])
    assert [(row["sentence"].decode(), row["label"]) for row in rows] == [
        ('a "fine film ', 1),
        ("no 'wit' ", 0),
        ("étoile ", 1),
    ]
    assert [r["sentence"] for r in read("glue/sst2", tmp_path / "tfds", "validation")] == [b"dull"]
    assert {row["label"] for row in read("glue/sst2", tmp_path / "tfds", "test")} == {-1}


def test_prepared_data_is_read_by_its_public_name(tmp_path):
    tfds = import_tfds()
    prepare("sst2", write_sst2(tmp_path / "official"), tmp_path)
    prepare("squad", write_squad(tmp_path / "official", squad(ROME)), tmp_path)
    source = tfds.data_source("glue/sst2", split="train", data_dir=tmp_path, download=False)
    assert len(source) == 3
    row = tfds.data_source("squad/v1.1", split="train", data_dir=tmp_path, download=False)[0]
    assert row["id"] == b"q1"
    assert row["title"] == b"People"
    assert row["answers"]["text"] == [b"Rome"]
    assert row["answers"]["answer_start"] == [40]
    # Nothing but the two datasets lies in the folder.
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"official", "glue", "squad"}


@pytest.mark.parametrize(("dataset", "task"), [("glue/sst2", "sst2"), ("squad/v1.1", "squad")])
def test_public_builders_give_the_same_rows_in_the_same_order(tmp_path, monkeypatch, dataset, task):
    """The download is replaced by the files; all else is TFDS's own code for the public name."""
    tfds = import_tfds()
    files = tmp_path / "official"
    many = "".join(f"sentence number {i} \t{i % 2}\n" for i in range(50))
    header = "sentence\tlabel\n"
    write_sst2(files, **{"train.tsv": header + many, "dev.tsv": header + "dull\t0\n"})
    document = squad(ROME)
    for i in range(30):
        document["data"] += squad(ROME, identity=f"x{i}")["data"]
    write_squad(files, document)

    def fetch(manager, urls):
        if isinstance(urls, dict) and "dev" in urls:
            return {"train": files / "train-v1.1.json", "dev": files / "dev-v1.1.json"}
        shutil.copytree(files, tmp_path / "zip" / "SST-2", dirs_exist_ok=True)
        return (
            {key: str(tmp_path / "zip") for key in urls}
            if isinstance(urls, dict)
            else str(tmp_path / "zip")
        )

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fetch)
    public = Source(dataset, task, str(tmp_path / "public"), download=True)
    prepare(task, files, tmp_path / "prepared")
    for split in ("train", "validation"):
        rows = read(dataset, tmp_path / "prepared", split)
        assert repr(public.read(split)) == repr(rows)
    ours = tfds.builder(dataset, data_dir=tmp_path / "prepared").info
    theirs = tfds.builder(dataset, data_dir=tmp_path / "public").info
    assert ours.full_name == theirs.full_name
    assert repr(ours.features) == repr(theirs.features)


def test_a_finished_dataset_is_never_overwritten(tmp_path):
    source = write_sst2(tmp_path / "official")
    prepare("sst2", source, tmp_path)
    with pytest.raises(UserError, match="never overwritten"):
        prepare("sst2", source, tmp_path)
    assert len(read("glue/sst2", tmp_path, "train")) == 3


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    source = write_sst2(tmp_path / "official", **{"dev.tsv": "sentence\tlabel\nx\t2\n"})
    data_dir = tmp_path / "tfds"
    with pytest.raises(UserError):
        prepare("sst2", source, data_dir)
    assert not data_dir.exists()

    write_sst2(source)
    with monkeypatch.context() as patch:
        tfds = import_tfds()

        def fail(*args, **kwargs):
            raise OSError(28, "No space left on device")

        patch.setattr(tfds.core.DatasetInfo, "write_to_directory", fail)
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
            prepare("sst2", source, data_dir)
    assert not list(data_dir.iterdir())
    prepare("sst2", source, data_dir)


def test_a_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare("sst2", write_sst2(tmp_path / "official"), tmp_path / "file")


def test_an_unknown_task_lists_the_tasks(tmp_path):
    with pytest.raises(UserError, match="expected one of sst2, squad"):
        prepare("sst3", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence\tlabel\ngood\t1\nbad\n", r"train.tsv line 3: 'bad' has 1 columns, expected 2"),
        ("sentence\tlabel\ngood\t1\tx\n", r"line 2: .* has 3 columns, expected 2"),
        ("sentence\tlabel\ngood\t7\n", r"line 2: label '7', expected 0 .* or 1"),
        ("sentence\tlabel\ngood\t\n", r"line 2: label ''"),
        ("sentence\ngood\n", r"line 1: header 'sentence' has no column 'label'"),
        ("sentence\tlabel\n", r"no rows"),
        ("", r"line 1: header '' has no column"),
    ],
)
def test_malformed_tsv(tmp_path, text, message):
    source = write_sst2(tmp_path, **{"train.tsv": text})
    with pytest.raises(UserError, match=message) as caught:
        official.read_sst2(source / "train.tsv", labelled=True)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"train.tsv: no such file"):
        prepare("sst2", tmp_path, tmp_path / "tfds")
    with pytest.raises(UserError, match=r"train-v1.1.json: no such file"):
        prepare("squad", tmp_path, tmp_path / "tfds")
    (tmp_path / "train.tsv").write_bytes(b"sentence\tlabel\n\xff\xfe\t1\n")
    with pytest.raises(UserError, match="byte 15 is not UTF-8"):
        official.read_sst2(tmp_path / "train.tsv", labelled=True)
    with pytest.raises(UserError, match="cannot be read"):
        official.read_sst2(tmp_path, labelled=True)


def without(document, *keys):
    """The document with the entry at the end of a path of keys removed."""
    entry = document
    for key in keys[:-1]:
        entry = entry[key]
    del entry[keys[-1]]
    return document


QA = ("data", 0, "paragraphs", 0, "qas", 0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (squad([]), r"question q1: answers is \[\], expected an answer"),
        (without(squad(ROME), *QA, "answers"), r"question q1: no 'answers'"),
        (without(squad(ROME), *QA, "question"), r"question q1: no 'question'"),
        (without(squad(ROME), *QA, "id"), r"a question of article 'People': no 'id'"),
        (without(squad(ROME), "data"), r"no 'data'"),
        ([1], r"\[1\]', expected an object"),
        (squad([{"text": "Berlin", "answer_start": 3}]), r"q1: answer 'Berlin' at character 3 is"),
        (squad([{"text": "", "answer_start": 3}]), r"q1: answer '' at character 3"),
        (squad([{"text": "Rome", "answer_start": "40"}]), r"answer_start is '40', expected int"),
        (squad([{"text": "Rome"}]), r"q1: no 'answer_start'"),
        (squad(ROME, context=None), r"paragraph 0: context is 'None', expected str"),
        (
            {"data": squad(ROME)["data"] + squad(ROME, question="Other?")["data"]},
            r"q1: another question has this id",
        ),
        ({"data": []}, "no questions"),
    ],
)
def test_malformed_squad(tmp_path, document, message):
    source = write_squad(tmp_path / "official", document)
    with pytest.raises(UserError, match=message) as caught:
        prepare("squad", source, tmp_path / "tfds")
    assert "\n" not in str(caught.value)
    assert "train-v1.1.json" in str(caught.value)
    assert not (tmp_path / "tfds").exists()


def test_squad_that_is_not_json(tmp_path):
    (tmp_path / "train-v1.1.json").write_text('{"data": [\n{]}')
    with pytest.raises(UserError, match=r"train-v1.1.json line 2: not JSON"):
        official.read_squad(tmp_path / "train-v1.1.json")


def test_a_misplaced_answer_moves_to_its_first_occurrence(tmp_path):
    answers = [{"text": "born", "answer_start": 5}, {"text": "born", "answer_start": 32}]
    source = write_squad(tmp_path, squad(answers))
    ((_, row),) = official.read_squad(source / "train-v1.1.json")
    assert row["answers"]["answer_start"] == [CONTEXT.index("born"), CONTEXT.rindex("born")]


def test_a_question_that_occurs_twice_is_one_row(tmp_path):
    document = {"data": squad(ROME)["data"] + squad([{"text": "Tom", "answer_start": 24}])["data"]}
    source = write_squad(tmp_path, document)
    ((_, row),) = official.read_squad(source / "train-v1.1.json")
    assert row["answers"]["text"] == ["Rome", "Tom"]


@pytest.mark.parametrize("task", ["sst2", "squad"])
def test_a_dataset_that_is_not_there(tmp_path, tokenizer, task):
    with pytest.raises(UserError, match=f"not in data_dir .*bpjax data prepare {task}") as caught:
        get_task(task, data_dir=str(tmp_path)).train(tokenizer)
    assert str(tmp_path) in str(caught.value)
