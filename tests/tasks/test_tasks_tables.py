"""A user's tables: every cell as it is written, or one line that names the line and the mend."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bpjax.errors import UserError
from bpjax.tasks import get_task
from bpjax.tasks.table_labels import Asked, read_labels
from bpjax.tasks.table_source import read_table
from bpjax.tasks.table_splits import split_off
from bpjax.tasks.tables import Layout, Table, find_column


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives its path; lines of a string end as they do in it."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, **layout):
    def choose(names):
        return {name: find_column(path, names, name, name, ())[0] for name in ("text", "label")}

    return read_table(path, choose, Layout(**layout))


def refused(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


ODD = 'a "b", c\n  d\u2028é 🙂\x00'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.csv",
            'text,x,label\r\n007,,NA\r\nnull,1,None\r\n"a ""b"", c\n  d\u2028é 🙂\x00",2,x\r\n',
        ),
        (
            "b.csv",
            '\ufefftext,x,label\n007,,NA\n\nnull,1,None\n"a ""b"", c\n  d\u2028é 🙂\x00",2,x',
        ),
        (
            "c.tsv",
            'text\tx\tlabel\n007\t\tNA\nnull\t1\tNone\n"a ""b"", c\n  d\u2028é 🙂\x00"\t2\tx\n',
        ),
        (
            "d.jsonl",
            "".join(
                json.dumps({"label": label, "text": text, "x": []}) + "\n"
                for text, label in (("007", "NA"), ("null", "None"), (ODD, "x"))
            ),
        ),
    ],
)
def test_cells_are_as_they_are_written(write, name, content):
    table = read(write(name, content))
    assert table.column("text").to_pylist() == ["007", "null", ODD]
    assert table.column("label").to_pylist() == ["NA", "None", "x"]
    first = 1 if name == "d.jsonl" else 2
    skipped = name == "b.csv"  # a blank line
    assert table.lines.tolist() == [first, first + 1 + skipped, first + 2 + skipped]


def test_a_parquet_file_and_a_saved_dataset_keep_their_class_names(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"text": ["a", "b", "c"], "label": [1, 0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.select([2, 0]).save_to_disk(tmp_path / "saved")
    dataset.to_parquet(tmp_path / "a.parquet")
    before = sorted(tmp_path.rglob("*"))
    for path, texts, labels in (
        (tmp_path / "saved", ["c", "a"], [1, 1]),
        (tmp_path / "a.parquet", ["a", "b", "c"], [1, 0, 1]),
    ):
        table = read(path)
        assert table.column("text").to_pylist() == texts
        assert table.classes == {"label": ("no", "yes")}
        found = read_labels([table], Asked())
        assert found.classes == ("no", "yes") and found.columns[0].to_pylist() == labels
    assert sorted(tmp_path.rglob("*")) == before


def test_parquet_of_other_types(tmp_path):
    table = pa.table(
        {
            "text": pa.array(["a", "b"]).dictionary_encode(),
            "label": pa.array([[1], [0, 2]], pa.list_(pa.int8())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found.column("text").to_pylist() == ["a", "b"]
    assert found.column("label").to_pylist() == [[1], [0, 2]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text\tlabel\n"so" it said\t0\n', '"so" it said'),  # no quotes around a cell end so
        ('text\tlabel\n"so"\t0\nfine\t1\n', '"so"'),  # needless, and not around all
        ('text\tlabel\n"""so"" it said"\t0\nfine\t1\n', '"so" it said'),
        ('"text"\t"label"\n"fine"\t"0"\n', "fine"),
        ('text\tlabel\n"a\tb"\t0\n', "a\tb"),
    ],
)
def test_quotes_of_a_tsv_file(write, content, expected):
    assert read(write("a.tsv", content)).column("text")[0].as_py() == expected


def test_quotes_that_may_be_either_are_asked_for(write):
    path = write("a.tsv", 'text\tlabel\n"fine"\t0\n"dull"\t1\n')
    assert refused(lambda: read(path)).endswith("set task.quotes to none or csv")
    assert read(path, quotes="csv").column("text")[0].as_py() == "fine"
    assert read(path, quotes="none").column("text")[0].as_py() == '"fine"'


