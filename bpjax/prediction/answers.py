"""From the outputs of a head to an answer in words: names of labels and scores, as JSON values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from bpjax.models.labels import unnamed

Answer = dict[str, Any]


def classes(logits: Float[np.ndarray, " labels"], labels: Sequence[str]) -> Answer:
    """`{"label": …, "score": …, "scores": {label: …}}`: probabilities that sum to 1."""
    scores = softmax(logits)
    best = int(scores.argmax())
    return {"label": labels[best], "score": float(scores[best]), "scores": _named(labels, scores)}


def several(logits: Float[np.ndarray, " labels"], labels: Sequence[str]) -> Answer:
    """`{"labels": [those above 0.5], "scores": {label: …}}`: a probability for each label."""
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return {
        "labels": [name for name, score in zip(labels, scores, strict=True) if score > 0.5],
        "scores": _named(labels, scores),
    }


def score(logits: Float[np.ndarray, " 1"], labels: Sequence[str]) -> Answer:
    """`{"score": …}`, the number that the model was taught."""
    del labels
    return {"score": float(logits[0])}


def embedding(vector: Float[np.ndarray, " dimensions"], labels: Sequence[str]) -> Answer:
    """`{"embedding": […]}`: as long as the model's config says, 1 if it normalises."""
    del labels
    return {"embedding": vector.tolist()}


def text(written: str) -> Answer:
    """`{"text": …}`, what the model writes."""
    return {"text": written}


ROWS: dict[str, Callable[[np.ndarray, Sequence[str]], Answer]] = {
    "classification": classes,
    "multi_label": several,
    "regression": score,
    "embedding": embedding,
}
"""By head, of those that answer for a whole row."""


def words(
    logits: Float[np.ndarray, "words labels"],
    labels: Sequence[str],
    spans: Sequence[tuple[int, int]],
    text: str,
) -> Answer:
    """`{"words": [{"text", "start", "end", "label", "score"}], "entities": […]}`.

    Entities are there where the labels are IOB tags (B-…, I-…, O): what begins with B-, or with an
    I- that continues nothing of its kind, and goes on with I- of the same kind (IOB2, read as the
    CoNLL scripts do). Their score is the mean of their words'.

    Args:
      logits: of each word's first token.
      labels: names by number.
      spans: characters [start, end) of each word in the text.
      text: that they are words of.
    """
    found = []
    for (start, end), each in zip(spans, logits, strict=True):
        scores = softmax(each)
        best = int(scores.argmax())
        found.append(
            {
                "text": text[start:end],
                "start": start,
                "end": end,
                "label": labels[best],
                "score": float(scores[best]),
            }
        )
    answer: Answer = {"words": found}
    if all(name == "O" or name[:2] in ("B-", "I-") for name in labels):
        answer["entities"] = _entities(found, text)
    return answer


def _entities(found: Sequence[Answer], text: str) -> list[Answer]:
    groups: list[list[Answer]] = []
    before = "O"
    for word in found:
        tag = word["label"]
        if tag != "O":
            goes_on = tag[:2] == "I-" and before[2:] == tag[2:]
            if goes_on:
                groups[-1].append(word)
            else:
                groups.append([word])
        before = tag
    return [
        {
            "text": text[group[0]["start"] : group[-1]["end"]],
            "start": group[0]["start"],
            "end": group[-1]["end"],
            "label": group[0]["label"][2:],
            "score": float(np.mean([word["score"] for word in group])),
        }
        for group in groups
    ]


def names_of(labels: Sequence[str], number: int) -> Sequence[str]:
    """Their names, or those that transformers gives to labels without any."""
    return labels or unnamed(number)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in double precision."""
    wide = np.exp(logits.astype(np.float64) - logits.max())
    return wide / wide.sum()


def _named(labels: Sequence[str], scores: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(labels, scores, strict=True)}
