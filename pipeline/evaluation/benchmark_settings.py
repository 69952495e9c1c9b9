"""What the benchmark times and how long: the model of ``conf/benchmark.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.core import validation
from pipeline.core.stage_settings import Processes, StageSettings
from pipeline.core.validation import CheckedModel, Count, Items, Positive

Precision = Literal["auto", "bf16", "fp32"]


class LatencySettings(CheckedModel):
    """Calls whose latency is measured."""

    rows: Items[Count] = Field(description="Rows of a call.")
    calls: Count = Field(description="Calls of each number of rows.")


class TrainingBudget(CheckedModel):
    """A training whose duration and cost are computed from the measured rate."""

    examples: Count = Field(description="Training examples.")
    price_per_hour: Annotated[float, Field(ge=0)] | None = Field(
        description="Price of the machine in your currency; null leaves the cost out."
    )


class MeasurementSettings(CheckedModel):
    """What is timed and for how long."""

    processes: Processes = Field(description="Processes that train together.")
    precision: Precision = Field(
        description="Of matrix products: bf16, fp32, or auto (bf16 where the hardware has instructions for it)."
    )
    batch: Count = Field(description="Rows of a batch, of all processes together.")
    within: Positive = Field(
        description="A measurement ends when the 95% interval of its median lies within this share of it."
    )
    at_most: Positive = Field(description="Seconds after which a measurement ends anyway.")
    latency: LatencySettings
    budget: TrainingBudget

    @model_validator(mode="after")
    def _check_batch(self) -> MeasurementSettings:
        if mistake := find_uneven_batch(self.batch, self.processes):
            raise ValueError(f"batch: {mistake}")
        return self


class BenchmarkSettings(StageSettings, MeasurementSettings):
    """conf/benchmark.yaml."""

    threads: Processes = Field(description="CPU threads of each process.")


def load_settings(conf: Mapping[str, Any]) -> MeasurementSettings:
    """Return the settings that the composed conf file states. Raises UserError with a line for each mistake."""
    own = {key: conf[key] for key in MeasurementSettings.model_fields if key in conf}
    return validation.load(MeasurementSettings, own, "conf/benchmark.yaml: ")


def find_uneven_batch(batch: int, processes: int) -> str | None:
    """Return the mistake of a batch that the processes cannot share evenly, or None."""
    if batch % processes:
        return f"{batch} rows cannot be shared evenly by {processes} processes; give a multiple"
    return None