def test_a_file_without_a_header(write):
    path = write("a.tsv", "fine\t2,7\tid1\ndull\t\tid2\n")
    table = read(path, columns=("text", "label", "id"))
    assert table.column("label").to_pylist() == ["2,7", ""] and table.lines.tolist() == [1, 2]
    path = write("b.csv", "text,label\nfine,0\n")
    assert "a header" in refused(lambda: read(path, columns=("text", "label")))


LONG = "x" * 200_000  # more than the csv module takes unless it is told


def test_a_long_cell_is_read_whole(write):
    path = write("a.csv", f'text,label\n"{LONG}",0\n')
    assert read(path).column("text")[0].as_py() == LONG


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("a.csv", "text,label\nfine,0\nso, so,1\n", "line 3: 3 cells: expected 2 (text, label)"),
        ("a.csv", "text,label\nfine,0\nso\n", "line 3: 1 cells: expected 2"),
        ("a.csv", 'text,label\n"a\nb",0\n"fine" it is,0\n', "line 4: ',' expected after '\"'"),
        ("a.csv", 'text,label\nfine,0\n"so,1\nso,2\n', "line 3: unexpected end of data"),
        ("a.csv", "text,text,label\nfine,a,0\n", "2 columns are named 'text'"),
        ("a.csv", "text,label\nfine,0\n", ""),
        ("a.csv", "", "the file is empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", b"text,label\nfine,0\ncaf\xe9,1\n", "line 3: byte 21 of the file is not UTF-8"),
        ("a.csv", "text,label\nfine,0\n".encode("utf-16"), "byte 0 of the file is not UTF-8"),
        ("a.xlsx", "text", "the name ends in '.xlsx': expected .csv, .tsv, .jsonl"),
        ("a.parquet", "text,label\nfine,0\n", "cannot be read as Parquet"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a" "label": 1}\n', "line 2: not JSON"),
        ("a.jsonl", '["a", 1]\n', "line 1: \"['a', 1]\": expected an object"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "line 1: not JSON ('text' is there twice)"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a"}\n', "line 2: label is missing"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n', "line 1: label is missing or not a number"),
        ("a.jsonl", '{"text": "a", "label": null}\n', "line 1: label is missing"),
        ("a.jsonl", '{"text": null, "label": 1}\n', "line 1: text is missing"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n\n{"text": "a", "label": "1"}\n',
            "line 3: label is '1', before it 1: expected texts, numbers or lists",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "a", "label": true}\n',
            "line 2: label is",
        ),
        ("a.jsonl", '{"text": "a", "label": {"b": 1}}\n', "line 1: label is {'b': 1}"),
        ("a.jsonl", '{"text": "a", "label": ["b", null]}\n', "line 1: label is missing"),
        ("a.jsonl", '{"text": "a", "label": [1, "b"]}\n', "line 1: label is 'b', before it 1"),
        (
            "a.jsonl",
            '{"text": "a\\ud800", "label": 1}\n',
            "line 1: text has '\\ud800' at character 1",
        ),
        ("a.jsonl", '{"text": "a", "label": 99999999999999999999}\n', "a number of 64 bits"),
        ("a.jsonl", "\n", "the file is empty"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n{"text": "a", "label": 9007199254740993}\n', ""),
    ],
)
def test_malformed_files_are_refused_by_line(write, name, content, saying):
    path = write(name, content)
    if saying:
        message = refused(lambda: read(path))
        assert message.startswith(str(path)) and saying in message
    else:
        read(path)


def test_missing_files_and_folders(tmp_path):
    assert "no such file" in refused(lambda: read(tmp_path / "a.csv"))
    assert "saved dataset" in refused(lambda: read(tmp_path))


def test_missing_cells_of_typed_tables(tmp_path):
    for values in ([1.0, None], [1.0, float("nan")], [None, None], [["a"], None], [["a"], [None]]):
        pq.write_table(pa.table({"text": ["a", "b"], "label": values}), tmp_path / "a.parquet")
        message = refused(lambda: read(tmp_path / "a.parquet"))
        row = 0 if values[0] is None else 1
        assert f"row {row} (the first is 0): label is missing or not a number" in message
    pq.write_table(pa.table({"text": [b"a"], "label": [1]}), tmp_path / "a.parquet")
    assert "type binary" in refused(lambda: read(tmp_path / "a.parquet"))


def test_texts_that_are_not_utf8_in_parquet(tmp_path):
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "i4")), pa.py_buffer(b"\xe9")]
    )
    pq.write_table(pa.table({"text": bad, "label": [1]}), tmp_path / "a.parquet")
    assert "column 'text' cannot be read" in refused(lambda: read(tmp_path / "a.parquet"))


