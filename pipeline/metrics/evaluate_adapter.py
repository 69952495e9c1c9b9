"""The metrics as Hugging Face `evaluate` metrics, without the network that ``evaluate.load`` needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import datasets
import evaluate
import numpy as np

from pipeline.metrics import registry

GLUE = "Wang et al. 2019, GLUE: a multi-task benchmark and analysis platform for natural language understanding"


class Score(evaluate.Metric):  # type: ignore[misc]
    """A metric of the registry as an `evaluate` metric; a subclass sets the function and the label type."""

    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    label = "int64"

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value(self.label)
        return evaluate.MetricInfo(
            description=self.function.__doc__,
            citation=GLUE,
            inputs_description="predictions and references: a class (or for a correlation a number) for each example",
            features=datasets.Features({"predictions": label, "references": label}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        value = self.function(np.asarray(predictions), np.asarray(references))
        return {self.function.__name__: float(value)}


class Accuracy(Score):
    """The share of predictions that are right."""

    function = staticmethod(registry.accuracy)


class F1(Score):
    """The harmonic mean of precision and recall of class 1."""

    function = staticmethod(registry.f1)


class MatthewsCorrelation(Score):
    """The correlation of classes."""

    function = staticmethod(registry.matthews_correlation)


class Pearson(Score):
    """The correlation of numbers."""

    function = staticmethod(registry.pearson)
    label = "float64"


class Spearmanr(Score):
    """The correlation of ranks."""

    function = staticmethod(registry.spearmanr)
    label = "float64"


METRICS: dict[str, type[Score]] = {
    metric.function.__name__: metric for metric in (Accuracy, F1, MatthewsCorrelation, Pearson, Spearmanr)
}


def compute(names: Iterable[str], predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Return the named metrics of predictions against references, each (examples,)."""
    values: dict[str, float] = {}
    for name in names:
        values |= METRICS[name]().compute(predictions=predictions, references=references)
    return values
