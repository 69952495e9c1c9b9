"""Checks of the arguments that ``conf/compression/*.yaml`` gives to a method.

Every method's file has a ``check`` with the same arguments as its ``apply``. It returns all mistakes as
``<argument>: <what is wrong>`` and imports no torch, so the check of the plan is fast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.core.errors import suggest
from pipeline.core.validators import is_number, is_whole

PARTS = ("all", "attention", "feed_forward")
IMPORTANCES = ("gradient", "magnitude")


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of a BERT-shaped encoder."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int

    @classmethod
    def from_config(cls, config: object) -> EncoderShape | None:
        """Return the shape in the content of a config.json, None where BERT's keys are missing."""
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
        if not isinstance(config, Mapping) or not all(is_whole(config.get(key), 1) for key in keys):
            return None
        return cls(*(config[key] for key in keys))


def check_share(name: str, value: object, of: str) -> list[str]:
    """Check a number above 0 and below 1."""
    if not (is_number(value) and 0 < value < 1):
        return [f"{name}: got {value!r}; write a share {of}, above 0 and below 1"]
    return []


def check_choice(name: str, value: object, allowed: Collection[str]) -> list[str]:
    """Check one of the allowed names."""
    return [] if value in allowed else [f"{name}: got {value!r}; {suggest(str(value), allowed)}"]
