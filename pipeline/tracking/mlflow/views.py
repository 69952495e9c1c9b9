"""What the browser opens on: named views of the plan's experiment, kept in the store as MLflow's UI keeps them.

MLflow's own first view mixes all stages, shows ten runs of them and draws forty metrics in the order of the
alphabet. A saved view is an experiment tag that holds a filter, an order, columns and charts as JSON; it stands in the
menu ``Views`` of the experiment as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.plan.cells import RECIPE
from pipeline.tracking.mlflow import runs, store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TAG = "mlflow.sharedViewState."
DESCRIPTION = "mlflow.note.content"
ABOUT = "A run for each cell of the plan, below it one for each seed. The links are views; the menu Views has them too."
REPORT = "Report with figures"
COLUMNS = {  # of the table of results, with their widths in pixels
    "params.`model`": 140,
    "params.`ratio`": 60,
    "params.`source`": 220,
    "metrics.`score`": 90,
    "metrics.`score_std`": 90,
    "metrics.`majority_score`": 120,
    "metrics.`train_examples`": 120,
    "metrics.`parameters_non_embedding`": 180,
    "metrics.`latency_p50_ms`": 120,
    "metrics.`storage_bytes`": 110,
}


@dataclass(frozen=True)
class View:
    """A saved view: its key in links, its name in the menu, whether charts come first, and its state."""

    key: str
    name: str
    charts_first: bool
    state: dict[str, Any]


def publish(client: MlflowClient) -> list[str]:
    """Write the views of every task that has results; return links to them and to the report.

    A link is a line with ``{address}`` for the server's.
    """
    experiment = store.experiment(client)
    found = {task: [make(task) for make in VIEWS] for task in _tasks(client)}
    for view in (view for views in found.values() for view in views):
        envelope = {"name": view.name, "createdAt": 0, "state": json.dumps(view.state)}
        client.set_experiment_tag(experiment, TAG + view.key, json.dumps(envelope))
    reports = [
        f"#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/index.html?workflowType=machine_learning"
        for run in runs.search(client, "tags.stage = 'compare' and tags.level = 'cell'")
    ]
    client.set_experiment_tag(experiment, DESCRIPTION, _description(experiment, found, reports))
    links = [f"{view.name}: {{address}}/{_link(experiment, view)}" for views in found.values() for view in views]
    return [*links, *(f"{REPORT}: {{address}}/{report}" for report in reports)]


def _description(experiment: str, found: dict[str, list[View]], reports: list[str]) -> str:
    """Return what stands above the runs, in Markdown: ready-made links, which lead into the same page.

    Folded up, the page shows one line of it, so the links stand in the first paragraph.
    """
    links = [f"[{REPORT}]({report})" for report in reports]
    for task, views in found.items():
        named = (f"[{view.name.removesuffix(f' of {task}').lower()}]({_link(experiment, view)})" for view in views)
        links.append(f"**{task}**: {', '.join(named)}")
    return f"{'; '.join(links)}\n\n{ABOUT}" if links else ABOUT


def _tasks(client: MlflowClient) -> list[str]:
    evaluated = runs.search(client, "tags.level = 'cell' and tags.stage = 'evaluate'")
    return sorted({run.data.params["task"] for run in evaluated if "task" in run.data.params})


def _link(experiment: str, view: View) -> str:
    mode = "&compareRunsMode=CHART" if view.charts_first else ""
    key = quote(view.key)
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={key}{mode}"


def _results(task: str) -> View:
    charts = [
        _parallel("Score", ("model", "ratio"), ("parameters_non_embedding", "latency_p50_ms", "score")),
        _scatter("Score", "storage_bytes", "score"),
        _bar("Score", "score"),
        _bar("Cost", "latency_p50_ms"),
        _bar("Cost", "storage_bytes"),
    ]
    state = _state(_evaluated(task), "metrics.`score`", COLUMNS, charts)
    return View(f"results-{task}", f"Results of {task}", False, state)


def _by_size(task: str) -> View:
    charts = [
        _scatter("Score against size", "parameters_non_embedding", "score"),
        _scatter("Score against size", "parameters", "score"),
        _bar("Mean of each size over the data", "score"),
        _bar("Mean of each size over the data", "latency_p50_ms"),
    ]
    return _grid(task, "size", "Size", "model", charts)


def _by_data(task: str) -> View:
    charts = [
        _scatter("Score against data", "train_examples", "score"),
        _scatter("Score against data", "train_flops", "score"),
        _bar("Mean of each share over the sizes", "score"),
        _bar("Mean of each share over the sizes", "loss"),
    ]
    return _grid(task, "data", "Data", "ratio", charts)


def _grid(task: str, key: str, name: str, group: str, charts: list[dict[str, Any]]) -> View:
    """Return a view of the models as they were fine-tuned by the grid's recipe, coloured and averaged by a param."""
    wanted = f"{_evaluated(task)} and tags.made_by = 'finetune' and params.recipe = '{RECIPE}'"
    state = _state(wanted, "metrics.`score`", COLUMNS, charts) | {"groupBy": _grouped(group)}
    return View(f"{key}-{task}", f"{name} of {task}", True, state)


