import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf

from pipeline.analysis.results import load_results
from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.plan.schema import Benchmark, Variant
from pipeline.stages import compare
from pipeline.tracking.mlflow import runs, store
from tests import fakes
from tests.analysis import made

BESIDE = {"equal-steps": Variant(task="mrpc", model="bert-tiny", ratio=0.3, recipe="equal-steps")}
NOTHING = fakes.NO_BENCHMARK
PLAN = Plan(("mrpc",), ("bert-tiny", "bert-mini"), (0.3, 1.0), ("standard",), (0, 1, 2), NOTHING, BESIDE)
CFG = OmegaConf.create({"size": "parameters_non_embedding", "dpi": 60, "exploration": False})


def _time(task: str, processes: tuple[int, ...]) -> Benchmark:
    return Benchmark(
        task=task, models=["bert-tiny"], processes=[*processes], threads=[1], precisions=["bf16"], batches=[32]
    )


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    """Return a root in which every cell of the plan but the variant is evaluated, and one that left the plan."""
    points = [("mrpc", model, ratio) for model in (*PLAN.models, "bert-small") for ratio in PLAN.ratios]
    fakes.write(tmp_path, [fakes.evaluation(*point) for point in points])
    fakes.prepare(tmp_path, PLAN)
    fakes.prepare(tmp_path, replace(PLAN, tasks=("starter-swap",)))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(paths, "REPORT", tmp_path / "report")
    monkeypatch.setattr(compare.plan, "load", lambda: PLAN)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}")
    monkeypatch.delenv("LAB_RUN", raising=False)
    return tmp_path


