import numpy as np
import pytest

from pipeline.core.records import collect_warnings, compute_spread, compute_summary, read_versions


def test_a_number_has_mean_and_deviation_and_no_interval_of_its_own() -> None:
    assert compute_spread([0.5, 0.6, 0.8]) == {
        "mean": pytest.approx(1.9 / 3),
        "std": pytest.approx(np.std([5, 6, 8], ddof=1) / 10),
    }
    assert compute_spread([0.5]) == {"mean": 0.5, "std": None}


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
    found = compute_summary(trials)
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
