"""Changes of facts: what makes a pair of the starter corpus no paraphrase.

An exchange keeps every word of the sentence and moves two fillers (or turns the order of the events); a replacement
puts another filler of the same kind in the place of one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

from pipeline.data.synthetic import words
from pipeline.data.synthetic.grammar import Event, Facts, fillers
from pipeline.data.synthetic.words import Filler

LEXICON = (
    words.NAMES,
    words.ROLES,
    words.THINGS,
    words.QUALITIES,
    words.PLACES,
    words.TIMES,
    words.MEETINGS,
    words.HANDLINGS,
    words.GIVINGS,
)


def substituted(facts: Facts, mapping: dict[Filler, Filler]) -> Facts:
    """The facts with every filler of the mapping changed, all at once."""

    def changed(event: Event) -> Event:
        old = {part: getattr(event, part) for part in ("verb", "agent", "other", "thing", "quality")}
        adjuncts = tuple(mapping.get(filler, filler) for filler in event.adjuncts)
        return replace(event, **{part: mapping.get(filler, filler) for part, filler in old.items()}, adjuncts=adjuncts)

    return replace(facts, events=tuple(map(changed, facts.events)), aside=facts.aside and changed(facts.aside))


def exchanges(facts: Facts) -> dict[str, list[Facts]]:
    """Every exchange that these facts allow, by its kind; a kind without any is absent.

    `roles` are the people of one event, `people` those of two; `things`, `qualities` and `adjuncts` change events;
    `order` turns which event came first.
    """
    events = facts.all_events()
    couples = list(combinations(events, 2))
    swaps: dict[str, list[tuple[Filler | None, Filler | None]]] = {
        "roles": [(event.agent, event.other) for event in events],
        "people": [(one, two) for left, right in couples for one in _people(left) for two in _people(right)],
        "things": [(left.thing, right.thing) for left, right in couples],
        "qualities": [(left.quality, right.quality) for left, right in couples],
        "adjuncts": [(one, two) for left, right in couples for one in left.adjuncts for two in right.adjuncts],
    }
    found = {kind: _swapped(facts, chosen) for kind, chosen in swaps.items()}
    found["qualities"] += [changed for left, right in couples for changed in _moved_quality(facts, left, right)]
    if facts.earlier is not None:
        found["order"] = [replace(facts, earlier=1 - facts.earlier)]
    return {kind: changed for kind, changed in found.items() if changed}


def _people(event: Event) -> list[Filler]:
    return [person for person in (event.agent, event.other) if person is not None]


def _swapped(facts: Facts, chosen: list[tuple[Filler | None, Filler | None]]) -> list[Facts]:
    """The facts after each exchange that has two sides and changes something."""
    sided = [(one, two) for one, two in chosen if one is not None and two is not None]
    return [changed for one, two in sided if (changed := substituted(facts, {one: two, two: one})) != facts]


def _moved_quality(facts: Facts, left: Event, right: Event) -> list[Facts]:
    """A quality given to the other event's thing, where just one of two things has one."""
    if left.thing is None or right.thing is None or (left.quality is None) == (right.quality is None):
        return []
    moved = {left: replace(left, quality=right.quality), right: replace(right, quality=left.quality)}
    events = tuple(moved.get(event, event) for event in facts.events)
    return [replace(facts, events=events, aside=facts.aside and moved.get(facts.aside, facts.aside))]


def exchanged(facts: Facts, random: Random) -> Facts:
    """The facts after one exchange, its kind drawn first, so that a kind with many ways is not drawn more often."""
    kinds = exchanges(facts)
    return random.choice(kinds[random.choice(list(kinds))])


def replaced(facts: Facts, random: Random) -> tuple[Facts, Filler, Filler]:
    """The facts with one filler replaced by another of its kind and of its first word; and the old and new filler."""
    present = fillers(facts)
    old = random.choice(present)
    new = random.choice([filler for filler in alternatives(old) if filler not in present])
    return substituted(facts, {old: new}), old, new


def alternatives(filler: Filler) -> list[Filler]:
    """The fillers that can stand where this one does with just one word changed."""
    kin = next(entries for entries in LEXICON if filler in entries)
    phrase = " " in filler.forms[0]
    lead = filler.forms[0].split()[0]
    return [other for other in kin if other != filler and (not phrase or other.forms[0].split()[0] == lead)]
