"""Recommend a cell for each task under limits: ``lab recommend latency_p50_ms=2 storage_bytes=1e6 score=0.8``.

Limits have the names of ``compare.budget`` in the plan and replace it. The answer comes from the records of the cells.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import plan
from pipeline.analysis.results import load_results
from pipeline.core.errors import UserError
from pipeline.plan.budget import KEYS, Budget, load_budget

if TYPE_CHECKING:
    from pipeline.analysis.recommendation.recommendation import Recommendation

DETAILS = "--details"
USAGE = f"limits are written <name>=<number>, of {', '.join(KEYS)}"


def recommend(words: Sequence[str]) -> list[Recommendation]:
    """Return the answer for each task of the plan under the limits of the words, or of the plan where there are none.

    Raises UserError where a word is no limit, or where nothing has been evaluated.
    """
    study = plan.load()
    budget = limits(words) if words else study.budget
    measured = load_results.load_trials()
    if not measured:
        none = "metrics/evaluate: no cell of the plan has results yet; run `dvc repro`"
        raise UserError("\n".join(load_results.load_notices()) or none)
    from pipeline.analysis import comparison
    from pipeline.analysis.recommendation import recommendation

    found = comparison.compare_trials(measured, targets=("error",))
    return [recommendation.recommend_cell(task, budget, study.margin) for task in found.tasks]


def limits(words: Sequence[str]) -> Budget:
    """Return the budget that ``<name>=<number>`` words state; UserError names every mistake in them."""
    if wrong := [word for word in words if "=" not in word]:
        raise UserError("\n".join(f"got {word!r}; {USAGE}" for word in wrong))
    pairs = [(name, _number(value)) for name, _, value in (word.partition("=") for word in words)]
    given = dict(pairs)
    if twice := [name for name in given if sum(name == other for other, _ in pairs) > 1]:
        raise UserError("\n".join(f"{name}: given more than once; one limit counts" for name in twice))
    return load_budget(given)


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text  # load_budget reports it


def show(answers: Sequence[Recommendation], details: bool = False) -> None:
    """Print each answer and, with ``details``, the statistics and the runs behind it."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from pipeline.analysis.report import terminal
    from pipeline.analysis.report.tables import comparison_tables
    from pipeline.analysis.report.tables.table import render_terminal

    console = Console(width=None if sys.stdout.isatty() else terminal.PLAIN_WIDTH)
    for answer in answers:
        for line in answer.lines:
            console.print(line, highlight=False, markup=False)
        console.print()
        for table in comparison_tables.create_answer_tables(answer) if details else ():
            console.print(render_terminal(table, wrap=True))
            for note in table.notes:
                console.print(Padding(Text(note), (0, 0, 0, 2)))
            console.print()
        if details:
            console.print(f"runs: {', '.join(answer.support)}\n", highlight=False, markup=False)
    if not details:
        console.print(f"statistics behind this: add {DETAILS}", highlight=False, markup=False)


def print_notices() -> None:
    """Print what is missing or excluded from the results."""
    for notice in load_results.load_notices():
        print(notice)
