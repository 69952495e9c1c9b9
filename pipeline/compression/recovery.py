"""Training after a compression: for how long, how fast, and whether the uncompressed model teaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number
from pipeline.training.distillation.distillation_settings import Distillation

KEYS = ("epochs", "rate", "distillation")
SOFT = ("alpha", "temperature")


@dataclass(frozen=True)
class Recovery:
    """``epochs`` over the training rows, at ``rate`` times the learning rate that the model was fine-tuned with.

    ``distillation`` is None, or how the model before any compression teaches: by its outputs.
    """

    epochs: float
    rate: float
    distillation: Distillation | None = None


def parse(conf: object, where: str) -> Recovery | None:
    """Return the recovery that a conf file states, None where it states none.

    Raises UserError that begins with ``where``.
    """
    if conf is None:
        return None
    if not isinstance(conf, Mapping):
        raise UserError(f"{where}: recovery: got {conf!r}; write {{epochs: ..., rate: ...}} or null")
    for key in conf:
        if key not in KEYS:
            raise UserError(f"{where}: recovery: {key}: unknown; {suggest(key, KEYS)}")
    for key in ("epochs", "rate"):
        if not (is_number(value := conf.get(key)) and value > 0):
            raise UserError(f"{where}: recovery: {key}: got {conf.get(key)!r}; give a number above 0")
    return Recovery(conf["epochs"], conf["rate"], _soft(conf.get("distillation"), where))


def _soft(conf: Any, where: str) -> Distillation | None:
    if conf is None:
        return None
    if not isinstance(conf, Mapping) or set(conf) != set(SOFT):
        raise UserError(
            f"{where}: recovery: distillation: got {conf!r}; write {{alpha: ..., temperature: ...}} or null"
        )
    try:
        return Distillation(**conf)
    except UserError as error:
        raise UserError(f"{where}: recovery: {error}") from None
