"""A pre-trained model: the model of ``conf/model/*.yaml``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.core.stage_settings import Processes
from pipeline.core.validation import CheckedModel, Name, Positive, Target

UNSET: Any = None  # the value of a key that a file may leave out, but not set to null


class ModelFile(CheckedModel):
    """A file of conf/model/."""

    name: Name = Field(description="The name of the file.")
    source: Target = Field(description="_target_ makes the weights; every other key is an argument of it.")
    learning_rate: Positive = Field(
        default=UNSET, description="Learning rate for fine-tuning, which recipes read as ${model.learning_rate}."
    )
    threads: Processes | None = Field(default=None, description="CPU threads for training it; null: every core.")
    family: str = Field(default="pretrained", description="Models of one family share a scaling law.")
