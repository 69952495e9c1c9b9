"""By how much the score of the best of many cells flatters, and what cross-fitting leaves of that.

``python benchmarks/selection_bias.py [studies]`` simulates studies whose expected scores are known (200 per row by
default) and prints a Markdown row for each setting: the mean error of the recommended cell's score in points, as
measured and corrected by holding out examples alone, seeds alone, and both (``pipeline/scaling/cross_fitting.py``);
the root mean square error of the first and the last; and how often their 95% intervals contain the truth. It takes
about four minutes on one core.

A training answers an example correctly by a Gaussian copula: some examples are hard for all trainings, some for all
seeds of a cell. The interval that ignores the choice knows the spread over examples and pools that over seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.scaling import cross_fitting
from pipeline.scaling.cross_fitting import Rule
from pipeline.scaling.draws import Answers
from pipeline.scaling.weighted import WEIGHTED

Floats = npt.NDArray[np.float64]

SHARED, OWN = 0.4, 0.35  # correlation of the latent answers: of all trainings, and of the seeds of one cell besides
SPREAD = 0.12  # over seeds, on the probit scale: about 3.5 points
QUANTILES = ndtri((np.arange(200) + 0.5) / 200)
HEADER = (
    "| cells | truths | seeds | examples | measured | examples held out | seeds held out | both held out "
    "| error: measured | error: both | covered: measured | covered: both |"
)

TRUTHS: dict[str, Callable[[int, np.random.Generator], Floats]] = {
    "equal": lambda cells, random: np.full(cells, 0.78),
    "differ by 2 points": lambda cells, random: 0.78 + 0.02 * random.normal(size=cells),
    "65 to 85": lambda cells, random: np.linspace(0.65, 0.85, cells),
    "two lead by 5 points": lambda cells, random: np.append(np.linspace(0.6, 0.75, cells - 2), [0.8, 0.8]),
}


@dataclass(frozen=True)
class Setting:
    """One row: cells whose healthy trainings answer a share of examples correctly (a truth by name)."""

    cells: int
    truth: str
    seeds: int
    examples: int
    metric: str = "accuracy"
    positive: float = 0.5  # share of label 1
    failed: float = 0.0  # share of trainings that answer 0 everywhere
    least_score: float | None = None


def main(studies: int) -> None:
    """Print each row as it is measured."""
    print(HEADER)
    print("|---:|---|" + "---:|" * 10)
    for row, setting in enumerate(make_settings()):
        random = np.random.default_rng([5, row])
        outcomes = np.array([simulate_outcome(setting, random) for _ in range(studies)])
        print(f"| {describe_setting(setting)} | {format_outcomes(outcomes)} |", flush=True)


def make_settings() -> Iterator[Setting]:
    """Yield the settings of all rows."""
    for truth, seeds in product(TRUTHS, (2, 3, 5, 10)):
        yield Setting(15, truth, seeds, 1500)
    for (cells, examples), truth, seeds in product(((5, 400), (15, 400), (94, 400)), list(TRUTHS)[:3], (2, 3, 5)):
        yield Setting(cells, truth, seeds, examples)
    special = Setting(15, "65 to 85", 3, 1500)
    yield replace(special, truth="equal", metric="f1", positive=0.3)
    yield replace(special, truth="equal", metric="matthews_correlation")
    yield replace(special, failed=0.15)
    yield replace(special, least_score=0.75)


def describe_setting(setting: Setting) -> str:
    """Return the first columns of a row."""
    words = [setting.truth]
    words += [setting.metric] if setting.metric != "accuracy" else []
    words += [f"{100 * setting.failed:.0f}% of heads fail"] if setting.failed else []
    words += [f"first to reach {100 * setting.least_score:.0f}"] if setting.least_score else []
    return f"{setting.cells} | {', '.join(words)} | {setting.seeds} | {setting.examples}"


def format_outcomes(outcomes: Floats) -> str:
    """Return the other columns from the outcomes (studies, columns of ``simulate_outcome``)."""
    mean = outcomes.mean(0)
    error = outcomes.std(0) / len(outcomes) ** 0.5
    biases = ["" if np.isnan(mean[column]) else f"{mean[column]:+.1f} ± {error[column]:.1f}" for column in range(4)]
    roots = [f"{root:.1f}" for root in (outcomes[:, [0, 3]] ** 2).mean(0) ** 0.5]
    return " | ".join([*biases, *roots, *(f"{100 * share:.0f}%" for share in mean[4:])])


def simulate_outcome(setting: Setting, random: np.random.Generator) -> list[float]:
    """Simulate one study and return the errors of the recommended cell's score in points and what its intervals hold.

    The errors are of the measured score and with examples, seeds and both held out, NaN where not computed. The last
    two numbers are 1 where the interval contains the truth: that which ignores the choice, and the corrected one.
    """
    skills = TRUTHS[setting.truth](setting.cells, random)
    labels = (np.arange(setting.examples) < setting.positive * setting.examples).astype(np.int64)
    answers = simulate_answers(setting, skills, labels, random)
    cells = [Answers(str(cell), "", of_cell, labels, setting.metric) for cell, of_cell in enumerate(answers)]
    # the cells cost more in the order of their names, which matters with a least score alone
    rule = cross_fitting.build_rule([(float(cell),) for cell in range(setting.cells)], setting.least_score)
    found = cross_fitting.cross_fit_score(cells, rule)
    chosen = int(found.name)
    truth = compute_truth(setting, float(skills[chosen]))
    half = compute_half_width(cells, chosen, random)
    low, high = found.compute_interval(found.measured - half, found.measured + half, (-1.0, 1.0))
    partly = [np.nan, np.nan]
    if setting.metric == "accuracy":
        groups = min(setting.seeds, cross_fitting.SEED_GROUPS)
        splits = ((cross_fitting.FOLDS, 1), (1, groups))
        partly = [cross_fit_accuracy(answers == labels, rule, *numbers) for numbers in splits]
    errors = [100 * (score - truth) for score in (found.measured, *partly, found.score)]
    return [*errors, float(abs(found.measured - truth) <= half), float(low <= truth <= high)]


def simulate_answers(
    setting: Setting, skills: Floats, labels: npt.NDArray[np.int64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return answers (cells, seeds, examples) of trainings whose mean skills (cells,) are known."""
    cells, seeds, examples = len(skills), setting.seeds, setting.examples
    centres = ndtri(skills) * np.sqrt(1 + SPREAD**2)  # so that the mean skill over seeds is exact
    thresholds = centres[:, None, None] + SPREAD * random.normal(size=(cells, seeds, 1))
    latent = SHARED**0.5 * random.standard_normal(examples, np.float32) + (1 - SHARED - OWN) ** 0.5 * (
        random.standard_normal((cells, seeds, examples), np.float32)
    )
    latent += np.float32(OWN**0.5) * random.standard_normal((cells, 1, examples), np.float32)
    answers = np.where(latent < thresholds, labels, 1 - labels)
    return np.where(random.random((cells, seeds, 1)) < setting.failed, 0, answers)


