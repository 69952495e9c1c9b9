"""Rows and documents of the starter corpus.

replace   a paraphrase changes the form of some words, a non-paraphrase changes the meaning of one of as many
swap      the same words in both classes: people, things, qualities, places and times exchanged, or the order turned
nest      swap over three events, one of them a relative clause, with rare words as likely as common ones
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

from pipeline.core.errors import UserError, suggest
from pipeline.data.synthetic import edits
from pipeline.data.synthetic.grammar import Author, Facts, Style, fillers, tell
from pipeline.data.synthetic.words import Filler

MOST = 1_000_000  # rows or topics: minutes to make
LABELS = ("different", "paraphrase")


class Grade(NamedTuple):
    """What makes a grade: the shapes its facts take, exchange or replacement, how rare the words are."""

    shapes: tuple[str, ...]
    exchange: bool
    rarity: float


GRADES = {
    "replace": Grade(shapes=("full", "full", "double"), exchange=False, rarity=0.0),
    "swap": Grade(shapes=("full", "full", "double"), exchange=True, rarity=0.0),
    "nest": Grade(shapes=("double", "nested"), exchange=True, rarity=0.7),
}


SHAPES = ("brief", "full", "brief", "double", "brief", "nested")
MARKED = 0.4  # of the events in pairs; the documents have none, so that this is left for the task's rows to teach
TELLINGS = 3  # sentences of a document
RARITY = (0.0, 0.0, 0.7)


def pairs(grade: str, rows: dict[str, int], seed: int) -> dict[str, list[dict[str, object]]]:
    """Labelled pairs of a grade: a list of rows `text_a`, `text_b`, `label` (1 is a paraphrase) for each split.

    The facts of a pair's first text occur once, within a split and across splits. The facts of its other text may
    be those of another pair's first text. Classes alternate, so each is half of every split.

    Raises UserError if the grade is unknown or a split is too large.
    """
    if grade not in GRADES:
        raise UserError(
            f"conf/task: grade '{grade}' is not a grade of the starter corpus; {suggest(grade, list(GRADES))}"
        )
    if many := [f"{split}: {count:,}" for split, count in rows.items() if count > MOST]:
        raise UserError(f"conf/task: rows: got {many[0]}; the generator has no more than {MOST:,} for a split")
    random = Random(f"{grade} {seed}")
    author = Author(random, GRADES[grade].rarity)
    seen: set[Facts] = set()
    return {split: [_row(author, GRADES[grade], seen, i % 2) for i in range(count)] for split, count in rows.items()}


def _row(author: Author, grade: Grade, seen: set[Facts], label: int) -> dict[str, object]:
    """Return one pair with this label."""
    facts = author.facts(author.random.choice(grade.shapes))
    while facts in seen or (grade.exchange and not edits.exchanges(facts)):
        facts = author.facts(author.random.choice(grade.shapes))
    seen.add(facts)
    first, second, twin = told(author, facts, grade)
    return {"text_a": first, "text_b": second if label else twin, "label": label}


def told(author: Author, facts: Facts, grade: Grade) -> tuple[str, str, str]:
    """A sentence, a paraphrase of it, and the paraphrase's twin that differs from it in the facts alone.

    Of an exchange the twin holds the same words as the paraphrase. Of a replacement the paraphrase has one more
    synonym changed instead, so that as many words differ in both classes.
    """
    forms = author.forms(fillers(facts))
    one, two = (author.marked(author.style(), MARKED) for _ in range(2))
    one = replace(one, forms=forms)
    flips = author.random.randrange(3)
    if grade.exchange:
        same = replace(two, forms=author.flipped(forms, flips))
        return tell(facts, one), tell(facts, same), tell(edits.exchanged(facts, author.random), same)
    changed, old, new = edits.replaced(facts, author.random)
    kept = author.flipped({filler: form for filler, form in forms.items() if filler != old}, flips)
    same = replace(two, forms=author.flipped(forms, flips + 1))
    other = replace(two, forms=kept | {new: author.random.randrange(len(new.forms))})
    return tell(facts, one), tell(facts, same), tell(changed, other)


def documents(topics: int, seed: int) -> list[list[list[str]]]:
    """Text without labels: topics, each of two documents of the same people and things, each of sentences.

    A document states its facts `TELLINGS` times in different words. The second document of a topic contradicts
    the first, as reports on one event do: one exchange, or one to three replacements.
    """
    random = Random(f"documents {seed}")
    return [_topic(Author(random, RARITY[i % len(RARITY)]), SHAPES[i % len(SHAPES)]) for i in range(topics)]


def _topic(author: Author, shape: str) -> list[list[str]]:
    facts = author.facts(shape)
    other = _contradicting(author, facts)
    forms = author.forms(fillers(facts) + fillers(other))
    return [[tell(each, _style(author, forms)) for _ in range(TELLINGS)] for each in (facts, other)]


def _style(author: Author, forms: dict[Filler, int]) -> Style:
    """Return a style with up to two different forms."""
    return replace(author.style(), forms=author.flipped(forms, author.random.randrange(3)))


def _contradicting(author: Author, facts: Facts) -> Facts:
    if edits.exchanges(facts) and author.random.random() < 0.5:
        return edits.exchanged(facts, author.random)
    changed = facts
    for _ in range(author.random.choice((1, 2, 3))):
        changed = edits.replaced(changed, author.random)[0]
    return changed if changed != facts else _contradicting(author, facts)
