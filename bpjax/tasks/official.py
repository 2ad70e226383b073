"""Official SQuAD files, read by readers that say where and why a file is malformed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpjax.errors import UserError
from bpjax.tasks.spans import visible_part

# A row with the key by which TFDS shuffles, which is the public builders' key.
Keyed = tuple[int | str, dict[str, Any]]


def read_text(path: Path) -> str:
    """A file's text without a byte-order mark, its line ends as they are.

    Raises:
      UserError: the file is missing, cannot be read or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; expected the official file of that name, put it there"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a readable file, check its "
            "permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8; expected the official UTF-8 file, fetch it "
            "again"
        ) from error


def read_squad(path: Path) -> list[Keyed]:
    """Questions of a SQuAD v1.1 file.

    Returns:
      (id, {id, title, context, question, answers}) in the order of the file. An answer whose
      `answer_start` does not point to its text is moved to the text's nearest occurrence in the
      context. A question that occurs twice is one row with the answers of both, as in the public
      builder.

    Raises:
      UserError: the file is missing, not JSON or not SQuAD v1.1; a question has no answer or its
        answer is not in its context.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row, qa, where in _read_questions(path, "v1.1"):
        answers = _answers(qa, "answers", row["context"], where)
        if not answers["text"]:
            raise UserError(
                f"{where}: answers is [], expected an answer or more as in SQuAD v1.1; add one or "
                "remove the question"
            )
        found = rows.setdefault(row["id"], {**row, "answers": {"text": [], "answer_start": []}})
        if any(found[key] != value for key, value in row.items()):
            raise _repeated(where)
        for key, values in answers.items():
            found["answers"][key] += values
    return list(rows.items())


def read_squad_v2(path: Path) -> list[Keyed]:
    """Questions of a SQuAD v2.0 file, of which some have no answer.

    Returns:
      (id, {id, title, context, question, answers, is_impossible, plausible_answers}) in the order
      of the file; answers are moved as by `read_squad`.

    Raises:
      UserError: as `read_squad`; a question both answered and impossible, or neither; two of one
        id.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row, qa, where in _read_questions(path, "v2.0"):
        answers = _answers(qa, "answers", row["context"], where)
        impossible = _field(qa, "is_impossible", bool, where)
        if impossible == bool(answers["text"]):
            raise UserError(
                f"{where}: is_impossible is {impossible} with {len(answers['text'])} answers, "
                "expected answers where it is False alone; correct one of the two"
            )
        if row["id"] in rows:
            raise _repeated(where)
        plausible = {"plausible_answers": [], **qa}
        rows[row["id"]] = {
            **row,
            "answers": answers,
            "is_impossible": impossible,
            "plausible_answers": _answers(plausible, "plausible_answers", row["context"], where),
        }
    return list(rows.items())


def _read_questions(path: Path, version: str) -> Iterator[tuple[dict[str, Any], Any, str]]:
    """(id, title, context and question; the question's entry; where it is) of every question."""
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} line {error.lineno}: not JSON ({error.msg}); expected SQuAD {version}, fetch "
            "the file again"
        ) from error
    questions = list(_questions(document, str(path)))
    if not questions:
        raise UserError(f"{path}: no questions; expected SQuAD {version}, fetch the file again")
    for title, context, qa in questions:
        identity = _field(qa, "id", str, f"{path} a question of article {title!r}")
        where = f"{path} {name_question(identity)}"
        question = _field(qa, "question", str, where)
        row = {"id": identity, "title": title, "context": context, "question": question}
        for key, text in row.items():
            _require_characters(key, text, where)
        yield row, qa, where


def _answers(qa: Any, key: str, context: str, where: str) -> dict[str, list[Any]]:
    answers = _field(qa, key, list, where)
    texts = [_field(answer, "text", str, where) for answer in answers]
    starts = [_field(answer, "answer_start", int, where) for answer in answers]
    found = [locate(text, start, context, where) for text, start in zip(texts, starts, strict=True)]
    return {"text": texts, "answer_start": found}


def name_question(identity: str) -> str:
    """How messages name a question: on one line, whatever its id holds."""
    return f"question {identity if identity.isprintable() else repr(identity)}"


def _require_characters(key: str, text: str, where: str) -> None:
    """Raises UserError for half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    half = re.search(r"[\ud800-\udfff]", text)
    if half:
        raise UserError(
            f"{where}: {key} has {half[0]!r} at character {half.start()}, half of a surrogate "
            "pair, expected whole characters; put the whole one or \\ufffd in its place"
        )


def _repeated(where: str) -> UserError:
    return UserError(
        f"{where}: another question has this id, expected unique ids; rename or remove one of the "
        "two"
    )


def locate(text: str, start: int, context: str, where: str) -> int:
    """Where an answer is in its context: the place of its text that is nearest to `start`.

    Raises:
      UserError: the text is empty, nothing but blanks, or not in the context.
    """
    after = max(start, 0)
    places = {context.rfind(text, 0, after + len(text)), context.find(text, after)} - {-1}
    visible = visible_part(text) != (0, 0)
    if not (visible and places):
        kind = "not in its context" if visible else "blank"
        raise UserError(
            f"{where}: answer {text[:80]!r} at character {start} is {kind}, expected a part of its "
            "context; mend the answer or remove the question"
        )
    return min(places, key=lambda place: (abs(place - start), place))


def _questions(document: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    """(title, context, question entry) of every question of a SQuAD document."""
    for number, article in enumerate(_field(document, "data", list, where)):
        place = f"{where} article {number}"
        title = _field(article, "title", str, place)
        for index, paragraph in enumerate(_field(article, "paragraphs", list, place)):
            place = f"{where} article {title!r} paragraph {index}"
            context = _field(paragraph, "context", str, place)
            for qa in _field(paragraph, "qas", list, place):
                yield title, context, qa


def _field(entry: Any, key: str, kind: type, where: str) -> Any:
    """`entry[key]`, which must be of the given type."""
    if not isinstance(entry, dict):
        raise UserError(
            f"{where}: {str(entry)[:80]!r}, expected an object with {key!r} as in SQuAD; mend "
            "the entry"
        )
    if key not in entry:
        raise UserError(f"{where}: no {key!r}, expected it as in SQuAD; add it or remove the entry")
    if type(entry[key]) is not kind:  # to Python, true is a number too
        raise UserError(
            f"{where}: {key} is {str(entry[key])[:80]!r}, expected {kind.__name__} as in SQuAD; "
            "mend the entry"
        )
    return entry[key]
