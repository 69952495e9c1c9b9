"""Facts and the sentences that state them.

`Facts` state what happened. A `Style` determines the sentence: voice, order of the clauses, position of the adjuncts,
synonyms. The sentence is a function of both, so two sentences are paraphrases exactly when their facts are equal, and
two sets of facts with the same fillers in one style share every word.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from pipeline.data.synthetic import words
from pipeline.data.synthetic.words import Filler


@dataclass(frozen=True)
class Event:
    """Who did what to whom or for whom, and where and when.

    `other` is the person met, given to or done something for; `thing` is the object, with its `quality`. `adjuncts`
    are at most a place and a time.
    """

    verb: Filler
    agent: Filler
    other: Filler | None = None
    thing: Filler | None = None
    quality: Filler | None = None
    adjuncts: tuple[Filler, ...] = ()

    def fillers(self) -> tuple[Filler, ...]:
        """Everything the event speaks of."""
        parts = (self.verb, self.agent, self.other, self.quality, self.thing, *self.adjuncts)
        return tuple(part for part in parts if part is not None)


@dataclass(frozen=True)
class Facts:
    """One event or two, and how they stand to each other.

    `earlier` is the index of the event that came first, None where both happened at the same time. The optional
    `aside` is a further event, whose agent takes part in the first, so that it may become a relative clause.
    """

    events: tuple[Event, ...]
    earlier: int | None = None
    aside: Event | None = None

    def all_events(self) -> tuple[Event, ...]:
        """The events and the aside, where there is one."""
        return self.events if self.aside is None else (*self.events, self.aside)


@dataclass(frozen=True)
class Style:
    """How facts become a sentence: one entry per event (the aside is last), and settings of the whole sentence.

    `voice` is one of active, passive, cleft (it was Anna who met Peter) and converse (Peter got the car from Anna; it
    was Peter whom Anna met); `front` puts an adjunct first, the last one where `late` is set; `turned` puts
    the second event first, or uses `after` if the events have an order; `lead` starts with the joining word; `join`
    is the word for events without an order; `nested` makes the aside a relative clause; `forms` is the synonym taken
    for a filler (the first where none is named).
    """

    voice: tuple[str, ...] = ("active", "active", "active")
    front: tuple[bool, ...] = (False, False, False)
    late: bool = False
    turned: bool = False
    lead: bool = False
    join: str = "and"
    nested: bool = True
    forms: dict[Filler, int] = field(default_factory=dict)

    def form(self, filler: Filler) -> str:
        """The synonym that this style takes for the filler."""
        return filler.forms[self.forms.get(filler, 0)]


def fillers(facts: Facts) -> list[Filler]:
    """Every filler the facts speak of, once each, in a fixed order."""
    return list(dict.fromkeys(filler for event in facts.all_events() for filler in event.fillers()))


def tell(facts: Facts, style: Style) -> str:
    """The sentence that states `facts` in `style`, with a capital and a full stop."""
    aside = _relative(facts, style) if facts.aside is not None and style.nested else {}
    clauses = [_clause(event, style, i, aside if i == 0 else {}) for i, event in enumerate(facts.events)]
    text = _joined(clauses, facts.earlier, style) if len(clauses) > 1 else clauses[0]
    if facts.aside is not None and not style.nested:
        text = f"{text} , and {_clause(facts.aside, style, -1, {})}"
    text = text.replace(" , ,", ",").replace(" ,", ",").rstrip(",")
    return f"{text[0].upper()}{text[1:]}."


def _joined(clauses: list[str], earlier: int | None, style: Style) -> str:
    """Return the two clauses and the word that relates them."""
    if earlier is None:
        first, second = reversed(clauses) if style.turned else clauses
        lead = style.lead and style.join == "while"
        return f"while {first} , {second}" if lead else f"{first} {style.join} {second}"
    early, late = clauses[earlier], clauses[1 - earlier]
    if style.lead:
        return f"after {early} , {late}" if style.turned else f"before {late} , {early}"
    return f"{late} after {early}" if style.turned else f"{early} before {late}"


def _relative(facts: Facts, style: Style) -> dict[Filler, str]:
    """The agent of the aside mapped to its relative clause, set off by commas."""
    assert facts.aside is not None
    event = facts.aside
    return {event.agent: f", who {_placed(_predicate(event, style, {}), event, style, front=False)} ,"}


def _clause(event: Event, style: Style, index: int, aside: dict[Filler, str]) -> str:
    """One event as a main clause."""
    clause = VOICES[style.voice[index]](event, style, aside)
    return _placed(clause, event, style, style.front[index])


def _placed(clause: str, event: Event, style: Style, front: bool) -> str:
    adjuncts = [style.form(adjunct) for adjunct in event.adjuncts]
    if style.late:
        adjuncts.reverse()
    return " ".join([*adjuncts[:1], clause, *adjuncts[1:]] if front else [clause, *adjuncts])


def _active(event: Event, style: Style, aside: dict[Filler, str]) -> str:
    return f"{_noun(event.agent, style, aside)} {_predicate(event, style, aside)}"


def _predicate(event: Event, style: Style, aside: dict[Filler, str]) -> str:
    past = style.form(event.verb).split("/")[0]
    if event.thing is None:
        return f"{past} {_noun(event.other, style, aside)}"
    predicate = f"{past} {_object(event, style)}"
    return predicate if event.other is None else f"{predicate} {_towards(event)} {_noun(event.other, style, aside)}"


def _passive(event: Event, style: Style, aside: dict[Filler, str]) -> str:
    participle = style.form(event.verb).split("/")[1]
    agent = _noun(event.agent, style, aside)
    if event.thing is None:
        return f"{_noun(event.other, style, aside)} was {participle} by {agent}"
    target = "" if event.other is None else f"{_towards(event)} {_noun(event.other, style, aside)} "
    return f"{_object(event, style)} was {participle} {target}by {agent}"


def _cleft(event: Event, style: Style, aside: dict[Filler, str]) -> str:
    return f"it was {_noun(event.agent, style, aside)} who {_predicate(event, style, aside)}"


def _converse(event: Event, style: Style, aside: dict[Filler, str]) -> str:
    """The event from the other side: by the converse verb where there is one, else with the object in front."""
    past, agent = style.form(event.verb).split("/")[0], _noun(event.agent, style, aside)
    if event.thing is None:
        return f"it was {_noun(event.other, style, aside)} whom {agent} {past}"
    if past in words.CONVERSES:
        return f"{_noun(event.other, style, aside)} {words.CONVERSES[past]} {_object(event, style)} from {agent}"
    target = "" if event.other is None else f" {_towards(event)} {_noun(event.other, style, aside)}"
    return f"it was {_object(event, style)} that {agent} {past}{target}"


def _towards(event: Event) -> str:
    """Whether the thing is given to the other person or handled for them."""
    return "to" if event.verb in words.GIVINGS else "for"


def _object(event: Event, style: Style) -> str:
    assert event.thing is not None
    quality = "" if event.quality is None else f"{style.form(event.quality)} "
    return f"the {quality}{style.form(event.thing)}"


def _noun(person: Filler | None, style: Style, aside: dict[Filler, str]) -> str:
    assert person is not None
    clause = aside.get(person)
    return style.form(person) if clause is None else f"{style.form(person)} {clause}"


VOICES = {"active": _active, "passive": _passive, "cleft": _cleft, "converse": _converse}


class Author:
    """Draws facts and styles from one generator of random numbers.

    `rarity` 0 draws words by Zipf's law over their rank, 1 draws all alike.
    """

    def __init__(self, random: Random, rarity: float = 0.0) -> None:
        self.random = random
        self.rarity = rarity
        self._weights: dict[int, list[float]] = {}

    def pick(self, entries: tuple[Filler, ...], taken: set[Filler]) -> Filler:
        """A filler that is not taken yet; it is taken from now on."""
        weights = self._weights.get(len(entries))
        if weights is None:
            weights = [(rank + 4.0) ** -(1.0 - self.rarity) for rank in range(len(entries))]
            self._weights[len(entries)] = weights
        while True:
            filler = self.random.choices(entries, weights)[0]
            if filler not in taken:
                taken.add(filler)
                return filler

    def person(self, taken: set[Filler]) -> Filler:
        """A name or a role, as likely."""
        return self.pick(words.NAMES if self.random.random() < 0.5 else words.ROLES, taken)

    def event(self, taken: set[Filler], full: bool, agent: Filler | None = None) -> Event:
        """An event of fillers that are not taken, by `agent` where one is given; a `full` one lacks nothing."""
        verbs = self.random.choices((words.MEETINGS, words.HANDLINGS, words.GIVINGS), (0.4, 0.25, 0.35))[0]
        verb, agent, thing, quality = self.pick(verbs, taken), agent or self.person(taken), None, None
        other = self.person(taken) if full or verbs is not words.HANDLINGS else None
        if verbs is not words.MEETINGS:
            thing = self.pick(words.THINGS, taken)
            quality = self.pick(words.QUALITIES, taken) if full or self.random.random() < 0.4 else None
        settings = (words.PLACES, words.TIMES) if full else (self.random.choice((words.PLACES, words.TIMES)),)
        has_adjuncts = full or self.random.random() < 0.5
        adjuncts = tuple(self.pick(setting, taken) for setting in settings) if has_adjuncts else ()
        return Event(verb, agent, other, thing, quality, adjuncts)

    def facts(self, shape: str) -> Facts:
        """Facts in which every filler has one place only.

        Shapes: `brief` and `full` are one event, `double` two, `nested` one with an aside about a person of it.
        """
        taken: set[Filler] = set()
        first = self.event(taken, full=shape == "full")
        if shape in ("brief", "full"):
            return Facts((first,))
        if shape == "double":
            return Facts((first, self.event(taken, full=False)), self.random.choice((None, None, 0, 1)))
        people = [person for person in (first.agent, first.other) if person is not None]
        return Facts((first,), aside=self.event(taken, full=False, agent=self.random.choice(people)))

    def style(self) -> Style:
        """Sample a style with every choice free; synonyms are the first forms."""
        coin = self.random.random
        return Style(
            voice=tuple("passive" if coin() < 0.2 else "active" for _ in range(3)),
            front=(coin() < 0.3, coin() < 0.3, coin() < 0.3),
            late=coin() < 0.5,
            turned=coin() < 0.5,
            lead=coin() < 0.4,
            join="and" if coin() < 0.6 else "while",
            nested=coin() < 0.6,
        )

    def marked(self, style: Style, share: float) -> Style:
        """Return the style with this share of its voices, on average, made cleft or converse."""
        return replace(style, voice=tuple(self._marked(voice, share) for voice in style.voice))

    def _marked(self, voice: str, share: float) -> str:
        return self.random.choice(("cleft", "converse")) if self.random.random() < share else voice

    def forms(self, fillers: list[Filler]) -> dict[Filler, int]:
        """Return a form for each filler, all equally likely."""
        return {filler: self.random.randrange(len(filler.forms)) for filler in fillers}

    def flipped(self, forms: dict[Filler, int], flips: int) -> dict[Filler, int]:
        """Return the forms with the other synonym for ``flips`` fillers that have two, or for all of them."""
        changeable = [filler for filler in forms if len(filler.forms) > 1]
        changed = self.random.sample(changeable, min(flips, len(changeable)))
        return forms | {filler: 1 - forms[filler] for filler in changed}
