"""Seeds of a trial's random draws: head, order of the data, dropout.

Each point of the grid has its own draws. With the user's seed alone, all cells would share one head and one dropout
stream per seed, so their deviations would be correlated and the comparison would mistake them for effects
(``benchmarks/shared_draws.py``).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def derive_seed(seed: int, *, task: str, model: str, ratio: float, recipe: str) -> int:
    """Return the seed of a trial's draws, from 0 to 2**32 - 1, which every generator accepts.

    It depends on the values of the coordinates, not on the cell's name: a student trained with and without its teacher,
    and a compression and its source, share it. ``ratio`` counts as a number, so 1 and 1.0 are equal. ``recipe`` counts
    by name. The value is the same in every process and on every machine.
    """
    coordinates = json.dumps([int(seed), task, model, float(ratio), recipe])
    return int.from_bytes(hashlib.blake2b(coordinates.encode(), digest_size=4).digest(), "big")


def derive_trial_seed(cfg: DictConfig) -> int:
    """Return ``derive_seed`` of a trial's config; a compression has the coordinates of its source."""
    return derive_seed(cfg.seed, task=cfg.task.name, model=cfg.model.name, ratio=cfg.ratio, recipe=cfg.recipe.name)
