"""Official files → TFDS datasets, and every way in which the files can be malformed."""

import json

import pytest
import transformers
from glue_small import FOLDERS, write_glue
from hypothesis import given
from hypothesis import strategies as st

from bpjax.errors import UserError
from bpjax.tasks import get_task, official
from bpjax.tasks.glue_files import FILES
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


def test_a_sentence_is_kept_to_the_character(tmp_path, tokenizer):
    """Also an empty one, and the spelling of half a surrogate pair, which are six characters."""
    sentences = [
        "",
        " ",
        "\u200b",
        "good\0bad\0",
        '"',
        "\\ud83d",
        "a\x85b\u2028c\x0b",
        "\ufeffx",
        "é",
    ]
    lines = "".join(f"1\t{i}\t{sentence}\r\n" for i, sentence in enumerate(sentences))
    source = write_sst2(tmp_path / "official", **{"train.tsv": f"label\tid\tsentence\r\n{lines}"})
    prepare("sst2", source, tmp_path)
    rows = sorted(read("glue/sst2", tmp_path, "train"), key=lambda row: row["idx"])
    assert [row["sentence"].decode() for row in rows] == sentences
    features = get_task("sst2", data_dir=str(tmp_path)).train(tokenizer)
    assert features.lengths.min() == 2 and len(features) == len(sentences)


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


def squad_v2_files(folder):
    document = squad([], identity="none")
    document["data"] += squad(ROME)["data"]
    for number, article in enumerate(document["data"]):
        (entry,) = article["paragraphs"][0]["qas"]
        entry |= {"is_impossible": not number, "plausible_answers": [] if number else ROME}
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}-v2.0.json").write_text(json.dumps(document))
    return folder


def squad_files(folder):
    document = squad(ROME)
    for i in range(30):
        document["data"] += squad(ROME, identity=f"x{i}")["data"]
    return write_squad(folder, document)


SQUAD = {"squad": ("v1.1", squad_files), "squad_v2": ("v2.0", squad_v2_files)}


# MRPC's public builder starts from other files than GLUE's, so its rows come in another order.
@pytest.mark.parametrize("task", ["squad", "squad_v2", *(name for name in FILES if name != "mrpc")])
def test_public_builders_give_the_same_rows_in_the_same_order(tmp_path, monkeypatch, task):
    """The download is replaced by the files; all else is TFDS's own code for the public name."""
    tfds = import_tfds()
    if task in SQUAD:
        version, write = SQUAD[task]
        files = write(tmp_path / "official")
        fetched = {name: files / f"{name}-{version}.json" for name in ("train", "dev")}
    else:
        files = write_glue(task, tmp_path / "zip" / FOLDERS[task], rows=40)
        fetched = str(tmp_path / "zip")
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda manager, urls: fetched
    )
    dataset = f"squad/{version}" if task in SQUAD else f"glue/{task}"
    public = Source(dataset, task, str(tmp_path / "public"), download=True)
    public.read("train")
    prepare(task, files, tmp_path / "prepared")
    ours = tfds.builder(dataset, data_dir=tmp_path / "prepared").info
    theirs = tfds.builder(dataset, data_dir=tmp_path / "public").info
    assert ours.full_name == theirs.full_name
    assert repr(ours.features) == repr(theirs.features)
    assert set(ours.splits) == set(theirs.splits)
    for split in ours.splits:
        rows = read(dataset, tmp_path / "prepared", split)
        assert repr(public.read(split)) == repr(rows)


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
    with pytest.raises(UserError, match="expected one of cola, sst2, mrpc"):
        prepare("sst3", tmp_path, tmp_path)


