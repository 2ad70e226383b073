"""Greedy and beam search once more: of one source, with lists, in double precision.

From the rules as transformers documents them: bans and forced tokens in its order, two candidates a
beam or one more than tokens that end, a penalty of length, three ways to stop.
"""

import numpy as np


def log_softmax(logits):
    wide = logits - logits.max()
    return wide - np.log(np.exp(wide).sum())


def best_first(scored):
    """The key to sort by; of equal scores the first stays the first."""
    return -scored[0]


def runs(tokens, size):
    return [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]


def changed(scores, text, source, settings, shortest, longest, prompt):
    """What the settings make of the scores of the next token."""
    scores, vocabulary = scores.copy(), range(len(scores))
    for token in {*text} if settings.repetition_penalty != 1 else ():
        factor = settings.repetition_penalty
        scores[token] = scores[token] * factor if scores[token] < 0 else scores[token] / factor

    def ban(tokens):
        scores[list(tokens)] = -np.inf

    size = settings.no_repeat_ngram_size
    if size:
        seen = {*runs(text, size)}
        ban(token for token in vocabulary if (*text, token)[-size:] in seen)
    size = settings.encoder_no_repeat_ngram_size
    if size:
        seen = {*runs(source, size)}
        ban(token for token in vocabulary if (*text, token)[-size:] in seen)
    for word in settings.bad_words_ids:
        if word != settings.eos_token_id[:1] and (*text, word[-1])[-len(word) :] == word:
            ban(word[-1:])
    if len(text) < shortest:
        ban(settings.eos_token_id)
    forced = ()
    if len(text) == 1 and settings.forced_bos_token_id is not None:
        forced = (settings.forced_bos_token_id,)
    if len(text) == longest - 1 and settings.forced_eos_token_id:
        forced = settings.forced_eos_token_id
    if forced:
        scores[:] = -np.inf
        scores[list(forced)] = 0
    ban(settings.suppress_tokens)
    first = prompt + (prompt == 1 and settings.forced_bos_token_id is not None)
    if len(text) == first:
        ban(settings.begin_suppress_tokens)
    return log_softmax(scores) if settings.renormalize_logits else scores


def search(logits, prompt, source, settings, shortest, longest):
    """The best text of a source and its score.

    Args:
      logits: of what follows a text, a function of it.
      prompt: tokens that it starts with.
      source: tokens that were read.
      settings: `Generation`.
      shortest: tokens before it may end.
      longest: tokens at most.
    """

    def scores(text, found):
        return changed(found, text, source, settings, shortest, longest, len(prompt))

    def penalised(total, length):
        return total / (length - len(prompt)) ** settings.length_penalty

    if settings.num_beams == 1:
        text, total = tuple(prompt), 0.0
        while True:
            found = scores(text, logits(text))
            token = int(found.argmax())
            text, total = (*text, token), total + log_softmax(found)[token]
            if token in settings.eos_token_id or len(text) == longest:
                return text, penalised(total, len(text))

    beams, running, finished = settings.num_beams, [(0.0, tuple(prompt))], []
    while True:
        ways = [
            (total + score, (*text, token))
            for total, text in running
            for token, score in enumerate(scores(text, log_softmax(logits(text))))
            if np.isfinite(score)
        ]
        ways = sorted(ways, key=best_first)[: max(2, 1 + len(settings.eos_token_id)) * beams]
        length = len(ways[0][1])
        ends = [text[-1] in settings.eos_token_id or length == longest for _, text in ways]
        finished += [
            (penalised(total, length), text)
            for (total, text), end in zip(ways[:beams], ends, strict=False)
            if end
        ]
        finished = sorted(finished, key=best_first)[:beams]
        running = [way for way, end in zip(ways, ends, strict=True) if not end][:beams]
        full = len(finished) == beams
        if not running or (full and settings.early_stopping is True):
            break
        far = settings.early_stopping == "never" and settings.length_penalty > 0
        hoped = penalised(running[0][0], longest if far else length)
        if full and hoped <= finished[-1][0]:
            break
    return finished[0][1], finished[0][0]
