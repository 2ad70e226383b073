"""From span logits to answers, and the official SQuAD metrics."""

import collections
import dataclasses
import re
import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Example:
    """A question about a passage.

    Attributes:
      id: unique in its split.
      context: the passage.
      question: the question.
      answers: accepted answers, each a part of the context; none where it has no answer.
      starts: character position of each answer in the context.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of an example's passage that one model input sees.

    Attributes:
      example: the example.
      first: place of the first passage token in the input; where the passage has none, the end.
      offsets: character span [start, end) in the passage of each passage token of the window.
    """

    example: Example
    first: int
    offsets: Int[np.ndarray, "tokens 2"]


class Answer(NamedTuple):
    """What a model answers.

    Attributes:
      text: the best span over all windows; "" where none of the best starts and ends make one, or
        the passage has no tokens.
      null_odds: logits of no answer, the [CLS] token, over those of the best span: the least over
        the windows, less the best span's; infinite where there is no span.
    """

    text: str
    null_odds: float


def decode(
    windows: Sequence[Window], logits: Sequence[np.ndarray], n_best: int, max_answer_length: int
) -> dict[str, Answer]:
    """The best answer of each example over all its windows, by the sum of start and end logit.

    Args:
      windows: in any order; the windows of an example need not be neighbours.
      logits: start and end logits [n, 2] of each window's n tokens.
      n_best: starts and ends considered of each window.
      max_answer_length: longest answer, in tokens.

    Returns:
      By example id.
    """
    best: dict[str, tuple[float, str]] = {}
    null: dict[str, float] = {}
    for window, scores in zip(windows, logits, strict=True):
        identity, stop = window.example.id, window.first + len(window.offsets)
        if len(scores) < stop:
            raise ValueError(f"{len(scores)} rows of logits for a window of {stop} tokens")
        null[identity] = min(null.get(identity, np.inf), float(scores[0].sum()))
        context = np.asarray(scores[window.first : stop], np.float32)
        starts, ends = _top(context[:, 0], n_best), _top(context[:, 1], n_best)
        length = ends[None, :] - starts[:, None] + 1
        total = context[starts, 0][:, None] + context[ends, 1][None, :]
        total = np.where((length >= 1) & (length <= max_answer_length), total, -np.inf)
        score, text = float(total.max(initial=-np.inf)), ""
        if score > -np.inf:
            row, column = np.unravel_index(np.argmax(total), total.shape)
            begin, end = window.offsets[starts[row], 0], window.offsets[ends[column], 1]
            text = window.example.context[begin:end]
        if identity not in best or score > best[identity][0]:
            best[identity] = score, text
    return {
        identity: Answer(text, null[identity] - score) for identity, (score, text) in best.items()
    }


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest scores in rising order, so that ties go to the earlier span."""
    if len(scores) <= count:
        return np.arange(len(scores))
    return np.sort(np.argpartition(-scores, count - 1)[:count])


# Blanks, controls, and format characters without width. Other format characters are a part of
# what is seen, such as the tags of a flag.
_BLANK = r"\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_VISIBLE = re.compile(rf"[^{_BLANK}](?:.*[^{_BLANK}])?", re.DOTALL)


def visible_part(text: str) -> tuple[int, int]:
    """Where a text begins and ends without blanks at its edges; (0, 0) if there is nothing else."""
    found = _VISIBLE.search(text)
    return found.span() if found else (0, 0)


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case without ASCII punctuation, articles and extra white space: the official rule."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalized prediction is one of the normalized answers, else 0.0."""
    return float(normalize(prediction) in {normalize(answer) for answer in answers})


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token F1 of the normalized prediction against the answers, in [0, 1]."""
    predicted = collections.Counter(normalize(prediction).split())
    return max(_overlap(predicted, normalize(answer)) for answer in dict.fromkeys(answers))


def _overlap(predicted: collections.Counter[str], answer: str) -> float:
    gold = collections.Counter(answer.split())
    common = (predicted & gold).total()
    return 2 * common / (predicted.total() + gold.total()) if common else 0.0


def score(predictions: dict[str, str], examples: Sequence[Example]) -> dict[str, float]:
    """SQuAD v1.1: mean F1 and exact match in percent; an example without prediction counts 0."""
    pairs = [(predictions.get(example.id), example.answers) for example in examples]
    return {
        "f1": 100 * sum(f1(p, a) for p, a in pairs if p is not None) / len(pairs),
        "exact_match": 100 * sum(exact_match(p, a) for p, a in pairs if p is not None) / len(pairs),
    }


def score_with_null(
    answers: dict[str, Answer], examples: Sequence[Example], threshold: float | int
) -> dict[str, float]:
    """SQuAD v2.0: F1 and exact match in percent, where having no answer is an answer.

    As in the official script, which example has an answer is told by whether any is given, while an
    answer of nothing but articles and punctuation equals no answer.

    Args:
      answers: of every example, by id.
      examples: of which those without answers have none.
      threshold: null odds above which a model is taken to give no answer.

    Returns:
      f1 and exact_match at the threshold, over all examples and (`has_answer_`, `no_answer_`) over
      those that have an answer or none; best_f1 and best_exact at the thresholds that are best for
      them, which are given too.
    """
    found = [answers[example.id] for example in examples]
    golds = [[text for text in example.answers if normalize(text)] for example in examples]
    answerable = np.array([bool(example.answers) for example in examples])
    odds = np.array([answer.null_odds for answer in found])
    # An example that has no answer loses by any text, even by one that equals no answer.
    lost = ~answerable & np.array([bool(answer.text) for answer in found])
    metrics: dict[str, float] = {}
    best: dict[str, float] = {}
    for name, short, of in (("f1", "f1", f1), ("exact_match", "exact", exact_match)):
        right = np.array(
            [
                of(answer.text, wanted) if wanted else exact_match(answer.text, [""])
                for answer, wanted in zip(found, golds, strict=True)
            ]
        )
        at = np.where(odds > threshold, ~answerable, right)
        metrics[name] = 100 * float(at.mean())
        for part, rows in (("has_answer", answerable), ("no_answer", ~answerable)):
            if rows.any():
                best[f"{part}_{name}"] = 100 * float(at[rows].mean())
        # Lowest odds first: answering one more question gains `right` or loses a null answer.
        order = np.argsort(odds, kind="stable")
        gained = np.cumsum((right * answerable - lost)[order])
        place = int(np.argmax(gained))
        none_answered = float((~answerable).sum())
        highest = max(0.0, float(gained[place]))
        best[f"best_{short}"] = 100 * (none_answered + highest) / len(examples)
        best[f"best_{short}_threshold"] = float(odds[order][place]) if gained[place] > 0 else 0.0
    return metrics | best