def test_the_report_holds_exactly_the_cells_of_the_plan(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.compare(CFG)
    texts = [(evaluated / "report" / name).read_text() for name in ("summary.md", "index.html")]
    told = capsys.readouterr().out
    assert "bert-small" not in "".join(texts) + told
    with (evaluated / "report" / "cells.csv").open() as file:
        assert [row["cell"] for row in csv.DictReader(file)] == [cell.name for cell in PLAN.trained()]
    assert '<th scope="row">bert-tiny (equal-steps)</th><td></td><td>0.3</td><td></td><td>not run</td>' in texts[1]
    assert f"report:       {evaluated}/report/index.html\n" in told
    assert "\nUse bert-mini for mrpc: F1 " in told
    assert "all runs:     lab ui\n" in told


def test_cells_of_a_ratio_written_as_a_whole_number_are_drawn(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(PLAN, ratios=(0.3, 1))
    monkeypatch.setattr(compare.plan, "load", lambda: whole)
    fakes.write(evaluated, [fakes.evaluation("mrpc", model, 1) for model in whole.models])
    assert [(row.cell, row.section, row.score is not None) for row in load_results.load_rows(())] == [
        ("mrpc-bert-tiny-0.3-standard", "", True),
        ("mrpc-bert-tiny-1-standard", "", True),
        ("mrpc-bert-mini-0.3-standard", "", True),
        ("mrpc-bert-mini-1-standard", "", True),
        ("equal-steps", "variants", False),
    ]


def test_the_report_holds_exactly_the_cells_of_the_benchmark(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(PLAN, benchmark=_time("starter-swap", (1, 2, 4)))
    monkeypatch.setattr(compare.plan, "load", lambda: asked)
    fakes.write(evaluated, [made.alone(), made.several(), made.alone("bert-small")])
    compare.compare(CFG)
    page = (evaluated / "report" / "index.html").read_text()
    ran = "".join(f"<td>{text}</td>" for text in ("2", "1", "bf16", "32", "372", "[365, 380]"))
    assert f'<th scope="row">bert-tiny</th>{ran}' in page
    assert f'<th scope="row">bert-tiny-4-1-bf16-32</th>{"<td></td>" * 4}<td>not run</td>' in page
    assert "bert-small" not in page
    assert "starter-swap: training; time is for 1,000,000 pairs" in capsys.readouterr().out
    record = json.loads((evaluated / "metrics" / "compare" / "plan.json").read_text())
    assert {"report/costs.csv", "report/growth.csv", "report/figures/cost-against-shape.svg"} <= {*record["artifacts"]}


def test_another_time_of_the_benchmark_is_another_comparison(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(PLAN, benchmark=_time("starter-swap", (2,)))
    monkeypatch.setattr(compare.plan, "load", lambda: asked)
    digests = []
    for rate in (372.0, 373.0, 373.0):
        content = made.several()
        content["trials"][0]["train_pairs_per_second"] = rate
        path = evaluated / "metrics" / "benchmark" / f"{content['cell']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records.sign(content)))
        compare.compare(CFG)
        digests.append(
            json.loads((evaluated / "metrics" / "compare" / "plan.json").read_text())["tags"]["inputs_sha256"]
        )
    assert digests[0] != digests[1] == digests[2]


def test_an_exploration_leaves_the_plans_report_and_record_alone(
    evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.compare(OmegaConf.create({**CFG, "exploration": True}))
    assert not (evaluated / "report").exists()
    assert not (evaluated / "metrics" / "compare").exists()
    folder = evaluated / "runs" / "exploration" / "compare" / "plan"
    record = json.loads((folder / "metrics.json").read_text())
    assert record["exploration"] is True
    assert record["artifacts"][0] == "runs/exploration/compare/plan/report/index.html"
    assert f"report:       {folder}/report/index.html\n" in capsys.readouterr().out
    client = MlflowClient(store.get_uri())
    assert runs.find_cell_runs(client, "compare", "plan") == []
    assert len(client.search_runs([store.get_experiment_id(client, exploration=True)])) == 1


def test_the_comparison_is_one_active_run_with_its_files(evaluated: Path) -> None:
    compare.compare(CFG)
    compare.compare(CFG)
    client = MlflowClient(store.get_uri())
    (run,) = runs.find_cell_runs(client, "compare", "plan")
    held = {item.path for folder in (None, "figures") for item in client.list_artifacts(run.info.run_id, folder)}
    drawn = {f"figures/{name}" for name in ("score-against-size.png", "score-against-data.svg")}
    assert held >= {"index.html", "results.csv", "plan.json", *drawn}
    assert run.data.metrics["cells"] == 5
    assert run.data.metrics["cells_without_results"] == 1
    assert run.data.params == {}


def test_the_record_has_the_form_of_every_record(evaluated: Path) -> None:
    compare.compare(CFG)
    record = json.loads((evaluated / "metrics" / "compare" / "plan.json").read_text())
    assert record.keys() == {*fakes.evaluation("mrpc", "bert-tiny", 0.3), "artifacts"} - set(fakes.COORDINATES)
    assert all((evaluated / name).exists() for name in record["artifacts"])


def test_a_size_that_no_row_has_is_refused(evaluated: Path) -> None:
    with pytest.raises(UserError) as caught:
        compare.compare(DictConfig({**CFG, "size": "parameter"}))
    assert str(caught.value) == (
        "conf/compare.yaml: size: got 'parameter'; did you mean 'parameters'? "
        "(allowed: parameters, parameters_non_embedding)"
    )
    assert not (evaluated / "report").exists()


def test_a_report_that_fails_leaves_the_earlier_one_whole(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare.compare(CFG)
    before = (evaluated / "report" / "index.html").read_bytes()
    from pipeline.analysis.report import build_report

    monkeypatch.setattr(build_report.csv_files, "render_cells", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare.compare(CFG)
    assert (evaluated / "report" / "index.html").read_bytes() == before
    assert [path.name for path in evaluated.glob(".report*")] == []


def test_an_answer_of_other_results_than_the_table_is_not_shown(
    evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.compare(CFG)
    capsys.readouterr()
    compare.show()
    assert "\nUse bert-mini for mrpc: F1 " in capsys.readouterr().out
    (evaluated / "metrics" / "prepare" / "mrpc.json").unlink()
    compare.show()
    out = capsys.readouterr().out
    assert "for mrpc" not in out
    assert "\nreport/answer.txt: made from other results than these; run `dvc repro -s compare`\n" in out


def test_a_record_of_other_coordinates_is_a_hole_in_report_and_answer(evaluated: Path) -> None:
    path = evaluated / "metrics" / "evaluate" / "mrpc-bert-mini-1.0-standard.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(records.sign(content | {"recipe": "patient"})))
    compare.compare(CFG)
    reason = "made with recipe patient, but the plan has standard"
    for name in ("index.html", "summary.md"):
        text = (evaluated / "report" / name).read_text()
        assert f"metrics/evaluate/mrpc-bert-mini-1.0-standard.json: {reason}; run `dvc repro`" in text
    assert f"mrpc-bert-mini-1.0-standard: {reason}" in (evaluated / "report" / "index.html").read_text()
    assert "scores best of the 3 cells that work" in (evaluated / "report" / "answer.txt").read_text()


def test_a_benchmark_of_another_task_is_a_hole(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(PLAN, benchmark=_time("mrpc", (2,)))
    monkeypatch.setattr(compare.plan, "load", lambda: asked)
    fakes.write(evaluated, [made.several()])
    (cost,) = load_results.load_costs()
    assert (cost.model, cost.missing_reason) == (None, "made with task starter-swap, but the plan has mrpc")
    assert load_results.load_notices() == [
        "metrics/benchmark/bert-tiny-2-1-bf16-32.json: made with task starter-swap, but the plan has mrpc; "
        "run `dvc repro`"
    ]


def test_make_shows_the_table_itself(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_RUN", "1")
    compare.compare(CFG)
    assert capsys.readouterr().out == ""
