"""One question answered: the laws that its places allow, held out, and the one that predicted best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis.laws import eligibility, holdout, law, noise
from pipeline.analysis.laws.forms import BY_AXES
from pipeline.analysis.laws.holdout import BASELINES, Holdout
from pipeline.analysis.laws.law import Law
from pipeline.analysis.laws.law_types import LawDataset, Observation

NESTED = "nested choice"


@dataclass(frozen=True)
class LawSelection:
    """What the places say to a question: the chosen law, the others, and why a form was refused.

    ``varies`` is how likely seeds alone would make the places differ so much, None for one seed each.
    """

    dataset: LawDataset
    observations: tuple[Observation, ...]
    law: Law | None
    others: tuple[Law, ...]
    refusals: Mapping[str, str]
    holdouts: tuple[Holdout, ...]
    variation_p: float | None

    def get_error(self, name: str) -> float | None:
        """Return a form's or baseline's mean held-out error, over the hold-outs in which every law took part.

        The law with the least was chosen, so its own is too low; ``nested_error`` is not.
        """
        return holdout.compute_error(name, self._forms, [held.errors for held in self.holdouts])

    @property
    def nested_error(self) -> float | None:
        """Return the mean held-out error of choosing a law and predicting by it.

        Each time the form is the one that the other cells alone choose, so the held-out cells have no part in it.
        """
        errors = [held.errors | {NESTED: held.errors[held.chosen_form]} for held in self.holdouts if held.chosen_form]
        return holdout.compute_error(NESTED, self._forms, errors)

    @property
    def is_flat(self) -> bool:
        """Say whether the places differ by no more than their seeds do (analysis of variance at 5%)."""
        return self.variation_p is not None and self.variation_p >= noise.SIGNIFICANCE_LEVEL

    @property
    def better_baselines(self) -> tuple[str, ...]:
        """Return the baselines that predicted what was held out better than a law chosen without it."""
        own = self.nested_error
        if own is None:
            return ()
        return tuple(name for name in BASELINES if (other := self.get_error(name)) is not None and other < own)

    @property
    def _forms(self) -> list[str]:
        return [known.form for known in (self.law, *self.others) if known]


def fit_laws(question: LawDataset, points: Sequence[Observation]) -> LawSelection:
    """Return the laws of a question's places, the one with the least held-out error first.

    Among laws that none of the hold-outs can tell apart the one with fewest parameters is chosen. Nothing is determined
    where the places do not differ by more than their seeds do (analysis of variance at 5%).
    """
    forms = BY_AXES[len(question.axes)]
    places = tuple(points)
    why = eligibility.check_values(question, places) if places else "no place is measured"
    refused = {form.name: why or eligibility.check_fit(form, question, places) for form in forms}
    told = {name: reason for name, reason in refused.items() if reason}
    fitted = [form for form in forms if form.name not in told]
    finding = LawSelection(question, places, None, (), told, (), None if why else noise.compute_variation_p(places))
    if not fitted:
        return finding
    laws = tuple(law.fit_law(form, places, law.get_symbols(question)) for form in fitted)
    if finding.is_flat:
        laws = tuple(_mark_undetermined(known) for known in laws)
    held = [holdout.evaluate_holdout(question, axis, places, fitted) for axis in range(len(question.axes))]
    finding = replace(finding, others=laws, holdouts=tuple(one for one in held if one))
    best = holdout.select_form(fitted, [one.errors for one in finding.holdouts]).name
    first = next(known for known in laws if known.form == best)
    return replace(finding, law=first, others=tuple(known for known in laws if known is not first))


def _mark_undetermined(known: Law) -> Law:
    return replace(known, parameters=tuple(replace(one, determined=False) for one in known.parameters))
