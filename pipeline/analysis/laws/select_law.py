"""Fit all eligible laws of a dataset and select the best predictor of held-out cells."""

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
    """The selected law of a dataset, the other laws, and the reasons for refused forms.

    ``variation_p`` is the p value of equal means over observations, None with one seed each.
    """

    dataset: LawDataset
    observations: tuple[Observation, ...]
    law: Law | None
    others: tuple[Law, ...]
    refusals: Mapping[str, str]
    holdouts: tuple[Holdout, ...]
    variation_p: float | None

    def get_error(self, name: str) -> float | None:
        """Return the mean held-out error of a form or baseline, over comparable hold-outs.

        The law with the lowest error is selected, so its own error is optimistic; ``nested_error`` is not.
        """
        return holdout.compute_error(name, self._forms, [held.errors for held in self.holdouts])

    @property
    def nested_error(self) -> float | None:
        """Return the mean held-out error of selecting a law and predicting by it.

        Each hold-out uses the form selected from the remaining cells alone.
        """
        errors = [held.errors | {NESTED: held.errors[held.chosen_form]} for held in self.holdouts if held.chosen_form]
        return holdout.compute_error(NESTED, self._forms, errors)

    @property
    def is_flat(self) -> bool:
        """Return whether the observations do not differ significantly (ANOVA at 5%)."""
        return self.variation_p is not None and self.variation_p >= noise.SIGNIFICANCE_LEVEL

    @property
    def better_baselines(self) -> tuple[str, ...]:
        """Return the baselines with a lower held-out error than the nested selection."""
        own = self.nested_error
        if own is None:
            return ()
        return tuple(name for name in BASELINES if (other := self.get_error(name)) is not None and other < own)

    @property
    def _forms(self) -> list[str]:
        return [known.form for known in (self.law, *self.others) if known]


def fit_laws(dataset: LawDataset, observations: Sequence[Observation]) -> LawSelection:
    """Fit all laws of a dataset and select the one with the lowest held-out error.

    Ties go to the fewest parameters. All parameters are undetermined if the observations do not differ significantly
    (analysis of variance at 5%).
    """
    forms = BY_AXES[len(dataset.axes)]
    why = eligibility.check_values(dataset, observations) if observations else "no observation"
    reasons = {form.name: why or eligibility.check_fit(form, dataset, observations) for form in forms}
    refusals = {name: reason for name, reason in reasons.items() if reason}
    fitted = [form for form in forms if form.name not in refusals]
    selection = LawSelection(
        dataset, tuple(observations), None, (), refusals, (), None if why else noise.compute_variation_p(observations)
    )
    if not fitted:
        return selection
    laws = tuple(law.fit_law(form, observations, law.get_symbols(dataset)) for form in fitted)
    if selection.is_flat:
        laws = tuple(_mark_undetermined(known) for known in laws)
    held = [holdout.evaluate_holdout(dataset, axis, observations, fitted) for axis in range(len(dataset.axes))]
    selection = replace(selection, others=laws, holdouts=tuple(one for one in held if one))
    best = holdout.select_form(fitted, [one.errors for one in selection.holdouts]).name
    first = next(known for known in laws if known.form == best)
    return replace(selection, law=first, others=tuple(known for known in laws if known is not first))


def _mark_undetermined(known: Law) -> Law:
    return replace(known, parameters=tuple(replace(one, determined=False) for one in known.parameters))