STSB = "sentence1\tsentence2\tscore\n"


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("sst2", "sentence\tlabel\ngood\t1\nbad\n", "tsv line 3: 'bad' has 1 columns, expected 2"),
        ("sst2", "sentence\tlabel\ngood\t1\tx\n", "line 2: .* has 3 columns, expected 2"),
        ("sst2", "sentence\tlabel\ngood\t7\n", r"line 2: label '7', expected 0 \(negative\) or 1"),
        ("sst2", "sentence\tlabel\ngood\t\n", "line 2: label ''"),
        ("sst2", "sentence\ngood\n", "line 1: header 'sentence' has no column 'label'"),
        ("sst2", "sentence\tlabel\n", "no rows"),
        ("sst2", "", "line 1: header '' has no column"),
        ("cola", "gj04\t1\t\tIt is.\ngj04\t1\n", "line 2: .* has 2 columns, expected 4"),
        ("stsb", f"{STSB}A\tB\tmuch\n", "line 2: score 'much', expected a number from 0 to 5"),
        ("stsb", f"{STSB}A\tB\t5.25\n", "line 2: score '5.25', expected a number from 0 to 5"),
        ("stsb", f"{STSB}A\tB\t0\nA\tB\t-0.5\n", "line 3: score '-0.5', expected"),
        ("stsb", f"{STSB}A\tB\tnan\n", "line 2: score 'nan', expected"),
        ("stsb", f"{STSB}A\tB\tinf\n", "line 2: score 'inf', expected"),
        ("stsb", f"{STSB}A\tB\t\n", "line 2: score '', expected"),
        ("sst2", "sentence\tlabel\tlabel\ngood\t1\t0\n", "has two columns 'label'; expected one"),
        ("sst2", "sentence\tlabel\rgood\t1\rbad\t0\r", "line 1: header .* has no column 'label'"),
        ("sst2", "s\0e\0n\0\t\0l\0\n\0", "has no column 'sentence'"),
        ("mnli", "sentence1\tsentence2\tgold_label\nA\tB\t-\n", "'-', expected entailment or neu"),
        ("rte", "sentence1\tsentence2\tlabel\nA\tB\t1\n", "'1', expected entailment or not_entail"),
        ("qqp", "question1\tquestion2\tis_duplicate\nA\tB\t1\tC\n", "has 4 columns, expected 3"),
    ],
)
def test_malformed_tsv(tmp_path, task, text, message):
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        FILES[task].read_split(tmp_path / "train.tsv", "train")
    assert "\n" not in str(caught.value)


def test_rows_that_the_official_files_cut_short_are_left_out(tmp_path):
    source = write_glue("qqp", tmp_path)
    path = source / "train.tsv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:3], "2\t3\t4\tWhy is it", *lines[4:]]))
    rows = FILES["qqp"].read_split(path, "train")
    # Their place is counted all the same: it is the public builder's key.
    assert [key for key, _ in rows] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("task", "folder", "counts", "label"),
    [
        ("cola", "CoLA", (8551, 1043, 1063), 6023),
        ("mrpc", "MRPC", (3668, 408, 1725), 2474),
        ("rte", "RTE", (2490, 277, 3000), 1241),
        ("stsb", "STS-B", (5749, 1500, 1379), 15528.04),
    ],
)
def test_real_glue_files(shared_data, task, folder, counts, label):
    splits = FILES[task].read(shared_data / "glue" / folder)
    assert tuple(len(splits[name]) for name in ("train", "validation", "test")) == counts
    assert sum(row["label"] for _, row in splits["train"]) == pytest.approx(label, abs=1)
    assert {row["label"] for _, row in splits["test"]} == {-1}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"train.tsv: no such file"):
        prepare("sst2", tmp_path, tmp_path / "tfds")
    with pytest.raises(UserError, match=r"train-v1.1.json: no such file"):
        prepare("squad", tmp_path, tmp_path / "tfds")
    (tmp_path / "train.tsv").write_bytes(b"sentence\tlabel\n\xff\xfe\t1\n")
    with pytest.raises(UserError, match="byte 15 is not UTF-8"):
        FILES["sst2"].read_split(tmp_path / "train.tsv", "train")
    with pytest.raises(UserError, match="cannot be read"):
        FILES["sst2"].read_split(tmp_path, "train")


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
        (squad([{"text": "Rome", "answer_start": True}]), r"q1: answer_start is 'True', expected"),
        (
            squad([{"text": "Rome", "answer_start": 4.0}]),
            r"q1: answer_start is '4.0', expected int",
        ),
        (squad(ROME, identity=7), r"a question of article 'People': id is '7', expected str"),
        (squad([], identity="a\nb"), r"question 'a\\nb': answers is \[\]"),
        # An answer that shows nothing, whether it is in its passage or not.
        (squad([{"text": " ", "answer_start": 4}]), r"q1: answer ' ' at character 4 is blank"),
        (squad([{"text": "\n\t", "answer_start": 4}]), r"q1: answer '\\n\\t' .* is blank"),
        (
            squad([{"text": "\u200b", "answer_start": 0}], "\u200b"),
            r"'\\u200b' .* is blank, expected",
        ),
        (squad([{"text": "Rome", "answer_start": 0}], " "), r"'Rome' at character 0 is not in its"),
        # Text cut in the middle of an emoji.
        (squad(ROME, CONTEXT + "\ud83d"), r"q1: context has '\\ud83d' at character 45, half of a"),
        (squad(ROME, question="Who\ude00?"), r"q1: question has '\\ude00' at character 3, half"),
        (squad(ROME, identity="q\ud83d"), r"question 'q\\ud83d': id has '\\ud83d' at character 1"),
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


