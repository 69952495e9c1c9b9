"""The comparison's tables for notebooks, and the laws as metrics."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.analysis import comparison
from pipeline.analysis.comparison import Comparison
from pipeline.analysis.results import export_tables
from pipeline.analysis.results.trial_table import TrialResult
from tests.analysis.test_comparison import BESIDE, grid, measured


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TrialResult], Comparison]:
    trials = measured(tmp_path_factory.mktemp("plan"), [*grid(), *BESIDE], small8="train_seconds")
    return trials, comparison.compare_trials(trials, ["error"])


@pytest.fixture(scope="module")
def written(known: tuple[list[TrialResult], Comparison], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    names = export_tables.write_tables(*known, out)
    assert sorted(names) == sorted(path.name for path in out.iterdir())
    return out


def test_results_hold_a_row_for_each_trial_and_the_same_in_both_formats(
    known: tuple[list[TrialResult], Comparison], written: Path
) -> None:
    table = pd.read_parquet(written / "results.parquet")
    assert len(table) == len(known[0])
    assert table["score"].tolist() == [trial.numbers["score"] for trial in known[0]]
    told = pd.read_csv(written / "results.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(
        told[["cell", "seed", "score", "latency_p50_ms"]], table[["cell", "seed", "score", "latency_p50_ms"]]
    )


def test_every_pair_every_place_and_every_ratio_has_its_row(
    known: tuple[list[TrialResult], Comparison], written: Path
) -> None:
    (task,) = known[1].tasks
    pairs = pd.read_csv(written / "differences.csv")
    cells = len(task.results)
    assert len(pairs) == cells * (cells - 1) / 2
    assert pairs["difference"].tolist() == [pair.difference for pair in task.pairwise_tests.pairs]
    fronts = pd.read_csv(written / "fronts.csv")
    assert fronts.groupby("quantity")["on_front"].sum().to_dict() == {
        front.cost: len(front.members) for front in task.fronts
    }
    assert len(pd.read_csv(written / "equal-quality.csv")) == len(task.equal_quality_costs)


def test_every_law_has_its_parameters_and_every_refusal_its_reason(
    known: tuple[list[TrialResult], Comparison], written: Path
) -> None:
    told = pd.read_csv(written / "laws.csv")
    (task,) = known[1].tasks
    expected = [
        (one.value, law is finding.law)
        for finding in task.law_selections
        for law in (finding.law, *finding.others)
        if law
        for one in law.parameters
    ]
    fitted = told[told["name"].notna()]
    assert fitted["agreement"].notna().any()
    assert list(zip(fitted["value"], fitted["chosen"], strict=True)) == expected
    refused = [why for finding in task.law_selections for why in finding.refusals.values()]
    assert refused
    assert told["refused"].dropna().tolist() == refused


def test_every_source_of_variance_has_its_row(known: tuple[list[TrialResult], Comparison], written: Path) -> None:
    told = pd.read_csv(written / "variance.csv")
    (analysis,) = known[1].variances
    assert told["share"].tolist() == [source.share for source in analysis.rows]
    assert told[["tasks", "metric"]].drop_duplicates().to_numpy().tolist() == [["mrpc", "f1"]]
    assert told["name"].iloc[-1] == "seed"


def test_the_same_trials_give_the_same_bytes(
    known: tuple[list[TrialResult], Comparison], written: Path, tmp_path: Path
) -> None:
    for name in export_tables.write_tables(*known, tmp_path):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_a_parameter_is_a_metric_with_its_interval_where_the_data_determine_it(
    known: tuple[list[TrialResult], Comparison],
) -> None:
    found = export_tables.collect_metrics(known[1])
    (task,) = known[1].tasks
    for finding in task.law_selections:
        place = f"law/mrpc/error/{'-'.join(finding.dataset.axes)}"
        assert finding.law
        for one in finding.law.parameters:
            value = found[f"{place}/{ {'α': 'alpha', 'β': 'beta'}.get(one.name, one.name) }"]
            assert value["mean"] == one.value
            assert (value["ci95_low"], value["ci95_high"]) == ((one.low, one.high) if one.determined else (None, None))
        if (error := finding.get_error(finding.law.form)) is not None:
            assert found[f"{place}/held_out_error"]["mean"] == error
            assert found[f"{place}/held_out_error_of_line"]["mean"] == finding.get_error("line")


def test_the_score_of_a_cell_is_a_metric_with_its_one_interval(known: tuple[list[TrialResult], Comparison]) -> None:
    found = export_tables.collect_metrics(known[1])
    (task,) = known[1].tasks
    for name in task.samples.names:
        low, high = task.samples.get_interval(name)
        value = {"mean": task.samples.get_score(name), "std": None, "ci95_low": low, "ci95_high": high}
        assert found[f"score/{name}"] == value


def test_nothing_compared_leaves_the_table_of_trials_alone(tmp_path: Path) -> None:
    assert export_tables.write_tables([], Comparison((), ()), tmp_path) == ["results.csv", "results.parquet"]
