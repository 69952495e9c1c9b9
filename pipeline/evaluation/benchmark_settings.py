"""What the benchmark times and how long: ``conf/benchmark.yaml`` as a typed object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import MAX_INT, is_number, is_whole
from pipeline.system import hardware

PRECISIONS = (hardware.AUTO, "bf16", "fp32")
WHERE = "conf/benchmark.yaml"
SECTIONS = {"latency": ("rows", "calls"), "budget": ("examples", "price_per_hour")}


@dataclass(frozen=True)
class Settings:
    """What is timed and how long: ``batch_size`` rows of all processes together, in ``precision``.

    ``precision`` may be ``auto``, which the stage replaces by what the hardware computes fastest in.
    Each measurement ends when the 95% interval of its median lies within the share ``within`` of it, or after
    ``at_most`` seconds. Latencies are of ``latency_calls`` calls of each of ``latency_rows`` rows. ``examples`` is a
    budget to train; ``price_per_hour`` what the machine costs, None where nobody says.
    """

    precision: str
    batch_size: int
    within: float
    at_most: float
    latency_rows: tuple[int, ...]
    latency_calls: int
    examples: int
    price_per_hour: float | None


def parse(conf: Mapping[str, Any]) -> Settings:
    """Return the settings that the composed conf file states. Raises UserError for what cannot be measured."""
    latency, budget = (_section(conf, key, keys) for key, keys in SECTIONS.items())
    if not isinstance(latency["rows"], list):
        raise UserError(f"{WHERE}: latency.rows: got {latency['rows']!r}; write a list")
    whole = {"batch": conf["batch"], "latency.calls": latency["calls"], "budget.examples": budget["examples"]}
    for key, value in [*whole.items(), *(("latency.rows", rows) for rows in latency["rows"])]:
        if mistake := count(value):
            raise UserError(f"{WHERE}: {key}: {mistake}")
    for key in ("within", "at_most"):
        if not (is_number(conf[key]) and conf[key] > 0):
            raise UserError(f"{WHERE}: {key}: got {conf[key]!r}; give a number above 0")
    if mistake := precision(conf["precision"]):
        raise UserError(f"{WHERE}: precision: {mistake}")
    if mistake := shares(conf["batch"], conf["processes"]):
        raise UserError(f"{WHERE}: batch: {mistake}")
    price = budget["price_per_hour"]
    if price is not None and not (is_number(price) and price >= 0):
        raise UserError(f"{WHERE}: budget.price_per_hour: got {price!r}; give a number from 0, or null")
    return Settings(
        conf["precision"], conf["batch"], conf["within"], conf["at_most"], tuple(latency["rows"]), latency["calls"],
        budget["examples"], price,
    )  # fmt: skip


def _section(conf: Mapping[str, Any], key: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    given = conf[key]
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise UserError(f"{WHERE}: {key}: got {given!r}; write {', '.join(f'{name}: ...' for name in keys)}")
    return given


def count(value: object) -> str | None:
    """Say what is wrong with a number of processes, threads, rows or calls, or return None."""
    if is_whole(value, 1):
        return None
    return f"got {value!r}; give a whole number from 1{f' to {MAX_INT}' if is_whole(value, 1, MAX_INT**9) else ''}"


def precision(value: object) -> str | None:
    """Say what is wrong with a precision, or return None."""
    return None if value in PRECISIONS else f"got {value!r}; {suggest(value, PRECISIONS)}"


def shares(batch: int, processes: int) -> str | None:
    """Say that a batch cannot be shared evenly, or return None."""
    if batch % processes:
        return f"{batch} rows cannot be shared evenly by {processes} processes; give a multiple"
    return None
