"""How a model is fine-tuned: the model of ``conf/recipe/*.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from pipeline.core import validation
from pipeline.core.validation import CheckedModel, Count, Items, Name, Positive, Share

Fraction = Annotated[float, Field(ge=0, lt=1)]
BUDGET = "give the budget in epochs or in steps and leave the other null"


class TrainingSettings(CheckedModel):
    """What fine-tuning and the training after a compression have in common."""

    batch_size: Count = Field(description="Rows of a batch, of all processes together.")
    warmup: Fraction = Field(description="Share of the steps over which the learning rate rises.")
    weight_decay: Fraction = Field(description="Weight decay; biases and layer norms have none.")
    clip: Positive = Field(description="Upper bound of the gradient's norm.")
    evaluations: Count = Field(description="Number of points on the learning curves.")
    fractions: Items[Share] = Field(
        default=(0.9, 0.95, 0.99),
        description="Fractions of the final score for which the steps to reach them are recorded.",
    )


class Recipe(TrainingSettings):
    """Learning rate, batch size and budget of a run; the budget is in ``epochs`` or in ``steps``."""

    learning_rate: Positive = Field(description="Peak learning rate; usually ${model.learning_rate}.")
    epochs: Positive | None = Field(description="Passes over the training rows, or null.")
    steps: Count | None = Field(description="Updates of the weights, or null.")

    @field_validator("steps")
    @classmethod
    def _check_budget(cls, steps: int | None, info: ValidationInfo) -> int | None:
        if "epochs" in info.data and (info.data["epochs"] is None) == (steps is None):
            raise ValueError(f"got {'neither' if steps is None else 'epochs and steps'}; {BUDGET}")
        return steps

    def count_steps(self, examples: int) -> int:
        """Return the number of steps of a run on ``examples`` training examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * math.ceil(examples / self.batch_size)))

    def get_evaluation_steps(self, examples: int) -> list[int]:
        """Return the steps after which the model is evaluated, evenly spread up to the last step."""
        updates = self.count_steps(examples)
        spread = {round(updates * point / self.evaluations) for point in range(1, self.evaluations + 1)}
        return sorted(spread - {0})


class RecipeFile(Recipe):
    """A file of conf/recipe/."""

    name: Name = Field(description="The name of the file.")


def load_recipe(conf: Mapping[str, Any]) -> Recipe:
    """Return the recipe in a conf file. Raises UserError with a line for each mistake."""
    return validation.load(RecipeFile, conf, f"conf/recipe/{conf.get('name', '?')}.yaml: ")
