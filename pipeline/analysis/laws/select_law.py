"""One question answered: the laws that its places allow, held out, and the one that predicted best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis.laws import eligibility, holdout, law, noise
from pipeline.analysis.laws.forms import BY_AXES
from pipeline.analysis.laws.holdout import BASELINES, HeldOut
from pipeline.analysis.laws.law import Law
from pipeline.analysis.laws.law_types import Measured, Question

NESTED = "nested choice"


@dataclass(frozen=True)
class Finding:
    """What the places say to a question: the chosen law, the others, and why a form was refused.

    ``varies`` is how likely seeds alone would make the places differ so much, None for one seed each.
    """

    question: Question
    points: tuple[Measured, ...]
    law: Law | None
    others: tuple[Law, ...]
    refused: Mapping[str, str]
    held_out: tuple[HeldOut, ...]
    varies: float | None

    def error(self, name: str) -> float | None:
        """Return a form's or baseline's mean held-out error, over the hold-outs in which every law took part.

        The law with the least was chosen, so its own is too low; ``nested_error`` is not.
        """
        return holdout.compute_error(name, self._forms, [held.errors for held in self.held_out])

    @property
    def nested_error(self) -> float | None:
        """Return the mean held-out error of choosing a law and predicting by it.

        Each time the form is the one that the other cells alone choose, so the held-out cells have no part in it.
        """
        errors = [held.errors | {NESTED: held.errors[held.chosen]} for held in self.held_out if held.chosen]
        return holdout.compute_error(NESTED, self._forms, errors)

    @property
    def flat(self) -> bool:
        """Say whether the places differ by no more than their seeds do (analysis of variance at 5%)."""
        return self.varies is not None and self.varies >= noise.REJECTED

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """Return the baselines that predicted what was held out better than a law chosen without it."""
        own = self.nested_error
        if own is None:
            return ()
        return tuple(name for name in BASELINES if (other := self.error(name)) is not None and other < own)

    @property
    def _forms(self) -> list[str]:
        return [known.form for known in (self.law, *self.others) if known]


def study(question: Question, points: Sequence[Measured]) -> Finding:
    """Return the laws of a question's places, the one with the least held-out error first.

    Among laws that none of the hold-outs can tell apart the one with fewest parameters is chosen. Nothing is determined
    where the places do not differ by more than their seeds do (analysis of variance at 5%).
    """
    forms = BY_AXES[len(question.axes)]
    places = tuple(points)
    why = eligibility.of_values(question, places) if places else "no place is measured"
    refused = {form.name: why or eligibility.to_fit(form, question, places) for form in forms}
    told = {name: reason for name, reason in refused.items() if reason}
    fitted = [form for form in forms if form.name not in told]
    finding = Finding(question, places, None, (), told, (), None if why else noise.varies(places))
    if not fitted:
        return finding
    laws = tuple(law.fit(form, places, law.symbols(question)) for form in fitted)
    if finding.flat:
        laws = tuple(_undetermined(known) for known in laws)
    held = [holdout.hold_out(question, axis, places, fitted) for axis in range(len(question.axes))]
    finding = replace(finding, others=laws, held_out=tuple(one for one in held if one))
    best = holdout.choose(fitted, [one.errors for one in finding.held_out]).name
    first = next(known for known in laws if known.form == best)
    return replace(finding, law=first, others=tuple(known for known in laws if known is not first))


def _undetermined(known: Law) -> Law:
    return replace(known, parameters=tuple(replace(one, determined=False) for one in known.parameters))
