"""Laws of loss and error against size, data and training compute: fitted, held out, and refused where data are few."""

from pipeline.analysis.laws.datasets import FAMILY, SIZES, TARGETS, LawCell, fit_task_laws
from pipeline.analysis.laws.holdout import BASELINES, Holdout, HoldoutPrediction
from pipeline.analysis.laws.law import Law, Parameter
from pipeline.analysis.laws.law_types import LawDataset, Observation
from pipeline.analysis.laws.select_law import LawSelection, fit_laws

__all__ = [
    "BASELINES",
    "FAMILY",
    "SIZES",
    "TARGETS",
    "Holdout",
    "HoldoutPrediction",
    "Law",
    "LawCell",
    "LawDataset",
    "LawSelection",
    "Observation",
    "Parameter",
    "fit_laws",
    "fit_task_laws",
]  # fmt: skip
