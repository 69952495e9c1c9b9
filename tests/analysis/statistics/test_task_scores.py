from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis.results import trial_table
from pipeline.analysis.results.cell_table import CellCoordinates
from pipeline.analysis.statistics import bootstrap, task_scores
from pipeline.analysis.statistics.bootstrap import CellPredictions, ScoreSamples
from pipeline.analysis.statistics.task_scores import CellTraits, TaskScores
from pipeline.evaluation import predictions
from tests import fakes

POINTS = [
    CellCoordinates(f"mrpc-{model}-1.0-standard", "mrpc", model, 1.0, "standard", f"evaluate@mrpc-{model}-1.0-standard")
    for model in ("bert-tiny", "bert-mini", "bert-small")
]
STUDENT = CellCoordinates("taught", "mrpc", "bert-tiny", 1.0, "standard", "evaluate-distill@taught",
                section="distill", source="finetune/mrpc-bert-small-1.0-standard", method="logits")  # fmt: skip


def estimate(folder: Path, seeds: tuple[int, ...] = (0, 1, 2), same: bool = False) -> TaskScores:
    """Return the scores of three models and a student; its teacher makes no difference where ``same``."""
    known = [fakes.evaluation(point.task, point.model, point.ratio, seeds) for point in POINTS]
    taught = fakes.evaluation("mrpc", "bert-tiny", 1.0, seeds) | {"cell": "taught"}
    for trial in taught["trials"]:
        alone = predictions.from_text(trial["predictions"]).copy()
        if not same:
            alone[:20] = 1 - predictions.from_text(trial["references"])[:20]
        trial["alone_predictions"] = predictions.as_text(alone)
    fakes.write(folder, [*known, taught])
    points = [*POINTS, STUDENT]
    planned = fakes.planned(points, seeds)
    (found,) = task_scores.estimate_by_task(trial_table.read_trials(points, folder / "metrics" / "evaluate", planned))
    return found


def draw(seeds: int, metric: str = "accuracy") -> tuple[ScoreSamples, dict[str, CellTraits]]:
    """Return the draws of four cells whose skill grows from 0.6 to 0.9, and what is known of them."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    answers, facts = [], {}
    for cell in range(4):
        skill = 0.6 + 0.1 * cell + 0.03 * random.normal(size=(seeds, 1))
        answered = np.where(random.random((seeds, 500)) < skill, labels, 1 - labels)
        answers.append(CellPredictions(f"c{cell}", "t", answered, labels, metric))
        facts[f"c{cell}"] = CellTraits("m", 1.0, [False] * seeds)
    return bootstrap.sample_scores(answers, resamples=4000), facts


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews_correlation"])
def test_the_draws_of_a_task_agree_with_its_intervals(metric: str) -> None:
    drawn, facts = draw(3, metric)
    posterior = task_scores.estimate_posterior(drawn, facts, 0.0)
    assert posterior is not None
    found = task_scores.add_intervals(drawn, posterior, resamples=4000)
    assert found.expected_scores is not None
    quantiles = np.quantile(found.expected_scores, [0.025, 0.975], axis=0).T
    for name, ends in zip(found.names, quantiles, strict=True):
        low, high = found.get_interval(name)
        assert (low, high) == pytest.approx(tuple(ends), abs=0.01)
        assert (low or 1) < drawn.get_score(name) < (high or 0)


def test_the_interval_covers_examples_and_seeds() -> None:
    drawn, facts = draw(3)
    posterior = task_scores.estimate_posterior(drawn, facts, 0.5)
    assert posterior is not None
    low, high = task_scores.add_intervals(drawn, posterior).intervals  # type: ignore[misc]
    assert (high - low > 2 * 1.96 * np.diag(drawn.covariance) ** 0.5).all()


def test_a_task_with_one_seed_has_no_intervals() -> None:
    drawn, facts = draw(1)
    assert task_scores.estimate_posterior(drawn, facts, 0.5) is None


def test_every_cell_and_every_gain_has_one_interval(tmp_path: Path) -> None:
    found = estimate(tmp_path)
    intervals = task_scores.collect_intervals([found])
    for point in POINTS:
        low, high = found.samples.get_interval(point.cell)
        assert intervals[point.cell] == {"low": low, "high": high}
        assert (low or 1) < found.samples.get_score(point.cell) < (high or 0)
    gain = intervals["taught"]
    assert 0 < gain["gain_low"] < found.gains["taught"].mean < gain["gain_high"] < 0.2


def test_a_teacher_without_effect_has_a_gain_of_0_whose_interval_is_not_of_zero_width(tmp_path: Path) -> None:
    """Three ties are no proof: the report examples limit what can be seen."""
    found = estimate(tmp_path, same=True)
    gain = task_scores.collect_intervals([found])["taught"]
    assert found.gains["taught"].mean == 0
    assert gain["gain_low"] < -0.001 < 0.001 < gain["gain_high"]


def test_single_seeds_have_no_interval_and_no_draws(tmp_path: Path) -> None:
    found = estimate(tmp_path, seeds=(0,))
    assert (found.posterior, found.samples.expected_scores) == (None, None)
    assert task_scores.collect_intervals([found]) == {name: {} for name in found.samples.names}
    assert found.gains["taught"].mean > 0
