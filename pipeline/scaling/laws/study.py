"""One question answered: the laws that its places allow, held out, and the one that predicted best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.scaling.laws import holding_out, law, noise, refusing
from pipeline.scaling.laws.forms import BY_AXES
from pipeline.scaling.laws.holding_out import BASELINES, HeldOut
from pipeline.scaling.laws.law import Law
from pipeline.scaling.laws.types import Measured, Question


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
        """Return a form's or baseline's mean held-out error, over the hold-outs in which every law took part."""
        errors = [held.predicted[name].error for held in self._common() if name in held.predicted]
        return sum(errors) / len(errors) if errors else None

    @property
    def flat(self) -> bool:
        """Say whether the places differ by no more than their seeds do (analysis of variance at 5%)."""
        return self.varies is not None and self.varies >= noise.REJECTED

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """Return the baselines that predicted what was held out better than the chosen law."""
        own = self.error(self.law.form) if self.law else None
        if own is None:
            return ()
        return tuple(name for name in BASELINES if (other := self.error(name)) is not None and other < own)

    def _common(self) -> list[HeldOut]:
        names = [known.form for known in (self.law, *self.others) if known]
        able = [name for name in names if any(name in held.predicted for held in self.held_out)]
        return [held for held in self.held_out if able and all(name in held.predicted for name in able)]


def study(question: Question, points: Sequence[Measured]) -> Finding:
    """Return the laws of a question's places, the one with the least held-out error first.

    Among laws that none of the hold-outs can tell apart the one with fewest parameters is chosen. Nothing is determined
    where the places do not differ by more than their seeds do (analysis of variance at 5%).
    """
    forms = BY_AXES[len(question.axes)]
    places = tuple(points)
    why = refusing.of_values(question, places) if places else "no place is measured"
    refused = {form.name: why or refusing.to_fit(form, question, places) for form in forms}
    told = {name: reason for name, reason in refused.items() if reason}
    fitted = [form for form in forms if form.name not in told]
    finding = Finding(question, places, None, (), told, (), None if why else noise.varies(places))
    if not fitted:
        return finding
    laws = tuple(law.fit(form, places, law.symbols(question)) for form in fitted)
    if finding.flat:
        laws = tuple(_undetermined(known) for known in laws)
    held = [holding_out.hold_out(question, axis, places, fitted) for axis in range(len(question.axes))]
    finding = replace(finding, others=laws, held_out=tuple(one for one in held if one))
    first = min(laws, key=lambda known: (_rounded(finding.error(known.form)), len(known.parameters)))
    return replace(finding, law=first, others=tuple(known for known in laws if known is not first))


def _rounded(error: float | None) -> float:
    """Return an error to hundredths of a percent, so that two forms that fitted the same curve tie."""
    return float("inf") if error is None else round(error, 4)


def _undetermined(known: Law) -> Law:
    return replace(known, parameters=tuple(replace(one, determined=False) for one in known.parameters))