@pytest.mark.parametrize(
    ("answers", "impossible", "message"),
    [
        ([], False, "is_impossible is False with 0 answers, expected answers where"),
        (ROME, True, "is_impossible is True with 1 answers"),
        (ROME, "no", "is_impossible is 'no', expected bool"),
    ],
)
def test_malformed_squad_v2(tmp_path, answers, impossible, message):
    document = squad(answers)
    document["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"] = impossible
    (tmp_path / "train-v2.0.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as caught:
        official.read_squad_v2(tmp_path / "train-v2.0.json")
    assert "\n" not in str(caught.value)


def test_squad_that_is_not_json(tmp_path):
    (tmp_path / "train-v1.1.json").write_text('{"data": [\n{]}')
    with pytest.raises(UserError, match=r"train-v1.1.json line 2: not JSON"):
        official.read_squad(tmp_path / "train-v1.1.json")


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("born", 9, 9),
        ("born", 32, 32),
        ("born", 5, 9),
        ("born", 31, 32),  # a blank before it was counted
        ("born", 34, 32),
        ("born", 20, 9),
        ("born", 21, 32),
        ("born", -1, 9),
        ("born", 10**12, 32),
        (" born ", 31, 31),
    ],
)
def test_a_misplaced_answer_moves_to_its_nearest_occurrence(text, start, found):
    assert official.locate(text, start, CONTEXT, "q1") == found


@given(st.text("ab", min_size=1, max_size=9), st.data())
def test_an_answer_is_where_it_is_said_to_be(context, data):
    begin = data.draw(st.integers(0, len(context) - 1))
    text = context[begin : data.draw(st.integers(begin + 1, len(context)))]
    assert official.locate(text, begin, context, "q1") == begin
    start = data.draw(st.integers(-3, 12))
    places = [i for i in range(len(context)) if context.startswith(text, i)]
    nearest = min(places, key=lambda place: abs(place - start))
    assert official.locate(text, start, context, "q1") == nearest


def test_a_whole_surrogate_pair_a_byte_order_mark_and_other_line_ends(tmp_path):
    written = json.dumps(
        squad([{"text": "\U0001f600 Rome", "answer_start": 2}], "a \U0001f600 Rome")
    )
    assert "\\ud83d\\ude00" in written
    path = tmp_path / "train-v1.1.json"
    path.write_bytes(b"\xef\xbb\xbf" + written.replace("{", "{\r\n").encode())
    ((_, row),) = official.read_squad(path)
    assert row["context"] == "a \U0001f600 Rome" and row["answers"]["answer_start"] == [2]


@pytest.mark.parametrize("context", ["", "  \n ", "\u200b"])
def test_nothing_can_be_answered_of_a_blank_passage(tmp_path, tokenizer, context):
    document = squad([], context)
    document["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"] = True
    for name in ("train", "dev"):
        (tmp_path / f"{name}-v2.0.json").write_text(json.dumps(document))
    prepare("squad_v2", tmp_path, tmp_path)
    (window,) = get_task("squad_v2", data_dir=str(tmp_path)).evaluation(tokenizer).examples
    assert window.example.context == context and not len(window.offsets)


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
