"""Laws of loss and error against size, data and training compute: fitted, held out, and refused where data are few."""

from pipeline.analysis.laws.datasets import FAMILY, SIZES, TARGETS, Cell, of_task
from pipeline.analysis.laws.holdout import BASELINES, HeldOut, Predicted
from pipeline.analysis.laws.law import Law, Parameter
from pipeline.analysis.laws.law_types import Measured, Question
from pipeline.analysis.laws.select_law import Finding, study

__all__ = [
    "BASELINES", "FAMILY", "SIZES", "TARGETS", "Cell", "Finding", "HeldOut", "Law", "Measured", "Parameter",
    "Predicted", "Question", "of_task", "study",
]  # fmt: skip
