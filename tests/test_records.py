import numpy as np
import pytest
from scipy import stats

from pipeline.records import collect_warnings, interval, read_versions, summary


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_the_interval_is_students_t(count: int) -> None:
    values = np.random.default_rng(count).normal(0.7, 0.05, count)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    found = interval(values.tolist())
    assert found["mean"] == pytest.approx(values.mean())
    assert found["std"] == pytest.approx(values.std(ddof=1))
    assert (found["ci95_low"], found["ci95_high"]) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert interval([0.5]) == {"mean": 0.5, "std": None, "ci95_low": None, "ci95_high": None}


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.0, 1.0, (4000, 3))
    covered = sum(found["ci95_low"] <= 0 <= found["ci95_high"] for found in map(interval, draws.tolist()))
    assert stats.binomtest(covered, 4000, 0.95).pvalue > 0.001


def test_a_summary_holds_every_number_that_all_trials_have() -> None:
    trials = [
        {
            "seed": 0,
            "score": 0.5,
            "collapsed": True,
            "note": "text",
            "steps_to_95pct": None,
            "paths": ["a"],
            "warnings": ["b"],
        },
        {"seed": 1, "score": 0.7, "collapsed": False, "note": "text", "steps_to_95pct": 4, "paths": ["a"]},
    ]
    found = summary(trials)
    assert list(found) == ["score", "collapsed"]
    assert found["score"]["mean"] == pytest.approx(0.6)
    assert found["collapsed"]["mean"] == 0.5


def test_warnings_of_all_trials_are_listed_once_in_their_order() -> None:
    trials = [{"seed": 0, "warnings": ["b", "a"]}, {"seed": 1}, {"seed": 2, "warnings": ["a", "c"]}]
    assert collect_warnings(trials) == ("b", "a", "c")


def test_versions_of_a_chain_are_listed_where_they_differ() -> None:
    made_by = [
        {"machine": {"torch": "2.13.0"}},
        {"machine": {"torch": "2.12.0"}},
        None,
        {"machine": {"torch": "2.13.0"}},
    ]
    assert read_versions(made_by) == {"torch": "2.13.0 / 2.12.0", "transformers": None}
