"""Passages and questions drawn from the lexicon and the templates.

A passage tells the same two things of three or four subjects, in shuffled order, with pronouns,
family names, contrasts and denied values. Every question therefore has three or more candidates of
the right type in its passage, and only reading the question and the sentence that it is about finds
the right one.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from bpjax.tasks.lexicon import POOLS
from bpjax.tasks.templates import FILLERS, PASSAGE_KINDS, Attribute

QUESTIONS_PER_PASSAGE = 2
# Pairs of words (first and family name, adjective and noun) whose places in the lexicon sum to a
# multiple of this are kept from training.
UNSEEN_EVERY = 5


@dataclasses.dataclass(frozen=True)
class Name:
    """A subject's full name, its short form for later sentences and its pronoun."""

    full: str
    short: str
    pronoun: str


@dataclasses.dataclass(frozen=True)
class Mention:
    """Where a passage names a subject or a value.

    Attributes:
      kind: "subject", or the kind of an attribute.
      text: as it stands in the passage.
      start: its first character.
    """

    kind: str
    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Query:
    """A question about a passage, with the mention that answers it."""

    text: str
    answer: Mention


@dataclasses.dataclass(frozen=True)
class Passage:
    """A passage with everything that it names and the questions chosen about it."""

    text: str
    mentions: tuple[Mention, ...]
    queries: tuple[Query, ...]


class Maker:
    """Draws names and values.

    Args:
      rng: source of all choices.
      unseen: draw also the pairs of words that are kept from training.
    """

    def __init__(self, rng: np.random.Generator, unseen: bool) -> None:
        self.rng = rng
        self.unseen = unseen

    def pick(self, *options: str) -> str:
        """One of the options."""
        return options[self.rng.integers(len(options))]

    def pair(self, first: str, second: str) -> tuple[str, str]:
        """A word of each of two pools."""
        while True:
            one, two = (int(self.rng.integers(len(POOLS[pool]))) for pool in (first, second))
            if self.unseen or (one + two) % UNSEEN_EVERY:
                return POOLS[first][one], POOLS[second][two]

    def person(self) -> Name:
        """A person, known later by the family name."""
        gender = self.pick("male", "female")
        first, last = self.pair(gender, "family")
        return Name(f"{first} {last}", last, "He" if gender == "male" else "She")

    def company(self) -> Name:
        """A company."""
        return self.named("{} {}", "company_first", "company_last")

    def painting(self) -> Name:
        """A painting's title."""
        return self.named("The {} {}", "title_first", "title_last")

    def place(self) -> Name:
        """A village."""
        return self.named("{} {}", "place_first", "place_last")

    def team(self) -> Name:
        """A sports team."""
        return self.named("{} {}", "city", "team")

    def named(self, pattern: str, first: str, second: str) -> Name:
        """A thing, which has no short name."""
        name = pattern.format(*self.pair(first, second))
        return Name(name, name, "It")

    def described(self, adjective: str, noun: str) -> str:
        """An adjective and a noun with their article."""
        one, two = self.pair(adjective, noun)
        return f"{'an' if one[0] in 'aeiou' else 'a'} {one} {two}"

    def colors(self) -> str:
        """Two different colors."""
        return " and ".join(self.rng.choice(POOLS["color"], 2, replace=False))

    def year(self) -> str:
        """A year from 1820 to 2019."""
        return str(self.rng.integers(1820, 2020))

    def amount(self, *units: str) -> str:
        """A number in digits with its unit."""
        return f"{self.rng.integers(3, 100)} {self.pick(*units)}"

    def few(self, *units: str) -> str:
        """A number in letters with its unit."""
        return f"{self.pick(*POOLS['number'])} {self.pick(*units)}"


def _from_pool(pool: str) -> Callable[[Maker], str]:
    return lambda maker: maker.pick(*POOLS[pool])


SUBJECTS: dict[str, Callable[[Maker], Name]] = {
    "person": Maker.person,
    "company": Maker.company,
    "painting": Maker.painting,
    "place": Maker.place,
    "team": Maker.team,
}

_PLAIN = "city country month weekday job field material vehicle product scene food"
VALUES: dict[str, Callable[[Maker], str]] = {
    **{pool: _from_pool(pool) for pool in _PLAIN.split()},
    "person": lambda maker: maker.person().full,
    "object": lambda maker: maker.described("adjective", "thing"),
    "pet": lambda maker: maker.described("color", "animal"),
    "colors": Maker.colors,
    "year": Maker.year,
    "duration": lambda maker: maker.few("days", "weeks", "months", "years"),
    "goals": lambda maker: maker.few("goals", "points", "medals", "victories"),
    "price": lambda maker: maker.amount("dollars", "euros", "pounds", "francs"),
    "crowd": lambda maker: maker.amount("families", "farmers", "fishermen", "children"),
}


@dataclasses.dataclass(frozen=True)
class Clause:
    """An attribute of a subject, named by its "full" or "short" name, a "pronoun" or "and"."""

    subject: int
    attribute: int
    opening: str


Sentence = tuple[Clause, ...]


