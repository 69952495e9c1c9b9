"""How a student learns from a teacher, in numbers: ``conf/distillation/*.yaml`` as a typed object."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number, is_whole
from pipeline.training.recipe import complete

LAYERS = ("last", "uniform")
KINDS = ("minilm", "tinybert")
STARTS = ("pretrained", "scratch")


@dataclass(frozen=True)
class Hidden:
    """Hidden states to match (Jiao et al. 2020, eq. 8 and 9): ``weight`` in the loss, ``layers`` uniform or last."""

    weight: float
    layers: str

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be matched."""
        _weight("hidden", self.weight)
        _one_of("hidden: layers", self.layers, LAYERS)


@dataclass(frozen=True)
class Attention:
    """Attention to match: ``weight`` in the loss, ``layers`` uniform or last, and what of it by ``kind``.

    ``tinybert``: the scores before the softmax (Jiao et al. 2020, eq. 7). ``minilm``: the distributions over the tokens
    and the relations between the values (Wang et al. 2020, eq. 4 to 8), there of the last layer.
    """

    weight: float
    kind: str
    layers: str

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be matched."""
        _weight("attention", self.weight)
        _one_of("attention: kind", self.kind, KINDS)
        _one_of("attention: layers", self.layers, LAYERS)


@dataclass(frozen=True)
class Distillation:
    """What the student learns from the teacher beside the labels, and how it begins.

    ``alpha`` is the share of the teacher's softened outputs in the loss, the labels have the rest; ``temperature``
    softens both (Hinton et al. 2015). ``start`` is ``pretrained``, ``scratch``, or a number k for every k-th layer of
    the teacher. ``teacher_seed`` is the trial that teaches every seed, None the teacher's trial of the same seed.
    """

    alpha: float
    temperature: float
    hidden: Hidden | None = None
    attention: Attention | None = None
    start: str | int = "pretrained"
    teacher_seed: int | None = None

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be taught with."""
        if not (is_number(self.alpha) and 0 <= self.alpha <= 1):
            raise UserError(f"distillation: alpha: got {self.alpha!r}; give a number from 0 to 1")
        if not (is_number(self.temperature) and self.temperature > 0):
            raise UserError(f"distillation: temperature: got {self.temperature!r}; give a number above 0")
        if not (self.start in STARTS or is_whole(self.start, 2)):
            raise UserError(
                f"distillation: start: got {self.start!r}; write pretrained, scratch or {{every: 2}} and up"
            )
        if self.teacher_seed is not None and not is_whole(self.teacher_seed, maximum=2**32 - 1):
            raise UserError(f"distillation: teacher_seed: got {self.teacher_seed!r}; give a seed of the plan, or null")

    @property
    def inside(self) -> bool:
        """Return whether more than the outputs is matched."""
        return bool(self.hidden or self.attention)


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


def parse(conf: Mapping[str, Any]) -> Distillation:
    """Return the distillation that a conf file states.

    Raises UserError, naming the file and the key, for what is missing or not allowed.
    """
    where = f"conf/distillation/{conf.get('name', '?')}.yaml"
    settings = {key: value for key, value in conf.items() if key != "name"}
    try:
        complete("", settings, Distillation, "a distillation")
        start = settings["start"]
        if isinstance(start, Mapping) and set(start) == {"every"} and is_whole(start["every"]):
            settings["start"] = start["every"]
        elif not isinstance(start, str):
            settings["start"] = str(start)
        for key, kind in (("hidden", Hidden), ("attention", Attention)):
            if settings[key] is not None:
                settings[key] = complete(f"{key}: ", settings[key], kind, key)(**settings[key])
        return Distillation(**settings)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('distillation: ')}") from None


def _weight(name: str, value: object) -> None:
    if not (is_number(value) and value > 0):
        raise UserError(f"distillation: {name}: weight: got {value!r}; give a number above 0, or {name}: null")


def _one_of(name: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise UserError(f"distillation: {name}: got {value!r}; {suggest(value, allowed)}")
