"""Hydra's own sweeper, but that it composes ahead one job of each cell, not every seed of it.

It composes all jobs to see early whether they can be, and the launcher composes each of them again: a third of the
second that Hydra takes of a cell of three seeds. A seed decides nothing about what composes. Hydra has no setting for
it, and takes sweepers from its own namespace alone, so one method is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.plugins.sweeper import Sweeper

from pipeline import paths

compose_all = Sweeper.validate_batch_is_legal
KEPT = paths.CACHE / "hydra" / "multirun.yaml"  # what Hydra keeps of a command: its words may hold a credential
_seeds: set[str] = set()  # of the sweep that runs


def compose_seeds_once() -> None:
    """Let the sweeps of this process compose ahead one job of each cell, and none where there is one cell alone."""
    Sweeper.validate_batch_is_legal = _ahead  # type: ignore[method-assign, assignment]


def seeds() -> int:
    """Return how many seeds each cell has of the sweep that this process has run, 1 where it ran none."""
    return max(1, len(_seeds))


def _ahead(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
    KEPT.unlink(missing_ok=True)
    _seeds.update(word for job in batch for word in job if word.startswith("seed="))
    cells = {tuple(word for word in job if not word.startswith("seed=")): job for job in batch}
    if len(cells) > 1:
        compose_all(sweeper, list(cells.values()))
