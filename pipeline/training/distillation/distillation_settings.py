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


class HiddenMatching(CheckedModel):
    """Hidden states to match (Jiao et al. 2020, eq. 8 and 9)."""

    weight: Positive = Field(description="Weight in the loss.")
    layers: Layers


class AttentionMatching(CheckedModel):
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
    hidden: HiddenMatching | None = Field(
        default=None, description="Hidden states to match, through a learned projection."
    )
    attention: AttentionMatching | None = Field(default=None, description="Attention to match.")
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
    def matches_layers(self) -> bool:
        """Return whether hidden states or attention are matched."""
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
class LayerSelection:
    """Teacher layers whose states, scores and values are stored, from 1; state 0 is the input of the first layer."""

    states: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    values: tuple[int, ...] = ()


def pair_layers(layers: str, student: int, teacher: int) -> list[tuple[int, int]]:
    """Return pairs of student and teacher layers, counted from 1, for models of that many layers.

    ``uniform`` maps layer m of M to g(m) = m N / M of N, rounded (Jiao et al. 2020, section 3.1). ``last`` pairs the
    last layers.
    """
    if layers == "last":
        return [(student, teacher)]
    return [(layer, max(1, math.floor(layer * teacher / student + 0.5))) for layer in range(1, student + 1)]


def pair_states(layers: str, student: int, teacher: int) -> list[tuple[int, int]]:
    """Return ``pair_layers`` for hidden states, where ``uniform`` also pairs the embeddings, layer 0."""
    return [*([(0, 0)] if layers == "uniform" else []), *pair_layers(layers, student, teacher)]


def select_layers(settings: Distillation, student: int, teacher: int) -> LayerSelection:
    """Return the teacher layers that a student needs, for models of that many layers."""
    states: list[int] = []
    scores: list[int] = []
    if settings.hidden:
        states = [layer for _, layer in pair_states(settings.hidden.layers, student, teacher)]
    if settings.attention:
        scores = [layer for _, layer in pair_layers(settings.attention.layers, student, teacher)]
    values = scores if settings.attention and settings.attention.kind == "minilm" else []
    return LayerSelection(*(tuple(sorted(set(layers))) for layers in (states, scores, values)))


def load_distillation(conf: Mapping[str, Any]) -> Distillation:
    """Return the distillation settings in a conf file. Raises UserError with a line for each mistake."""
    return validation.load(DistillationFile, conf, f"conf/distillation/{conf.get('name', '?')}.yaml: ")
