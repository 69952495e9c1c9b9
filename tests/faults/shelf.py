"""A tracking store in memory, whose client may fail or hang at any call that the project makes."""

import re
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.entities import Metric, Param, RunTag, ViewType

SIDES = ("before", "after", "hang")  # a call without effect, one whose answer is lost, one that hangs


class Shelf:
    """The runs of a store by their id."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}
        self.ids = count(1)
        self.released = threading.Event()  # ends calls that hang

    def contents(self) -> dict[str, Any]:
        """Return the content of the active runs by unique names, which do not depend on ids and times."""
        active = [run for run in self.runs.values() if run.info.lifecycle_stage == "active"]
        assert len({run.info.run_name for run in active}) == len(active)
        return {run.info.run_name: self._get_content(run) for run in active}

    def _get_content(self, run: Any) -> tuple[Any, ...]:
        parent = self.runs.get(run.data.tags.get("mlflow.parentRunId", ""))
        tags = {key: tag for key, tag in run.data.tags.items() if key not in ("origin", "worked_on")}
        points = {name: points for name, points in run.points.items() if not name.startswith("system/")}
        tags["mlflow.parentRunId"] = parent.info.run_name if parent else ""
        return run.info.status, run.data.params, tags, points, run.inputs, sorted(run.artifacts)


class Client:
    """The calls of MLflow's client that the project makes; call number ``bad`` fails in the way ``side``."""

    def __init__(self, shelf: Shelf, bad: int = 0, side: str = "before") -> None:
        self.shelf, self.bad, self.side, self.calls = shelf, bad, side, 0

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return self._faulty(value) if callable(value) and not name.startswith("_") else value

    def _faulty(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            self.calls += 1
            bad = self.calls == self.bad
            if bad and self.side == "hang":
                self.shelf.released.wait(20)
            if bad and self.side != "after":
                raise ConnectionError("no answer from http://me:secret@host")
            answer = call(*given, **named)
            if bad:
                raise ConnectionError("the answer was lost")
            return answer

        return called

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name, name=name, lifecycle_stage="active")

    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        pass

    def create_run(self, experiment: str, start_time: int | None, tags: dict[str, str], run_name: str) -> Any:
        known = f"run-{next(self.shelf.ids)}"
        info = SimpleNamespace(run_id=known, run_name=run_name, status="RUNNING", lifecycle_stage="active")
        data = SimpleNamespace(tags=dict(tags), params={}, experiment=experiment)
        self.shelf.runs[known] = SimpleNamespace(info=info, data=data, points={}, inputs=[], artifacts=[])
        return self.shelf.runs[known]

    def get_run(self, run: str) -> Any:
        return self.shelf.runs[run]

    def log_batch(
        self, run: str, metrics: list[Metric] = (), params: list[Param] = (), tags: list[RunTag] = ()
    ) -> None:
        known = self._active(run)
        for point in metrics:
            known.points.setdefault(point.key, []).append((point.step, point.value))
        known.data.params |= {param.key: param.value for param in params}
        known.data.tags |= {tag.key: tag.value for tag in tags}

    def log_inputs(self, run: str, datasets: list[Any]) -> None:
        self._active(run).inputs += [(item.dataset.name, item.dataset.digest) for item in datasets]

    def log_artifacts(self, run: str, folder: str) -> None:
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        known = [(str(path.relative_to(folder)), path.read_bytes()) for path in files]
        self._active(run).artifacts += known

    def set_tag(self, run: str, key: str, value: str) -> None:
        self._active(run).data.tags[key] = value

    def set_terminated(self, run: str, status: str, end: int | None = None) -> None:
        self._active(run).info.status = status

    def delete_run(self, run: str) -> None:
        self._active(run).info.lifecycle_stage = "deleted"

    def search_runs(
        self, experiments: list[str], text: str, view: int = ViewType.ACTIVE_ONLY, max_results: int = 1000,
        page_token: str = "",
    ) -> Any:  # fmt: skip
        conditions = re.findall(r"(tags|params|attributes)\.`?([\w.]+)`? = '([^']*)'", text)
        runs = [run for run in self.shelf.runs.values() if run.data.experiment in experiments]
        runs = [run for run in runs if all(self._matches(run, *condition) for condition in conditions)]
        stage = "deleted" if view == ViewType.DELETED_ONLY else "active"
        return Page(run for run in runs if run.info.lifecycle_stage == stage)

    def _matches(self, run: Any, kind: str, name: str, value: str) -> bool:
        if kind == "attributes":
            return bool(getattr(run.info, name) == value)
        return bool(getattr(run.data, kind).get(name) == value)

    def _active(self, run: str) -> Any:
        known = self.shelf.runs[run]
        assert known.info.lifecycle_stage == "active"
        return known


class Page(list[Any]):
    """All results, on one page."""

    token = ""