def arrange(count: int, rng: np.random.Generator) -> list[Sentence]:
    """Deals the two attributes of `count` subjects to sentences, each subject's full name first."""
    order = [int(i) for i in rng.permutation(count)]
    units: list[list[Sentence]] = []  # the sentences of a unit stay together
    late: list[Clause] = []
    if rng.random() < 0.4:  # one sentence contrasts two subjects
        pair, order = order[:2], order[2:]
        told = int(rng.integers(2))
        units.append([tuple(Clause(subject, told, "full") for subject in pair)])
        late += [Clause(subject, 1 - told, "short") for subject in pair]
    for subject in order:
        told = int(rng.integers(2))
        first = Clause(subject, told, "full")
        # Four subjects get one sentence each, to keep passages of one length.
        form = "and" if count > 3 else ("and", "pronoun", "short")[rng.integers(3)]
        second = Clause(subject, 1 - told, form)
        if form == "and":
            units.append([(first, second)])
        elif form == "pronoun":
            units.append([(first,), (second,)])
        else:
            units.append([(first,)])
            late.append(second)
    units = [units[i] for i in rng.permutation(len(units))]
    for clause in late:
        told_at = next(
            i for i, unit in enumerate(units) if any(c.subject == clause.subject for c in unit[0])
        )
        units.insert(int(rng.integers(told_at + 1, len(units) + 1)), [(clause,)])
    return [sentence for unit in units for sentence in unit]


def write_passage(maker: Maker) -> Passage:
    """Writes one passage and chooses its questions, each about another fact."""
    rng = maker.rng
    family = PASSAGE_KINDS[rng.integers(len(PASSAGE_KINDS))]
    count = 4 if rng.random() < 0.4 else 3
    taken: set[str] = set()  # words of persons' names: no two persons of a passage share one
    subjects = [_draw_name(maker, family.subject, taken) for _ in range(count)]
    attributes = [
        family.attributes[i] for i in rng.choice(len(family.attributes), 2, replace=False)
    ]
    # One value more than subjects: the last one may be denied.
    values = [_draw_values(maker, attribute.kind, count + 1, taken) for attribute in attributes]
    denying = (int(rng.integers(3 * count)), int(rng.integers(2)))  # in one passage of three

    text = maker.pick(*family.openings) + " " if rng.random() < 0.5 else ""
    mentions: list[Mention] = []
    full_names: dict[int, Mention] = {}
    names: dict[tuple[int, int], Mention] = {}  # the name in the clause that states a fact
    facts: dict[tuple[int, int], Mention] = {}

    def mention(kind: str, words: str) -> Mention:
        nonlocal text
        mentions.append(Mention(kind, words, len(text)))
        text += words
        return mentions[-1]

    for sentence in arrange(count, rng):
        if sentence[0].opening != "pronoun" and rng.random() < 0.1:
            text += maker.pick(*FILLERS) + " "
        opening, between = _joint(sentence, maker)
        text += opening
        for place, clause in enumerate(sentence):
            key = clause.subject, clause.attribute
            subject, attribute = subjects[clause.subject], attributes[clause.attribute]
            text += between if place else ""
            if clause.opening == "pronoun":
                text += subject.pronoun + " "
            elif clause.opening != "and":
                name = mention(
                    "subject", subject.full if clause.opening == "full" else subject.short
                )
                text += " "
                if name.text == subject.full:
                    names[key] = name
                    full_names.setdefault(clause.subject, name)
            text += maker.pick(*attribute.clauses).removesuffix("{v}")
            facts[key] = mention(attribute.kind, values[clause.attribute][clause.subject])
            if key == denying:
                text += maker.pick(" and not ", " instead of ", " rather than ")
                mention(attribute.kind, values[clause.attribute][-1])
        text += ". "

    queries = []
    keys = list(facts)
    for chosen in rng.choice(len(keys), QUESTIONS_PER_PASSAGE, replace=False):
        key = keys[chosen]
        name = names.get(key, full_names[key[0]])
        queries.append(_ask(maker, attributes[key[1]], subjects[key[0]], name, facts[key]))
    return Passage(text.rstrip(), tuple(mentions), tuple(queries))


def _ask(maker: Maker, attribute: Attribute, subject: Name, name: Mention, value: Mention) -> Query:
    """A question about one fact: mostly for the value, else for the subject that has it."""
    if maker.rng.random() < 0.7:
        asked = subject.full if maker.rng.random() < 0.7 else subject.short
        return Query(maker.pick(*attribute.questions).format(s=asked), value)
    return Query(maker.pick(*attribute.reverse).format(v=value.text), name)


def _joint(sentence: Sentence, maker: Maker) -> tuple[str, str]:
    """What opens a sentence and what stands between its clauses."""
    if len(sentence) == 1 or sentence[1].opening == "and":
        return "", " and "
    opening = maker.pick("", "While ")
    return opening, ", " if opening else maker.pick(", while ", ", but ")


def _draw_name(maker: Maker, kind: str, taken: set[str]) -> Name:
    """A subject that is new to the passage; a person shares no part of its name with another."""
    while True:
        name = SUBJECTS[kind](maker)
        parts = set(name.full.split()) if kind == "person" else {name.full}
        if not parts & taken:
            taken |= parts
            return name


def _draw_values(maker: Maker, kind: str, count: int, taken: set[str]) -> list[str]:
    """Different values; a person shares no part of its name with another."""
    values: list[str] = []
    while len(values) < count:
        value = VALUES[kind](maker)
        parts = set(value.split()) if kind == "person" else {value}
        if not parts & taken:
            taken |= parts
            values.append(value)
    return values
