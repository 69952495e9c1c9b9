"""The metrics behind evaluate's interface."""

import socket

import evaluate
import numpy as np
import pytest

from pipeline.metrics import evaluate_adapter, registry


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(registry.SCORES))
def test_a_metric_of_evaluate_gives_the_score(name: str) -> None:
    random = np.random.default_rng(0)
    said, true = random.integers(0, 2, (2, 50))
    metric = evaluate_adapter.METRICS[name]()
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=said, references=true) == {name: pytest.approx(registry.SCORES[name](said, true))}


@pytest.mark.usefixtures("no_network")
def test_metrics_work_batch_by_batch_and_combined_as_all_of_evaluate_do() -> None:
    random = np.random.default_rng(1)
    said, true = random.integers(0, 2, (2, 50))
    combined = evaluate.combine([evaluate_adapter.Accuracy(), evaluate_adapter.F1()])
    for half in (slice(25), slice(25, 50)):
        combined.add_batch(predictions=said[half], references=true[half])
    assert combined.compute() == evaluate_adapter.compute(["accuracy", "f1"], said, true)


def test_every_score_has_its_metric() -> None:
    assert set(evaluate_adapter.METRICS) == set(registry.SCORES)