def test_a_dataset_of_several_splits(tmp_path):
    def made(*texts):
        return datasets.Dataset.from_dict({"text": texts, "label": ["x", "y"] * (len(texts) // 2)})

    folder = tmp_path / "all"
    splits = {"train": made("a", "b"), "validation": made("c", "d"), "test": made("e", "f")}
    datasets.DatasetDict(splits).save_to_disk(folder)
    found = get_task("text", data=str(folder)).read
    assert found.evaluation.rows()["text"].to_pylist() == ["c", "d"]
    found = get_task("text", data=str(folder), eval=str(folder / "test")).read
    assert found.evaluation.rows()["text"].to_pylist() == ["e", "f"]
    message = refused(lambda: get_task("text", data=str(folder), eval=str(folder)).read)
    assert "a dataset of several splits" in message
    del splits["validation"]
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "two")
    message = refused(lambda: get_task("text", data=str(tmp_path / "two")).read)
    assert "a dataset of the splits test, train: expected train and validation" in message


def column(values, *, lines=True):
    rows = pa.table({"label": values})
    kind = rows.schema.field(0).type
    if kind == pa.string():
        rows = rows.cast(pa.schema([("label", pa.large_string())]))
    elif pa.types.is_list(kind):
        inside = pa.large_string() if kind.value_type == pa.string() else kind.value_type
        rows = rows.cast(pa.schema([("label", pa.large_list(inside))]))
    return Table("t", rows, {"label": "label"}, np.arange(len(values)) + 2 if lines else None)


@pytest.mark.parametrize(
    ("values", "asked", "kind", "classes", "numbers"),
    [
        (["b", "a", "b"], {}, "classification", ("a", "b"), [1, 0, 1]),
        (
            ["1", "0", "10"],
            {"kind": "classification"},
            "classification",
            ("0", "1", "10"),
            [1, 0, 2],
        ),
        (["1", "0", "2"], {}, "classification", ("0", "1", "2"), [1, 0, 2]),
        ([1, 0, 2], {}, "classification", ("0", "1", "2"), [1, 0, 2]),
        ([True, False], {}, "classification", ("false", "true"), [1, 0]),
        ([3, 1], {"kind": "classification"}, "classification", ("1", "3"), [1, 0]),
        ([1, 0], {"names": ("no", "yes", "so")}, "classification", ("no", "yes", "so"), [1, 0]),
        (["yes", "no"], {"names": ("no", "yes")}, "classification", ("no", "yes"), [1, 0]),
        (["1", "0"], {"names": ("1", "0")}, "classification", ("1", "0"), [0, 1]),
        ([0.5, 1.0], {}, "regression", (), [0.5, 1.0]),
        (["0.5", "1", "-2e-1"], {}, "regression", (), [0.5, 1.0, np.float32(-0.2)]),
        ([1, 5], {"kind": "regression"}, "regression", (), [1.0, 5.0]),
        (["b", "a, b", ""], {"separator": ","}, "multi_label", ("a", "b"), [[1], [0, 1], []]),
        ([["b"], [], ["a", "b"]], {}, "multi_label", ("a", "b"), [[1], [], [0, 1]]),
        ([[2], [0, 1]], {}, "multi_label", ("0", "1", "2"), [[2], [0, 1]]),
        (
            ["1", "0,1"],
            {"separator": ",", "names": ("x", "y")},
            "multi_label",
            ("x", "y"),
            [[1], [0, 1]],
        ),
        (["a, b", "c"], {}, "classification", ("a, b", "c"), [0, 1]),
    ],
)
def test_what_a_column_of_labels_means(values, asked, kind, classes, numbers):
    found = read_labels([column(values)], Asked(**asked))
    assert (found.kind, found.classes) == (kind, classes)
    assert found.columns[0].to_pylist() == numbers


@pytest.mark.parametrize(
    ("values", "asked", "saying"),
    [
        (["1", "5", "3"], {}, "whole numbers from 1 to 5, which may be classes or scores"),
        ([0.0, 1.0], {}, "set task.kind to classification or regression"),
        (["007", "1"], {}, "set task.kind to classification or regression"),
        (["0.5", "n/a"], {}, "both numbers such as 0.5 and 'n/a'"),
        (["joy", "fear", "joy,fear"], {}, "line 4: label 'joy,fear' may be 2 labels or one"),
        (["['joy']", "['fear']"], {}, "line 2: label is \"['joy']\", which looks like a list"),
        (["a", "a"], {}, "one label alone, 'a': expected two or more"),
        (["a", " "], {}, "line 3: label is empty"),
        ([["a"], ["b", ""]], {}, "line 3: label is empty"),
        (["Yes", "yes"], {}, "'Yes' and 'yes', which differ by case, blanks or dashes alone"),
        (["a", "b"], {"kind": "regression"}, "line 2: label is 'a': expected a number such as 2.5"),
        (["nan", "1.5"], {"kind": "regression"}, "line 2: label is 'nan'"),
        (["1e60", "1.5"], {}, "line 2: label is 1e+60: expected a finite number"),
        (
            [0.5, 1.5],
            {"kind": "classification"},
            "line 2: label is 0.5: expected names or whole numbers",
        ),
        (["a", "b"], {"kind": "multi_label"}, "set task.separator to what stands between labels"),
        ([["a"], ["b"]], {"kind": "regression"}, "lists of texts: expected multi_label"),
        ([[0, 1], [1, 1]], {}, "lists of 2 zeros and ones"),
        ([[0.5], [1.5]], {}, "lists of numbers: expected lists of names"),
        ([["a", "a"], ["b"]], {}, "line 2: label has 'a' twice"),
        (["a,,b", "b"], {"separator": ","}, "line 2: label is 'a,,b'"),
        ([1, 2], {"separator": ","}, "holds whole numbers: expected texts; remove task.separator"),
        ([1, 2], {"names": ("no", "yes")}, "line 3: label '2' is not one of the 2 labels"),
        (["a", "c"], {"names": ("a", "b")}, "line 3: label 'c' is not one of the 2 labels"),
        ([0.5, 1.5], {"kind": "regression", "names": ("a", "b")}, "remove task.label_names"),
    ],
)
def test_labels_that_are_refused(values, asked, saying):
    assert saying in refused(lambda: read_labels([column(values)], Asked(**asked)))


def test_labels_of_two_tables(tmp_path):
    one = column(["a", "b"])
    found = read_labels([one, column(["b"])], Asked())
    assert found.columns[1].to_pylist() == [1]
    message = refused(lambda: read_labels([one, column(["b", "c"])], Asked()))
    assert "line 3: label 'c' is not one of the 2 labels of t ('a', 'b')" in message
    named = Asked(names=("a", "b", "c"))
    message = refused(lambda: read_labels([one, column(["b", "c"])], named))
    assert "line 3: label is 'c', which no row of t is" in message
    message = refused(lambda: read_labels([one, column([0, 1])], Asked()))
    assert "holds whole numbers, that of t texts" in message


def test_a_part_is_split_off_by_class_and_by_text():
    texts = [f"t{i % 45}" for i in range(50)]  # five of them twice
    rows = pa.table({"text": pa.array(texts, pa.large_string())})
    table = Table("t", rows, {"text": "text"}, np.arange(50) + 2)
    labels = pa.array([int(i % 45 < 5) for i in range(50)], pa.int32())
    kept, held = split_off(table, labels, ("a", "b"), ["text"], 0.1)
    assert sorted([*kept, *held]) == [*range(50)]
    assert not {texts[i] for i in kept} & {texts[i] for i in held}
    assert sum(labels[i].as_py() for i in held if i < 45) == 1
    assert len([i for i in held if i < 45]) == 5
    again = split_off(table, labels, ("a", "b"), ["text"], 0.1)
    assert again[1].tolist() == held.tolist()


def test_a_class_of_one_text_cannot_be_split():
    rows = pa.table({"text": pa.array(["a", "b", "c", "c"], pa.large_string())})
    table = Table("t", rows, {"text": "text"}, np.arange(4) + 2)
    labels = pa.array([0, 0, 1, 1], pa.int32())
    message = refused(lambda: split_off(table, labels, ("x", "y"), ["text"], 0.1))
    assert message.startswith("t line 4: 'y' is the label of one text alone")
    # Of several labels the rarest counts: those of a row without any are divided too.
    lists = pa.array([[0], [0, 1], [], []], pa.large_list(pa.int32()))
    message = refused(lambda: split_off(table, lists, ("x", "y"), ["text"], 0.1))
    assert "line 3: 'y' is the label of one text alone" in message
