import json

from mlflow.tracking import MlflowClient

from pipeline.tracking import Identity, close_cell, open_cell, open_trial, refresh_views, runs, store, views
from tests import fakes


def test_every_task_with_results_has_a_view_of_them_and_of_its_learning_curves(client: MlflowClient) -> None:
    _log("mrpc")
    _log("starter-swap")
    links = views.publish(client)
    assert [link.split(":")[0] for link in links] == [
        "Results of mrpc",
        "Learning curves of mrpc",
        "Results of starter-swap",
        "Learning curves of starter-swap",
    ]
    number = store.experiment(client)
    assert links[0].format(address="http://127.0.0.1:5000") == (
        f"Results of mrpc: http://127.0.0.1:5000/#/experiments/{number}/runs"
        "?workflowType=machine_learning&viewStateShareKey=results-mrpc"
    )
    assert "&compareRunsMode=CHART" in links[1]


def test_a_view_shows_runs_columns_and_charts_that_exist(client: MlflowClient) -> None:
    _log("mrpc")
    views.publish(client)
    for key in ("results-mrpc", "curves-mrpc"):
        state = _state(client, key)
        shown = runs.search(client, state["searchFilter"])
        assert shown
        metrics = set().union(*(run.data.metrics for run in shown))
        columns = {f"metrics.`{name}`" for name in metrics} | {f"params.`{name}`" for name in (*shown[0].data.params,)}
        assert set(state["selectedColumns"]) <= columns
        assert state["orderByKey"] in columns
        assert {axis for chart in state["compareRunCharts"] for axis in _axes(chart)} <= metrics


def test_learning_curves_are_averaged_over_seeds_alone(client: MlflowClient) -> None:
    _log("mrpc")
    views.publish(client)
    grouped = [key["groupByData"] for key in _state(client, "curves-mrpc")["groupBy"]["groupByKeys"]]
    (trial, *_) = runs.search(client, _state(client, "curves-mrpc")["searchFilter"])
    assert sorted([*grouped, "seed", "task"]) == sorted(trial.data.params)  # the filter names the task


def test_the_report_of_the_comparison_is_linked(client: MlflowClient) -> None:
    run = open_cell(Identity("compare", "plan"))
    (link,) = views.publish(client)
    assert link == (
        f"Report with figures: {{address}}/#/experiments/{store.experiment(client)}/runs/{run}"
        "/artifacts/index.html?workflowType=machine_learning"
    )


def test_views_written_again_are_the_same(client: MlflowClient) -> None:
    _log("mrpc")
    before = views.publish(client), client.get_experiment(store.experiment(client)).tags
    refresh_views()
    assert (views.publish(client), client.get_experiment(store.experiment(client)).tags) == before


def test_an_empty_store_has_no_views(client: MlflowClient) -> None:
    assert views.publish(client) == []


def _log(task: str) -> None:
    for make in (fakes.finetuning, fakes.evaluation):
        record = make(task, "bert-tiny", 1.0, seeds=(0, 1))
        identity = Identity.from_record(record)
        parent = open_cell(identity)
        for trial in record["trials"]:
            live = open_trial(identity, trial["seed"], parent)
            for row in fakes.curve(record, trial):
                live.metrics(int(row.pop("step")), row)
            live.finish(trial)
        close_cell(parent, record)


def _state(client: MlflowClient, key: str) -> dict:
    envelope = json.loads(client.get_experiment(store.experiment(client)).tags[views.TAG + key])
    return json.loads(envelope["state"])


def _axes(chart: dict) -> list[str]:
    return [chart[axis]["key"] for axis in ("xaxis", "yaxis")] if "xaxis" in chart else [chart["metricKey"]]
