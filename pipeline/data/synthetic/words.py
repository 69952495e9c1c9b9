"""The words of the starter corpus.

Each entry lists the forms that mean the same: `doctor physician` are two names of one filler, and either may stand
for it. Entries run from common to rare; where a grade asks for rarity, the tail is drawn as often as the head.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Filler:
    """One thing that a fact can speak of: its kind and the forms that mean it.

    A form is a word or a phrase; a verb's form holds its past tense and its participle, separated by `/`.
    """

    kind: str
    forms: tuple[str, ...]


def _entries(kind: str, text: str, before: str = "") -> tuple[Filler, ...]:
    """One filler between commas; its synonyms are separated by spaces."""
    prefix = f"{before} " if before else ""
    entries = (entry.split() for entry in text.split(","))
    return tuple(Filler(kind, tuple(prefix + form for form in entry)) for entry in entries)


NAMES = _entries(
    "name",
    "Anna, Peter, Maria, David, Laura, Simon, Julia, Martin, Clara, Oscar, Helen, Victor, Nina, Felix, Irene, Hugo",
)
ROLES = _entries(
    "role",
    "doctor physician, teacher instructor, lawyer attorney, writer author, child kid, sailor seaman, farmer grower,"
    " actor performer, thief robber, guard watchman, boss chief, cook chef, neighbour, student pupil, nurse, singer"
    " vocalist, priest clergyman, soldier trooper, clerk secretary, pilot aviator, butler, widow, merchant trader,"
    " tailor dressmaker",
    before="the",
)
THINGS = _entries(
    "thing",
    "car automobile, picture photograph, gift present, sofa couch, bike bicycle, coat jacket, lamp lantern, carpet rug,"
    " stone rock, boat vessel, phone telephone, bag sack, ring, table desk, letter, watch clock, cup mug, box crate,"
    " piano, guitar, knife dagger, hat cap, map chart, flute, mirror, basket hamper, ladder, violin fiddle",
)
QUALITIES = _entries(
    "quality",
    "small little, big large, old ancient, red, blue, cheap inexpensive, beautiful lovely, dirty filthy,"
    " broken damaged, green, expensive costly, heavy weighty, white, strange odd, wooden,"
    " black, famous renowned, shiny gleaming",
)
PLACES = (
    *_entries("place", "garden yard, kitchen, library, office bureau, forest woods, street road", before="in the"),
    *_entries("place", "market bazaar, station, hotel inn, shop store, beach shore, harbour port", before="at the"),
)
TIMES = (
    *_entries("time", "Monday, Tuesday, Friday, Saturday, Sunday", before="on"),
    *_entries("time", "noon midday, dawn daybreak, dusk nightfall", before="at"),
    *_entries("time", "spring, summer, autumn fall, winter", before="in"),
)
MEETINGS = _entries(
    "meeting",
    "helped/helped assisted/assisted, called/called phoned/phoned, met/met encountered/encountered,"
    " followed/followed trailed/trailed, praised/praised commended/commended, visited/visited, thanked/thanked,"
    " noticed/noticed spotted/spotted, warned/warned alerted/alerted, hired/hired employed/employed,"
    " invited/invited, rescued/rescued saved/saved, fooled/fooled tricked/tricked, hit/hit struck/struck,"
    " comforted/comforted consoled/consoled, mocked/mocked ridiculed/ridiculed",
)
HANDLINGS = _entries(
    "handling",
    "bought/bought purchased/purchased, repaired/repaired fixed/fixed, cleaned/cleaned washed/washed,"
    " found/found discovered/discovered, hid/hidden concealed/concealed, lost/lost misplaced/misplaced,"
    " stole/stolen, painted/painted, carried/carried, dropped/dropped, wrapped/wrapped, burned/burned",
)
GIVINGS = _entries(
    "giving",
    "gave/given handed/handed, sold/sold, sent/sent mailed/mailed, lent/lent loaned/loaned, showed/shown,"
    " offered/offered, brought/brought, returned/returned",
)
CONVERSES = {
    "gave": "got", "handed": "got", "sold": "bought", "sent": "received", "mailed": "received",
    "lent": "borrowed", "loaned": "borrowed",
}  # fmt: skip
