"""By how much the score of the best of many cells flatters, and what cross-fitting leaves of that.

``python benchmarks/selection_bias.py [studies]`` simulates studies whose expected scores are known (200 per row by
default) and prints a Markdown row for each setting: the mean error of the recommended cell's score in points, as
measured and corrected by holding out examples alone, seeds alone, and both
(``pipeline/analysis/statistics/cross_fitting.py``);
the root mean square error of the first and the last; how often their 95% intervals contain the truth; and the width of
the corrected interval relative to the other. It takes about five minutes on one core.

A training answers an example correctly by a Gaussian copula: some examples are hard for all trainings, some for all
seeds of a cell. "Measured" intervals are those that ignore the choice
(``pipeline/analysis/statistics/score_intervals.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.analysis.statistics import cross_fitting, score_intervals
from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.analysis.statistics.cross_fitting import Rule
from pipeline.analysis.statistics.weighted_metrics import WEIGHTED_METRICS, ResampleWeights

Floats = npt.NDArray[np.float64]

SHARED, OWN = 0.4, 0.35  # correlation of the latent answers: of all trainings, and of the seeds of one cell besides
SPREAD = 0.12  # over seeds, on the probit scale: about 3.5 points
RESAMPLES = 200  # of the examples
QUANTILES = ndtri((np.arange(200) + 0.5) / 200)
HEADER = (
    "| cells | truths | seeds | examples | measured | examples held out | seeds held out | both held out "
    "| error: measured | error: both | covered: measured | covered: both | width |"
)

TRUTHS: dict[str, Callable[[int, np.random.Generator], Floats]] = {
    "equal": lambda cells, random: np.full(cells, 0.78),
    "differ by 2 points": lambda cells, random: 0.78 + 0.02 * random.normal(size=cells),
    "65 to 85": lambda cells, random: np.linspace(0.65, 0.85, cells),
    "two lead by 5 points": lambda cells, random: np.append(np.linspace(0.6, 0.75, cells - 2), [0.8, 0.8]),
}

BASELINES: dict[str, Callable[[float], float]] = {  # of the best constant answer, by the share of label 1
    "accuracy": lambda positive: max(positive, 1 - positive),
    "f1": lambda positive: 2 * positive / (1 + positive),
    "matthews_correlation": lambda positive: 0.0,
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
    print("|---:|---|" + "---:|" * 11)
    for row, setting in enumerate(make_settings()):
        random = np.random.default_rng([5, row])
        weights = random.multinomial(setting.examples, [1 / setting.examples] * setting.examples, RESAMPLES)
        outcomes = np.array([simulate_outcome(setting, weights.astype(np.float32), random) for _ in range(studies)])
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
    bias = np.round(mean[:4], 1) + 0.0  # no negative zero
    biases = [
        "" if np.isnan(value) else f"{value:+.1f} ± {margin:.1f}" for value, margin in zip(bias, error[:4], strict=True)
    ]
    roots = [f"{root:.1f}" for root in (outcomes[:, [0, 3]] ** 2).mean(0) ** 0.5]
    return " | ".join([*biases, *roots, *(f"{100 * share:.0f}%" for share in mean[4:6]), f"{mean[6]:.2f}"])


def simulate_outcome(setting: Setting, weights: ResampleWeights, random: np.random.Generator) -> list[float]:
    """Simulate one study and return the errors of the recommended cell's score in points and what its intervals hold.

    The errors are of the measured score and with examples, seeds and both held out, NaN where not computed. Then 1 or
    0: whether the interval contains the truth, ignoring the choice and corrected; last the ratio of their widths.
    ``weights`` (resamples, examples) are how often each example is drawn.
    """
    skills = TRUTHS[setting.truth](setting.cells, random)
    labels = (np.arange(setting.examples) < setting.positive * setting.examples).astype(np.int64)
    answers = simulate_answers(setting, skills, labels, random)
    cells = [CellPredictions(str(cell), "", of_cell, labels, setting.metric) for cell, of_cell in enumerate(answers)]
    # the cells cost more in the order of their names, which matters with a least score alone
    rule = cross_fitting.build_rule([(float(cell),) for cell in range(setting.cells)], setting.least_score)
    found = cross_fitting.cross_fit_score(cells, rule)
    chosen = int(found.name)
    truth = compute_truth(setting, float(skills[chosen]))
    low, high = (float(ends[chosen]) for ends in compute_intervals(setting, cells, weights))
    new_low, new_high = found.compute_interval(low, high, score_intervals.get_bounds(setting.metric))
    partly = [np.nan, np.nan]
    if setting.metric == "accuracy":
        groups = min(setting.seeds, cross_fitting.SEED_GROUPS)
        splits = ((cross_fitting.FOLDS, 1), (1, groups))
        partly = [cross_fit_accuracy(answers == labels, rule, *numbers) for numbers in splits]
    errors = [100 * (score - truth) for score in (found.measured, *partly, found.score)]
    return [
        *errors,
        float(low <= truth <= high),
        float(new_low <= truth <= new_high),
        (new_high - new_low) / (high - low),
    ]


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


def compute_intervals(
    setting: Setting, cells: Sequence[CellPredictions], weights: ResampleWeights
) -> tuple[Floats, Floats]:
    """Return the ends of each cell's interval that ignores the choice.

    ``weights`` (resamples, examples) are how often each example is drawn.
    """
    labels = cells[0].labels
    score = WEIGHTED_METRICS[setting.metric](np.concatenate([cell.predictions for cell in cells]), labels)
    measured, drawn = (
        score(rows).reshape(-1, len(cells), setting.seeds) for rows in (np.ones_like(weights[:1]), weights)
    )
    examples = drawn.mean(2).var(0)
    crossed = np.maximum(0, drawn.var(0).mean(1) - examples) / max(1, setting.seeds - 1)
    failed = np.stack([(cell.predictions == 0).all(1) for cell in cells])
    baseline, bounds = BASELINES[setting.metric](setting.positive), score_intervals.get_bounds(setting.metric)
    statistics = [
        score_intervals.CellScores(
            measured[0, cell], failed[cell], setting.examples, examples[cell], crossed[cell], baseline, bounds=bounds
        )
        for cell in range(len(cells))
    ]
    posterior = score_intervals.estimate_scores(score_intervals.stack_cells(statistics))
    assert posterior is not None
    return score_intervals.compute_intervals(posterior)


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
