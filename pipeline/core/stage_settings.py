"""What the files of conf/ that configure a stage have in common (``conf/workspace.yaml``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.core.validation import CellName, CheckedModel, Positive, Seed

MAX_PROCESSES = 1024  # or threads: beyond any machine that trains one model together

Processes = Annotated[int, Field(ge=1, le=MAX_PROCESSES)]


class Workspace(CheckedModel):
    """conf/workspace.yaml: the keys that every stage has."""

    exploration: bool = Field(default=True, description="Whether a run is outside the plan; DVC's sweeps set false.")
    seed: Seed = Field(default=0, description="Seed of a trial; DVC's sweeps set those of params.yaml.")
    checkpoint_seconds: Positive = Field(
        default=30, description="A training keeps its state this often, in .cache/trials/."
    )


class StageSettings(Workspace):
    """conf/<stage>.yaml: the keys of a stage that makes cells."""

    cell: CellName = Field(description="Name of the cell, by which its folders and files are named.")
