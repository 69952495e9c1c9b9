"""Seeds of a trial's random draws."""

import subprocess
import sys
from itertools import combinations, product

import pytest

from pipeline.training.draw_seeds import derive_seed

POINT = {"task": "mrpc", "model": "bert-mini", "ratio": 0.5, "recipe": "standard"}


@pytest.mark.parametrize(
    "other", [{"task": "rte"}, {"model": "bert-tiny"}, {"ratio": 1.0}, {"recipe": "patient"}, {"seed": 1}]
)
def test_every_coordinate_and_the_seed_change_the_draws(other: dict[str, object]) -> None:
    assert derive_seed(**{"seed": 0, **POINT, **other}) != derive_seed(0, **POINT)  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0.5, 5e-1), (0.30, 0.3)])
def test_a_ratio_counts_as_a_number(one: float, other: float) -> None:
    assert derive_seed(0, **POINT | {"ratio": one}) == derive_seed(0, **POINT | {"ratio": other})  # type: ignore[arg-type]


def test_coordinates_are_not_confused_where_their_text_joins_alike() -> None:
    one, other = {"task": "a-b", "model": "c"}, {"task": "a", "model": "b-c"}
    assert derive_seed(0, **POINT | one) != derive_seed(0, **POINT | other)  # type: ignore[arg-type]


def test_another_process_derives_the_same_seed_for_any_hash_seed() -> None:
    code = f"from pipeline.training.draw_seeds import derive_seed; print(derive_seed(0, **{POINT}))"
    environments = [{"PYTHONHASHSEED": number} for number in ("1", "2")]
    derived = {
        int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True).stdout)
        for env in environments
    }
    assert derived == {derive_seed(0, **POINT)} == {1498918706}  # type: ignore[arg-type]


def test_seeds_of_a_grid_differ_and_every_generator_accepts_them() -> None:
    grid = product(range(5), ("swap", "nest"), ("2x64", "4x128"), (0.1, 0.3, 1.0))
    seeds = [derive_seed(seed, task=task, model=model, ratio=ratio, recipe="r") for seed, task, model, ratio in grid]
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert all(one != other for one, other in combinations(seeds, 2))
