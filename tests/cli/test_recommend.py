"""``lab recommend``: a recommendation from the stored records, under any limits."""

import json
import sys
from pathlib import Path

import pytest

from pipeline.analysis.results import load_results
from pipeline.cli import main, recommend
from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.plan.budget import Budget
from tests import fakes

PLAN = Plan(
    ("mrpc",), ("bert-tiny", "bert-mini", "bert-small"), (0.3, 1.0), ("standard",), (0, 1, 2), fakes.NO_BENCHMARK,
    budget=Budget(storage_bytes=2e7),
)  # fmt: skip
USAGE = (
    "limits are written <name>=<number>, of latency_p50_ms, storage_bytes, inference_memory_mib, train_seconds, "
    "train_examples, score"
)


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root in which the plan has run, and one cell that left it."""
    points = [("mrpc", model, ratio) for model in (*PLAN.models, "bert-medium") for ratio in PLAN.ratios]
    fakes.write(tmp_path, [fakes.evaluation(*point) for point in points])
    fakes.prepare(tmp_path, PLAN)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(load_results.plan, "load", lambda: PLAN)
    return tmp_path


@pytest.mark.usefixtures("evaluated")
def test_the_plans_own_budget_counts_where_no_limits_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    recommend.show(recommend.recommend([]))
    told = capsys.readouterr().out
    assert told.startswith("Use bert-tiny for mrpc: F1 ")
    assert "of the 2 cells that work within 20.0 MB" in told
    assert told.endswith("statistics behind this: add --details\n")
    assert "p (Holm)" not in told


@pytest.mark.usefixtures("evaluated")
def test_details_add_the_statistics_and_the_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "recommend", "--details"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code
    out = capsys.readouterr().out
    assert "p (Holm)" in out
    assert "mrpc: the limits" in out
    assert "runs: finetune/mrpc-bert-tiny-1.0-standard, finetune/mrpc-bert-tiny-0.3-standard" in out


def test_a_cell_that_does_not_count_is_told_beside_the_answer(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = evaluated / "metrics" / "evaluate" / "mrpc-bert-tiny-1.0-standard.json"
    content = json.loads(path.read_text())
    content["tags"]["source_sha256"] = "0" * 64
    path.write_text(json.dumps(records.sign(content)))
    monkeypatch.setattr(sys, "argv", ["lab", "recommend"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code
    assert capsys.readouterr().out.splitlines()[-1] == (
        "metrics/evaluate/mrpc-bert-tiny-1.0-standard.json: finetune/mrpc-bert-tiny-1.0-standard has no results; "
        "run `dvc repro`"
    )


@pytest.mark.usefixtures("evaluated")
def test_limits_in_words_stand_for_the_plans(capsys: pytest.CaptureFixture[str]) -> None:
    (answer,) = recommend.recommend(["storage_bytes=2e8", "train_examples=1000"])
    assert answer.choice.budget == Budget(storage_bytes=2e8, train_examples=1000)
    assert answer.choice.recommended is not None
    assert answer.choice.recommended.name == "mrpc-bert-small-0.3-standard"  # bert-medium left the plan
    recommend.show([answer])
    assert "within 200 MB and 1,000 labelled examples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["5ms"], f"got '5ms'; {USAGE}"),
        (["latency=5"], "latency: unknown key; did you mean 'latency_p50_ms'? (allowed: inference_memory_mib, "
                        "latency_p50_ms, score, storage_bytes, train_examples, train_seconds)"),
        (["score=84"], "score: got 84.0; give a score from 0 to 1, or null"),
        (["score=0.7", "score=0.8"], "score: given more than once; one limit counts"),
        (["latency_p50_ms=fast"], "latency_p50_ms: got 'fast'; give a number above 0, or null"),
        (["latency_p50_ms=nan"], "latency_p50_ms: got nan; give a number above 0, or null"),
        (["latency_p50_ms=", "storage_bytes=-1"],
         "latency_p50_ms: got ''; give a number above 0, or null\nstorage_bytes: got -1.0; give a number above 0, "
         "or null"),
    ],
)  # fmt: skip
def test_a_word_that_is_no_limit_costs_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        recommend.recommend(words)
    assert str(caught.value) == told


def test_without_results_there_is_nothing_to_recommend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(load_results.plan, "load", lambda: PLAN)
    with pytest.raises(UserError) as caught:
        recommend.recommend([])
    assert str(caught.value) == "metrics/evaluate: no cell of the plan has results yet; run `dvc repro`"
