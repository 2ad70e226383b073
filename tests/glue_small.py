"""Small GLUE files in the official formats."""

from bpjax.tasks.glue_files import FILES

FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS-B",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}

_MNLI = "index\tpromptID\tgenre\tsentence1\tsentence2"
# Header of the labelled files and of the test file, then a row of each: {i} is its number and {y}
# its label. CoLA's labelled files have no header.
_FORMATS = {
    "cola": (None, "gj04\t{y}\t*\tIt \"is' {i}.", "index\tsentence", "{i}\tIt is {i}."),
    "sst2": ("sentence\tlabel", "a film {i} \t{y}", "index\tsentence", "{i}\tso so {i}"),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '{y}\t{i}7\t{i}8\tHe said " no {i} .\tHe did not say {i} .',
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{i}\t{i}7\t{i}8\tOne {i} .\tTwo {i} .",
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "{i}\t{i}1\t{i}2\tWho is {i}?\tWhat is {i}?\t{y}",
        "id\tquestion1\tquestion2",
        "{i}\tWho?\tWhat?",
    ),
    "stsb": (
        "index\tgenre\tsentence1\tsentence2\tscore",
        "{i}\tcaptions\tA plane {i}.\tThe plane {i}.\t{y}.00",
        "index\tgenre\tsentence1\tsentence2",
        "{i}\tcaptions\tA girl.\tA boy.",
    ),
    "mnli": (
        f"{_MNLI}\tlabel1\tgold_label",
        "{i}\t{i}p\tfiction\tIt rained {i}.\tIt was wet {i}.\t{y}\t{y}",
        _MNLI,
        "{i}\t{i}p\tfiction\tIt rained.\tIt was dry.",
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel",
        "{i}\tWhere {i}?\tHere {i}.\t{y}",
        "index\tquestion\tsentence",
        "{i}\tWhere?\tThere.",
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\tNo one came {i}.\tSome came {i}.\t{y}",
        "index\tsentence1\tsentence2",
        "{i}\tNone.\tAll.",
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\tIt broke {i}.\tThe cup broke {i}.\t{y}",
        "index\tsentence1\tsentence2",
        "{i}\tIt fell.\tThe cup fell.",
    ),
}


def write_glue(task, folder, rows=6):
    """The task's files, with `rows` training rows and 3 in each other file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = FILES[task]
    labels = files.labels if files.spelled else range(len(files.labels) or 6)
    header, row, test_header, test_row = _FORMATS[task]
    for split, name in {"train": "train.tsv", **files.evaluation}.items():
        count = rows if split == "train" else 3
        if split.startswith("test"):
            lines = [test_header, *(test_row.format(i=i) for i in range(count))]
        else:
            made = [row.format(i=i, y=labels[i % len(labels)]) for i in range(count)]
            lines = [header, *made] if header else made
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
