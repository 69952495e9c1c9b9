"""Saved views of the plan's experiment in MLflow's UI: results, size, data, compression and learning curves.

MLflow's default view mixes all stages, shows ten runs and draws forty metrics in alphabetical order. A saved view is
an experiment tag with a filter, an order, columns and charts as JSON; the menu ``Views`` of the experiment lists it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.tracking.mlflow import runs, store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TAG = "mlflow.sharedViewState."
DESCRIPTION_TAG = "mlflow.note.content"
ABOUT = "A run per cell of the plan, with a child run per seed. The links are views; the menu Views has them too."
REPORT = "Report with figures"
COLUMN_WIDTHS = {  # of the table of results, in pixels
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
class SavedView:
    """A saved view: its key in links, its name in the menu, whether it opens on charts, and its state."""

    key: str
    name: str
    charts_first: bool
    state: dict[str, Any]


def write_views(client: MlflowClient) -> list[str]:
    """Write the views of every task that has results; return links to them and to the report.

    A link is a line in which ``{address}`` is replaced by the server's address.
    """
    experiment = store.get_experiment_id(client)
    views_by_task = {task: [create(task) for create in VIEWS] for task in _list_tasks(client)}
    for view in (view for views in views_by_task.values() for view in views):
        envelope = {"name": view.name, "createdAt": 0, "state": json.dumps(view.state)}
        client.set_experiment_tag(experiment, TAG + view.key, json.dumps(envelope))
    reports = [
        f"#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/index.html?workflowType=machine_learning"
        for run in runs.find_runs(client, "tags.stage = 'compare' and tags.level = 'cell'")
    ]
    client.set_experiment_tag(experiment, DESCRIPTION_TAG, _format_description(experiment, views_by_task, reports))
    links = [
        f"{view.name}: {{address}}/{_format_link(experiment, view)}"
        for views in views_by_task.values()
        for view in views
    ]
    return [*links, *(f"{REPORT}: {{address}}/{report}" for report in reports)]


def _format_description(experiment: str, views_by_task: dict[str, list[SavedView]], reports: list[str]) -> str:
    """Return the description of the experiment, in Markdown: links into the same page.

    The page shows only the first line unless unfolded, so the first paragraph has the links.
    """
    links = [f"[{REPORT}]({report})" for report in reports]
    for task, views in views_by_task.items():
        labels = (
            f"[{view.name.removesuffix(f' of {task}').lower()}]({_format_link(experiment, view)})" for view in views
        )
        links.append(f"**{task}**: {', '.join(labels)}")
    return f"{'; '.join(links)}\n\n{ABOUT}" if links else ABOUT


def _list_tasks(client: MlflowClient) -> list[str]:
    evaluated = runs.find_runs(client, "tags.level = 'cell' and tags.stage = 'evaluate'")
    return sorted({run.data.params["task"] for run in evaluated if "task" in run.data.params})


def _format_link(experiment: str, view: SavedView) -> str:
    mode = "&compareRunsMode=CHART" if view.charts_first else ""
    key = quote(view.key)
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={key}{mode}"


def _create_results_view(task: str) -> SavedView:
    charts = [
        _create_parallel("Score", ("model", "ratio"), ("parameters_non_embedding", "latency_p50_ms", "score")),
        _create_scatter("Score", "storage_bytes", "score"),
        _create_bar("Score", "score"),
        _create_bar("Cost", "latency_p50_ms"),
        _create_bar("Cost", "storage_bytes"),
    ]
    state = _create_state(_format_filter(task), "metrics.`score`", COLUMN_WIDTHS, charts)
    return SavedView(f"results-{task}", f"Results of {task}", False, state)


def _create_size_view(task: str) -> SavedView:
    charts = [
        _create_scatter("Score against size", "parameters_non_embedding", "score"),
        _create_scatter("Score against size", "parameters", "score"),
        _create_bar("Mean of each size over the data", "score"),
        _create_bar("Mean of each size over the data", "latency_p50_ms"),
    ]
    return _create_grid_view(task, "size", "Size", "model", charts)


def _create_data_view(task: str) -> SavedView:
    charts = [
        _create_scatter("Score against data", "train_examples", "score"),
        _create_scatter("Score against data", "train_flops", "score"),
        _create_bar("Mean of each ratio over the sizes", "score"),
        _create_bar("Mean of each ratio over the sizes", "loss"),
    ]
    return _create_grid_view(task, "data", "Data", "ratio", charts)


def _create_grid_view(task: str, key: str, name: str, group: str, charts: list[dict[str, Any]]) -> SavedView:
    """Return a view of the fine-tuned models, coloured and averaged by a param and the recipe."""
    text = f"{_format_filter(task)} and tags.made_by = 'finetune'"
    state = _create_state(text, "metrics.`score`", COLUMN_WIDTHS, charts) | {"groupBy": _group_by(group, "recipe")}
    return SavedView(f"{key}-{task}", f"{name} of {task}", True, state)


def _create_compression_view(task: str) -> SavedView:
    charts = [
        _create_scatter("Score against cost", "storage_bytes", "score"),
        _create_scatter("Score against cost", "latency_p50_ms", "score"),
        _create_scatter("Score against cost", "inference_flops", "score"),
        _create_bar("Score", "score"),
        _create_bar("Cost", "storage_bytes"),
        _create_bar("Cost", "latency_p50_ms"),
    ]
    text = f"{_format_filter(task)} and tags.made_by != 'finetune'"
    columns = {"params.`compression`": 160, "params.`distillation`": 120, **COLUMN_WIDTHS}
    state = _create_state(text, "metrics.`score`", columns, charts)
    return SavedView(f"compression-{task}", f"Compression of {task}", True, state)


def _format_filter(task: str) -> str:
    return f"tags.stage = 'evaluate' and tags.level = 'cell' and params.task = '{task}'"


def _group_by(*params: str) -> dict[str, Any]:
    keys = [{"mode": "param", "groupByData": name} for name in params]
    return {"aggregateFunction": "average", "groupByKeys": keys}


def _create_curves_view(task: str) -> SavedView:
    charts = [_create_line("Learning curves", "selection_score"), _create_line("Learning curves", "loss")]
    text = f"tags.stage = 'finetune' and tags.level = 'trial' and params.task = '{task}'"
    columns = {
        "params.`model`": 140,
        "params.`ratio`": 60,
        "params.`recipe`": 100,
        "params.`seed`": 60,
        "metrics.`selection_score`": 140,
    }
    grouped = _group_by("model", "ratio", "recipe")  # variants have curves separate from the grid's
    state = _create_state(text, "metrics.`selection_score`", columns, charts) | {"groupBy": grouped}
    return SavedView(f"curves-{task}", f"Learning curves of {task}", True, state)


VIEWS = (
    _create_results_view, _create_size_view, _create_data_view, _create_compression_view, _create_curves_view,
)  # fmt: skip


def _create_state(text: str, order: str, columns: dict[str, int], charts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of a view: our sections unfolded, MLflow's (all other metrics) folded below them."""
    names = dict.fromkeys(chart["metricSectionId"] for chart in charts)
    sections = [_create_section(name, display=True) for name in names]
    sections += [_create_section(name, display=False) for name in ("Model metrics", "System metrics")]
    return {
        "searchFilter": text,
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


def _create_section(name: str, *, display: bool) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": display, "isReordered": True, "columns": 2, "cardHeight": 360}


def _create_chart(kind: str, section: str, *names: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": "-".join(names),
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }


def _create_bar(section: str, metric: str) -> dict[str, Any]:
    return _create_chart("BAR", section, metric) | {"metricKey": metric}


def _create_scatter(section: str, across: str, up: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": across, "type": "METRIC"}, "yaxis": {"key": up, "type": "METRIC"}}
    return _create_chart("SCATTER", section, across, up) | axes | {"displayName": f"{up} against {across}"}


def _create_parallel(section: str, params: tuple[str, ...], metrics: tuple[str, ...]) -> dict[str, Any]:
    selection = {"selectedParams": list(params), "selectedMetrics": list(metrics), "showAllRuns": True}
    return _create_chart("PARALLEL", section, *params, *metrics) | selection


def _create_line(section: str, metric: str) -> dict[str, Any]:
    return _create_chart("LINE", section, metric) | {
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