def _by_compression(task: str) -> View:
    charts = [
        _scatter("Score against cost", "storage_bytes", "score"),
        _scatter("Score against cost", "latency_p50_ms", "score"),
        _scatter("Score against cost", "inference_flops", "score"),
        _bar("Score", "score"),
        _bar("Cost", "storage_bytes"),
        _bar("Cost", "latency_p50_ms"),
    ]
    wanted = f"{_evaluated(task)} and tags.made_by != 'finetune'"
    columns = {"params.`compression`": 160, "params.`distillation`": 120, **COLUMNS}
    state = _state(wanted, "metrics.`score`", columns, charts)
    return View(f"compression-{task}", f"Compression of {task}", True, state)


def _evaluated(task: str) -> str:
    return f"tags.stage = 'evaluate' and tags.level = 'cell' and params.task = '{task}'"


def _grouped(*params: str) -> dict[str, Any]:
    keys = [{"mode": "param", "groupByData": name} for name in params]
    return {"aggregateFunction": "average", "groupByKeys": keys}


def _curves(task: str) -> View:
    charts = [_line("Learning curves", "selection_score"), _line("Learning curves", "loss")]
    wanted = f"tags.stage = 'finetune' and tags.level = 'trial' and params.task = '{task}'"
    columns = {
        "params.`model`": 140,
        "params.`ratio`": 60,
        "params.`recipe`": 100,
        "params.`seed`": 60,
        "metrics.`selection_score`": 140,
    }
    grouped = _grouped("model", "ratio", "recipe")  # a variant is no part of the grid's curve
    state = _state(wanted, "metrics.`selection_score`", columns, charts) | {"groupBy": grouped}
    return View(f"curves-{task}", f"Learning curves of {task}", True, state)


VIEWS = (_results, _by_size, _by_data, _by_compression, _curves)


def _state(wanted: str, order: str, columns: dict[str, int], charts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of a view: our sections open, MLflow's own (all other metrics) closed below them."""
    names = dict.fromkeys(chart["metricSectionId"] for chart in charts)
    sections = [_section(name, display=True) for name in names]
    sections += [_section(name, display=False) for name in ("Model metrics", "System metrics")]
    return {
        "searchFilter": wanted,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": columns,
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(name: str, *, display: bool) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": display, "isReordered": True, "columns": 2, "cardHeight": 360}


def _chart(kind: str, section: str, *names: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": "-".join(names),
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }


def _bar(section: str, metric: str) -> dict[str, Any]:
    return _chart("BAR", section, metric) | {"metricKey": metric}


def _scatter(section: str, across: str, up: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": across, "type": "METRIC"}, "yaxis": {"key": up, "type": "METRIC"}}
    return _chart("SCATTER", section, across, up) | axes | {"displayName": f"{up} against {across}"}


def _parallel(section: str, params: tuple[str, ...], metrics: tuple[str, ...]) -> dict[str, Any]:
    chosen = {"selectedParams": list(params), "selectedMetrics": list(metrics), "showAllRuns": True}
    return _chart("PARALLEL", section, *params, *metrics) | chosen


def _line(section: str, metric: str) -> dict[str, Any]:
    return _chart("LINE", section, metric) | {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "lineSmoothness": 0,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "ignoreOutliers": False,
    }
