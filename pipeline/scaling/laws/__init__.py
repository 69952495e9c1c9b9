"""Laws of loss and error against size, data and training compute: fitted, held out, and refused where data are few."""

from pipeline.scaling.laws.holding_out import BASELINES, HeldOut, Predicted
from pipeline.scaling.laws.law import Law, Parameter
from pipeline.scaling.laws.questions import FAMILY, SIZES, TARGETS, Cell, of_task
from pipeline.scaling.laws.study import Finding, study
from pipeline.scaling.laws.types import Measured, Question

__all__ = [
    "BASELINES", "FAMILY", "SIZES", "TARGETS", "Cell", "Finding", "HeldOut", "Law", "Measured", "Parameter",
    "Predicted", "Question", "of_task", "study",
]  # fmt: skip
