"""How a student learns from a teacher: the model of ``conf/distillation/*.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.core import validation
from pipeline.core.validation import CheckedModel, Name, Positive, Seed
from pipeline.core.validators import MAX_INT

Layers = Annotated[
    Literal["last", "uniform"],
    Field(description="Which layers learn: uniform spreads them over the teacher's layers, last is the last pair."),
]
Alpha = Annotated[
    float,
    Field(ge=0, le=1, description="Share of the teacher's softened outputs in the loss; the labels have the rest."),
]
Temperature = Annotated[Positive, Field(description="Softens the outputs of both models (Hinton et al. 2015).")]
START = "write pretrained, scratch or {every: 2} and up"


class Hidden(CheckedModel):
    """Hidden states to match (Jiao et al. 2020, eq. 8 and 9)."""

    weight: Positive = Field(description="Weight in the loss.")
    layers: Layers


class Attention(CheckedModel):
    """Attention to match."""

    weight: Positive = Field(description="Weight in the loss.")
    kind: Literal["minilm", "tinybert"] = Field(
        description="tinybert: the scores before the softmax (Jiao et al. 2020, eq. 7). minilm: the distributions over "
        "the tokens and the relations between the values (Wang et al. 2020, eq. 4 to 8)."
    )
    layers: Layers


class Distillation(CheckedModel):
    """What the student learns from the teacher in addition to the labels, and how it is initialised."""

    alpha: Alpha
    temperature: Temperature
    hidden: Hidden | None = Field(default=None, description="Hidden states to match, through a learned projection.")
    attention: Attention | None = Field(default=None, description="Attention to match.")
    start: Literal["pretrained", "scratch"] | Annotated[int, Field(ge=2, le=MAX_INT)] = Field(
        default="pretrained",
        description="The student's first weights: pretrained, scratch, or {every: k} for every k-th layer of the "
        "teacher.",
        json_schema_extra={"errorMessage": START},
    )
    teacher_seed: Seed | None = Field(
        default=None, description="The teacher's trial for every seed; null: the trial of the same seed."
    )

    @property
    def inside(self) -> bool:
        """Return whether more than the outputs is matched."""
        return bool(self.hidden or self.attention)


class TeacherLayers(CheckedModel):
    """Every k-th layer of the teacher."""

    every: Annotated[int, Field(ge=2, le=MAX_INT)]


class DistillationFile(Distillation):
    """A file of conf/distillation/."""

    name: Name = Field(description="The name of the file.")

    @field_validator("start", mode="before", json_schema_input_type=Literal["pretrained", "scratch"] | TeacherLayers)
    @classmethod
    def _read_every(cls, value: object) -> object:
        """Return the number k of ``{every: k}``; a bare number is no start."""
        if isinstance(value, dict) and set(value) == {"every"}:
            return value["every"]
        return None if isinstance(value, int) else value


@dataclass(frozen=True)
class Needs:
    """What to keep of a teacher beside its outputs, by its layers from 1; state 0 is what goes into the first layer."""

    states: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    values: tuple[int, ...] = ()


def pairs(layers: str, student: int, teacher: int) -> list[tuple[int, int]]:
    """Return which of the ``student`` layers learns from which of the ``teacher`` layers, both counted from 1.

    ``uniform`` spreads the student's m-th of M over the teacher's N: g(m) = m N / M, rounded where it is no whole
    number (Jiao et al. 2020, section 3.1); ``last`` pairs the last two.
    """
    if layers == "last":
        return [(student, teacher)]
    return [(layer, max(1, math.floor(layer * teacher / student + 0.5))) for layer in range(1, student + 1)]


def state_pairs(layers: str, student: int, teacher: int) -> list[tuple[int, int]]:
    """Return ``pairs`` for hidden states: a uniform map begins with the embeddings, layer 0 of both."""
    return [*([(0, 0)] if layers == "uniform" else []), *pairs(layers, student, teacher)]


def needs(settings: Distillation, student: int, teacher: int) -> Needs:
    """Return what a student of so many layers needs of a teacher of so many."""
    states: list[int] = []
    scores: list[int] = []
    if settings.hidden:
        states = [layer for _, layer in state_pairs(settings.hidden.layers, student, teacher)]
    if settings.attention:
        scores = [layer for _, layer in pairs(settings.attention.layers, student, teacher)]
    values = scores if settings.attention and settings.attention.kind == "minilm" else []
    return Needs(*(tuple(sorted(set(kept))) for kept in (states, scores, values)))


def load_distillation(conf: Mapping[str, Any]) -> Distillation:
    """Return the distillation that a conf file states. Raises UserError with a line for each mistake."""
    return validation.load(DistillationFile, conf, f"conf/distillation/{conf.get('name', '?')}.yaml: ")
