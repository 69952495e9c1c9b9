"""The limits under which a cell is recommended: the section ``compare.budget`` of the plan."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.core import validation
from pipeline.core.validation import CheckedModel, Positive

MARGIN = 1.0  # points; cells whose scores differ by less are equally good, where the plan sets no other margin
Score = Annotated[float, Field(ge=0, le=1, json_schema_extra={"errorMessage": "give a score from 0 to 1"})]


class Budget(CheckedModel):
    """Limits on the costs and the score of a cell, as means over seeds on the machine that measured them."""

    latency_p50_ms: Positive | None = Field(default=None, description="Median latency of one row, in milliseconds.")
    storage_bytes: Positive | None = Field(default=None, description="Bytes on disk.")
    inference_memory_mib: Positive | None = Field(default=None, description="Peak memory of inference, in MiB.")
    train_seconds: Positive | None = Field(default=None, description="Training time of the cell and all its ancestors.")
    train_examples: Positive | None = Field(default=None, description="Training rows.")
    score: Score | None = Field(default=None, description="Lowest score, as the task's metric from 0 to 1.")

    @property
    def limits(self) -> dict[str, float]:
        """Return the costs that are limited, in the order of the fields."""
        limits = {key: getattr(self, key) for key in COSTS}
        return {key: limit for key, limit in limits.items() if limit is not None}


KEYS = tuple(Budget.model_fields)
COSTS = tuple(key for key in KEYS if key != "score")


def load_budget(limits: object, where: str = "") -> Budget:
    """Return the budget of a mapping as YAML gives it. Raises UserError with a line for each mistake."""
    return validation.load(Budget, limits, where)
