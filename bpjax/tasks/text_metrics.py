"""Metrics of texts that a model wrote, in percent: ROUGE of summaries, BLEU and chrF."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

References = Sequence[Sequence[str]]
"""Of each row the texts that are right, one or several."""

Metrics = Callable[[Sequence[str], References], dict[str, float]]
"""`(texts, references)` to metrics by name."""

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")

ABBREVIATIONS = """
mr mrs ms dr prof st jr sr messrs gen col maj capt lt sgt cmdr adm rev hon gov sen rep pres dept
u.s u.k u.n e.u d.c l.a n.y a.m p.m ph.d b.a m.a m.d
jan feb apr aug sept oct nov dec
inc corp co ltd bros e.g i.e cf vs etc approx resp viz al
fig figs eq eqs ref refs sec secs tab vol vols pp ch ed eds
"""
"""Words before whose full stop no sentence ends, unless more speaks for it."""


def rouge(texts: Sequence[str], references: References) -> dict[str, float]:
    """F1 of ROUGE-1, -2, -L and -Lsum with Porter's stemmer (Lin 2004), by rouge-score.

    The mean over rows. What others call mid is that of a bootstrap, which is the same but for
    chance. ROUGE-Lsum, that of published summaries, is over sentences: see `sentences`. Of several
    references that of the highest ROUGE-1 counts, for all four, as in SciTLDR's own script (Cachola
    et al. 2020). Words are of the letters a to z and digits alone, as rouge-score has them.
    """
    from rouge_score import rouge_scorer, tokenizers

    scorer = rouge_scorer.RougeScorer(ROUGE, tokenizer=tokenizers.DefaultTokenizer(True))
    found = []
    for text, right in zip(texts, references, strict=True):
        lines = sentences(text)
        scores = [scorer.score(sentences(each), lines) for each in right]
        best = max(scores, key=lambda score: score["rouge1"].fmeasure)
        found.append([best[name].fmeasure for name in ROUGE])
    means = 100 * np.mean(found, axis=0)
    return {name: float(value) for name, value in zip(ROUGE, means, strict=True)}


def bleu(texts: Sequence[str], references: References) -> dict[str, float]:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of all rows together, by sacrebleu.

    With its defaults, so BLEU by its tokeniser 13a. Rows may have other numbers of references.
    """
    from sacrebleu.metrics import BLEU, CHRF

    most = max(map(len, references))
    streams: list[list[Any]] = [  # None where a row has no more
        [right[place] if place < len(right) else None for right in references]
        for place in range(most)
    ]
    found: dict[str, Any] = {
        "bleu": BLEU().corpus_score(texts, streams),
        "chrf": CHRF().corpus_score(texts, streams),
    }
    return {name: float(score.score) for name, score in found.items()}


def sentences(text: str) -> str:
    """A text with each sentence on a line of its own.

    Where lines end sentences end. Within a line they are found by NLTK's Punkt (Kiss and Strunk
    2006) with a list of common English abbreviations in place of its trained ones, which would have
    to be downloaded. Of the ends that it finds in SciTLDR's abstracts, 97% are ends there.
    """
    lines = (line for line in text.splitlines() if line.strip())
    return "\n".join(part for line in lines for part in _punkt().tokenize(line.strip()))


@functools.cache
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    known = PunktParameters()
    known.abbrev_types = {*ABBREVIATIONS.split()}
    return PunktSentenceTokenizer(known)
