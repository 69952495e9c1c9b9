"""Training after a compression: for how long, how fast, and whether the uncompressed model teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pipeline.core import validation
from pipeline.core.validation import CheckedModel, Name, Positive, Target
from pipeline.training.distillation.distillation_settings import Alpha, Distillation, Temperature
from pipeline.training.recipe import TrainingSettings


class SoftTargets(CheckedModel):
    """Outputs of the model before any compression, as targets."""

    alpha: Alpha
    temperature: Temperature


class Recovery(CheckedModel):
    """The training after a compression."""

    epochs: Positive = Field(description="Passes over the training rows.")
    rate: Positive = Field(description="Factor on the learning rate with which the model was fine-tuned.")
    distillation: SoftTargets | None = Field(default=None, description="How the uncompressed model teaches, or null.")

    @property
    def teacher(self) -> Distillation | None:
        """Return how the uncompressed model teaches: by its outputs alone."""
        if (soft := self.distillation) is None:
            return None
        return Distillation(alpha=soft.alpha, temperature=soft.temperature)


class RecoverySettings(TrainingSettings):
    """The part ``recovery`` of conf/compress.yaml: what is the same after each compression."""

    steps: None = Field(default=None, description="Always null: the budget of a recovery is in epochs.")


class CompressionFile(CheckedModel):
    """A file of conf/compression/."""

    name: Name = Field(description="The name of the file.")
    method: Target = Field(
        description="_target_ is a function in pipeline/compression/; every other key is an argument of it."
    )
    recovery: Recovery | None = Field(description="Training after the compression, or null for none.")


def load_compression(conf: Mapping[str, Any]) -> CompressionFile:
    """Return the compression that a conf file states. Raises UserError with a line for each mistake."""
    return validation.load(CompressionFile, conf, f"conf/compression/{conf.get('name', '?')}.yaml: ")