def compute_truth(setting: Setting, skill: float) -> float:
    """Return the expected score of a cell over new seeds and new examples."""
    right = ndtr(ndtri(skill) * np.sqrt(1 + SPREAD**2) + SPREAD * QUANTILES)
    positive, wrong = setting.positive, 1 - right
    if setting.metric == "f1":
        return float((2 * positive * right / (2 * positive * right + wrong)).mean())
    if setting.metric == "matthews_correlation":  # of balanced labels
        return float((right - wrong).mean())
    return float((1 - setting.failed) * skill + setting.failed * (1 - positive))


def compute_half_width(cells: Sequence[Answers], chosen: int, random: np.random.Generator) -> float:
    """Return half the 95% interval of the chosen cell's expected score that ignores the choice.

    The spread over seeds is pooled over all cells; 200 resamples of the examples give theirs.
    """
    labels, metric = cells[0].labels, cells[0].metric
    seeds = len(cells[0].predictions)
    every = np.concatenate([cell.predictions for cell in cells])
    scores = WEIGHTED[metric](every, labels)(np.ones((1, len(labels)), np.float32)).reshape(len(cells), seeds)
    weights = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), 200).astype(np.float32)
    drawn = WEIGHTED[metric](cells[chosen].predictions, labels)(weights)
    examples = drawn.mean(1).var()
    crossed = max(0.0, float(drawn.var(0).mean() - examples)) / (seeds - 1)  # is in the spread over seeds as well
    variance = scores.var(1, ddof=1).mean() / seeds + max(0.0, examples - crossed)
    return float(stats.t.ppf(0.975, len(cells) * (seeds - 1)) * np.sqrt(variance))


def cross_fit_accuracy(right: npt.NDArray[np.bool_], rule: Rule, folds: int, groups: int) -> float:
    """Return the accuracy of choices made without a fold of examples or a group of seeds; 1 holds nothing out.

    ``right`` (cells, seeds, examples) marks correct answers.
    """
    fold, seed_group = np.arange(right.shape[2]) % folds, np.arange(right.shape[1]) % groups
    sums = np.stack([right[..., fold == part].sum(-1) for part in range(folds)])
    correct = 0
    for part, group in product(range(folds), range(groups)):
        training = sums.sum(0) - sums[part] if folds > 1 else sums[part]
        seeds = seed_group == group
        examples = (fold != part).sum() if folds > 1 else len(fold)
        chosen = rule((training[:, ~seeds] if groups > 1 else training).mean(1) / examples)
        correct += sums[part, chosen, seeds].sum()
    return float(correct / right[0].size)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
