"""What every method returns, and the checks that every method runs on its model first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.compression.argument_checks import EncoderShape
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn


class CompressedModel(NamedTuple):
    """A model after a method, and a sentence about what the method changed."""

    model: nn.Module
    changed: str


def validate_for_model(model: Any, check: Callable[..., list[str]], **arguments: Any) -> None:
    """Run the ``check`` of a method with the shape of the model.

    Raises UserError with all mistakes, one a line, or where the model's weights are int8, which no method can change.
    """
    from pipeline.models import quantised_layers

    if quantised_layers.get_int8_kind(model) is not None:
        raise UserError("the model's weights are int8 already; put int8 last in the chain, behind this method")
    if mistakes := check(EncoderShape.from_config(model.config.to_dict()), **arguments):
        raise UserError("\n".join(mistakes))


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; those that layers share count once."""
    return sum(parameter.numel() for parameter in model.parameters())
