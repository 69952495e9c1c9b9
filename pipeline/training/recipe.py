"""How a model is fine-tuned, in numbers: ``conf/recipe/*.yaml`` as a typed object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number, is_whole


@dataclass(frozen=True)
class Recipe:
    """Rate, batch size and budget of a run; the budget is in ``epochs`` or in ``steps`` and the other is None.

    ``warmup`` is the share of the steps over which the rate rises; ``clip`` bounds the norm of the gradient;
    ``evaluations`` is the number of points on the learning curves, whatever the length of the run; ``fractions`` are
    those of the final score of which it is told what it took to reach them.
    """

    learning_rate: float
    batch_size: int
    epochs: float | None
    steps: int | None
    warmup: float
    weight_decay: float
    clip: float
    evaluations: int
    fractions: Sequence[float] = (0.9, 0.95, 0.99)

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be trained with."""
        budgets = [name for name in ("epochs", "steps") if getattr(self, name) is not None]
        if len(budgets) != 1:
            got = " and ".join(budgets) or "neither"
            raise UserError(f"recipe: got {got}; give the budget in epochs or in steps and leave the other null")
        for name in ("learning_rate", "clip", *budgets):
            self._require(name, lambda value: value > 0, "a number above 0")
        for name in ("batch_size", "evaluations", *({"steps"} & set(budgets))):
            self._require(name, lambda value: is_whole(value, 1), "a whole number from 1")
        for name in ("warmup", "weight_decay"):
            self._require(name, lambda value: 0 <= value < 1, "a number from 0 to below 1")
        if not (isinstance(self.fractions, (list, tuple)) and all(map(_share, self.fractions))):
            raise UserError(f"recipe: fractions: got {self.fractions!r}; give a list of numbers above 0 and at most 1")

    def _require(self, name: str, holds: Callable[[Any], bool], allowed: str) -> None:
        value = getattr(self, name)
        if not (is_number(value) and holds(value)):
            raise UserError(f"recipe: {name}: got {value!r}; give {allowed}")

    def updates(self, examples: int) -> int:
        """Return how many updates a run over ``examples`` training examples makes."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * math.ceil(examples / self.batch_size)))

    def points(self, examples: int) -> list[int]:
        """Return after how many updates the model is evaluated: evenly spread, the last one at the end."""
        updates = self.updates(examples)
        spread = {round(updates * point / self.evaluations) for point in range(1, self.evaluations + 1)}
        return sorted(spread - {0})


def _share(value: object) -> bool:
    return is_number(value) and 0 < value <= 1


def parse(conf: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a conf file states.

    Raises UserError, naming the file and the key, for what is missing or not allowed.
    """
    where = f"conf/recipe/{conf.get('name', '?')}.yaml"
    settings = {key: value for key, value in conf.items() if key != "name"}
    complete(f"{where}: ", settings, Recipe, "a recipe")
    try:
        return Recipe(**settings)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('recipe: ')}") from None


def complete(where: str, given: object, kind: type[Any], what: str) -> type[Any]:
    """Return the dataclass ``kind`` once ``given`` is known to state all of its fields and nothing else.

    Raises UserError that begins with ``where``.
    """
    allowed = [field.name for field in fields(kind)]
    if not isinstance(given, Mapping):
        raise UserError(f"{where}got {given!r}; write {{{', '.join(f'{key}: ...' for key in allowed)}}} or null")
    for key in given:
        if key not in allowed:
            raise UserError(f"{where}{key}: unknown; {suggest(key, allowed)}")
    for key in allowed:
        if key not in given:
            raise UserError(f"{where}{key}: missing; {what} states {', '.join(allowed)}")
    return kind
