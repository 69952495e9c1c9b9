import json

from mlflow.tracking import MlflowClient

from pipeline.tracking import Identity, get_tracker
from pipeline.tracking.mlflow import runs, store, views
from tests import fakes
from tests.tracking.mlflow.sweeps import close_cell, log_metrics, open_cell, open_run, open_trial


def test_every_task_with_results_has_a_view_of_them_and_of_its_learning_curves(client: MlflowClient) -> None:
    _log("mrpc")
    _log("starter-swap")
    links = views.write_views(client)
    kinds = ("Results", "Size", "Data", "Compression", "Learning curves")
    assert [link.split(":")[0] for link in links] == [
        f"{kind} of {task}" for task in ("mrpc", "starter-swap") for kind in kinds
    ]
    number = store.get_experiment_id(client)
    assert links[0].format(address="http://127.0.0.1:5000") == (
        f"Results of mrpc: http://127.0.0.1:5000/#/experiments/{number}/runs"
        "?workflowType=machine_learning&viewStateShareKey=results-mrpc"
    )
    assert "&compareRunsMode=CHART" in links[1]


def test_a_view_shows_runs_columns_and_charts_that_exist(client: MlflowClient) -> None:
    _log("mrpc")
    views.write_views(client)
    for key in ("results-mrpc", "size-mrpc", "data-mrpc", "compression-mrpc", "curves-mrpc"):
        state = _state(client, key)
        shown = runs.find_runs(client, state["searchFilter"])
        assert shown
        metrics = set().union(*(run.data.metrics for run in shown))
        params = set().union(*(run.data.params for run in shown))
        columns = {f"metrics.`{name}`" for name in metrics} | {f"params.`{name}`" for name in params}
        assert set(state["selectedColumns"]) <= columns
        assert state["orderByKey"] in columns
        assert {axis for chart in state["compareRunCharts"] for axis in _axes(chart)} <= metrics | params
        grouped = state["groupBy"] or {"groupByKeys": []}
        assert {key["groupByData"] for key in grouped["groupByKeys"]} <= params


def test_learning_curves_are_averaged_over_seeds_alone(client: MlflowClient) -> None:
    _log("mrpc")
    views.write_views(client)
    grouped = [key["groupByData"] for key in _state(client, "curves-mrpc")["groupBy"]["groupByKeys"]]
    (trial, *_) = runs.find_runs(client, _state(client, "curves-mrpc")["searchFilter"])
    assert sorted([*grouped, "seed", "task"]) == sorted(trial.data.params)  # the filter names the task


def test_fine_tuned_and_compressed_models_are_in_separate_views(client: MlflowClient) -> None:
    _log("mrpc")
    views.write_views(client)
    sources = {}
    for key in ("size", "data", "compression"):
        shown = runs.find_runs(client, _state(client, f"{key}-mrpc")["searchFilter"])
        sources[key] = [run.data.params["source"] for run in shown]
    grid = ["finetune/mrpc-bert-tiny-1.0-standard"]
    assert sources == {"size": grid, "data": grid, "compression": ["compress/narrow"]}


def test_the_description_of_the_experiment_links_its_views(client: MlflowClient) -> None:
    _log("mrpc")
    report = open_run(Identity("compare", "plan"))
    views.write_views(client)
    number = store.get_experiment_id(client)
    links, about = client.get_experiment(number).tags["mlflow.note.content"].split("\n\n")
    page = f"#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey="
    charts = "&compareRunsMode=CHART"
    assert links == (
        f"[Report with figures](#/experiments/{number}/runs/{report}/artifacts/index.html?workflowType="
        f"machine_learning); **mrpc**: [results]({page}results-mrpc), [size]({page}size-mrpc{charts}), "
        f"[data]({page}data-mrpc{charts}), [compression]({page}compression-mrpc{charts}), "
        f"[learning curves]({page}curves-mrpc{charts})"
    )
    assert about.startswith("A run per cell of the plan")


def test_the_report_of_the_comparison_is_linked(client: MlflowClient) -> None:
    run = open_run(Identity("compare", "plan"))
    (link,) = views.write_views(client)
    assert link == (
        f"Report with figures: {{address}}/#/experiments/{store.get_experiment_id(client)}/runs/{run}"
        "/artifacts/index.html?workflowType=machine_learning"
    )


def test_writing_views_twice_changes_nothing(client: MlflowClient) -> None:
    _log("mrpc")
    before = views.write_views(client), client.get_experiment(store.get_experiment_id(client)).tags
    get_tracker().update_views()
    assert (views.write_views(client), client.get_experiment(store.get_experiment_id(client)).tags) == before


def test_an_empty_store_has_no_views(client: MlflowClient) -> None:
    assert views.write_views(client) == []


def _log(task: str) -> None:
    point = (task, "bert-tiny", 1.0, (0, 1))
    narrow = {"source": "compress/narrow", "compression": "width", "distillation": "logits", "cell": "narrow"}
    for record in (fakes.finetuning(*point), fakes.evaluation(*point), fakes.evaluation(*point) | narrow):
        identity = Identity.from_record(record)
        parent = open_cell(identity)
        for trial in record["trials"]:
            live = open_trial(identity, trial["seed"], parent)
            for row in fakes.curve(record, trial):
                log_metrics(live, int(row.pop("step")), row)
            live.finish(trial)
        close_cell(parent, record)


def _state(client: MlflowClient, key: str) -> dict:
    envelope = json.loads(client.get_experiment(store.get_experiment_id(client)).tags[views.TAG + key])
    return json.loads(envelope["state"])


def _axes(chart: dict) -> list[str]:
    if chart["type"] == "PARALLEL":
        return [*chart["selectedParams"], *chart["selectedMetrics"]]
    return [chart[axis]["key"] for axis in ("xaxis", "yaxis")] if "xaxis" in chart else [chart["metricKey"]]
