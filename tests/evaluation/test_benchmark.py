"""A benchmark's settings and what it makes of rates, FLOPs and the machine's peak."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.evaluation import benchmark, benchmark_settings
from pipeline.evaluation.benchmark_settings import LatencySettings, TrainingBudget
from pipeline.evaluation.cost import peak_flops, speed, step_scaling
from pipeline.system.distributed import SINGLE_PROCESS
from pipeline.training import benchmark_loop

FILE = "conf/benchmark.yaml"
PEAK = 1e9
NUMBER, COUNT = "give a number above 0", "give a whole number from 1"
PRICE = "give a number from 0, or null"


def conf(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "precision": "fp32", "batch": 4, "processes": 1, "within": 0.5, "at_most": 0.01,
        "latency": {"rows": [1, 3], "calls": 2}, "budget": {"examples": 7200, "price_per_hour": None},
    }  # fmt: skip
    for name, value in changes.items():
        place, _, key = name.rpartition("__")
        (usual[place] if place else usual)[key] = value
    return usual


def test_settings_are_those_stated() -> None:
    stated = conf(budget__price_per_hour=2.5, batch=6, processes=3)
    settings = benchmark_settings.load_settings(stated)
    assert (settings.precision, settings.batch, settings.within, settings.at_most) == ("fp32", 6, 0.5, 0.01)
    assert settings.latency == LatencySettings(rows=(1, 3), calls=2)
    assert settings.budget == TrainingBudget(examples=7200, price_per_hour=2.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({"within": value}, f"within: got {value!r}; {NUMBER}") for value in (0, -0.1, math.inf, True, "low")),
        ({"within": None}, f"within: got nothing; {NUMBER}"),
        ({"at_most": 0}, f"at_most: got 0; {NUMBER}"),
        *(({"batch": value}, f"batch: got {value!r}; {COUNT}") for value in (0, 1.5, True, "4")),
        ({"latency__calls": 0}, f"latency.calls: got 0; {COUNT}"),
        ({"latency__rows": [1, 0]}, f"latency.rows[1]: got 0; {COUNT}"),
        ({"latency__rows": 8}, "latency.rows: got 8; give a list of whole numbers from 1"),
        ({"budget__examples": 1e5}, f"budget.examples: got 100000.0; {COUNT}"),
        ({"precision": "bf15"}, "precision: got 'bf15'; did you mean 'bf16'? (allowed: auto, bf16, fp32)"),
        ({"precision": 8}, "precision: got 8; allowed: auto, bf16, fp32"),
        *(
            ({"budget__price_per_hour": value}, f"budget.price_per_hour: got {value!r}; {PRICE}")
            for value in (-1, math.nan, "2 euros", True)
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        benchmark_settings.load_settings(conf(**changes))
    assert str(error.value) == f"{FILE}: {said}"


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError) as error:
        benchmark_settings.load_settings(conf(batch=4, processes=3))
    assert str(error.value) == f"{FILE}: batch: 4 rows cannot be shared evenly by 3 processes; give a multiple"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine with a known peak, first disturbed, and let nothing grow; rounds are of one step."""
    reached = iter([PEAK / 2, PEAK] * 9)
    monkeypatch.setattr(peak_flops, "peak_flops_per_second", lambda *_: peak_flops.Peak(next(reached), 64))
    monkeypatch.setattr(step_scaling, "growth", lambda *given: [{"given": given[1:]}])
    monkeypatch.setattr(speed, "ROUND", 1e-9)
    monkeypatch.setattr(speed, "PHASED", (1, 1))


def measured(model: Any, train: Examples, **changes: Any) -> dict[str, Any]:
    return benchmark.benchmark(
        model, model, train, longer(train), benchmark_settings.load_settings(conf(**changes)), SINGLE_PROCESS
    )


def longer(train: Examples) -> Examples:
    """Return the pairs that are asked: each takes two of those to learn from."""
    return Examples(train.tokens, train.types, train.starts[::2], train.labels[::2], train.pad)


def forward(lengths: np.ndarray) -> float:
    """Return the mean FLOPs of the fixture's model: per layer four projections, feed-forward, and attention."""
    hidden, inner = 16, 32
    layer = lengths * (8 * hidden**2 + 4 * hidden * inner) + 4 * lengths**2 * hidden
    return float(np.mean(2 * layer + 2 * hidden**2 + 4 * hidden))


def test_utilisation_is_flops_times_rate_by_peak(model: BertForSequenceClassification, examples: Examples) -> None:
    found = measured(model, examples)
    learnt, asked = forward(examples.lengths), forward(longer(examples).lengths)
    assert (found["forward_flops"], found["backward_flops"]) == pytest.approx((learnt, 2 * learnt))
    assert found["peak_flops_per_second"] == PEAK
    rows = np.concatenate(benchmark_loop._select_batches(examples, 4))
    timed = forward(examples.lengths[rows])
    assert found["train_utilisation"] == pytest.approx(3 * timed * found["train_pairs_per_second"] / PEAK)
    assert found["inference_utilisation"] == pytest.approx(asked * found["inference_pairs_per_second"] / PEAK)
    length = round(float(examples.lengths.mean()))
    assert found["growth"] == [{"given": (8, length, "fp32", torch.device("cpu"), 0.001, PEAK * 0.01 / 16)}]
    assert {"latency_b1_p50_ms", "latency_b3_p99_ms"} < set(found)


def test_a_rate_above_the_measured_peak_has_no_utilisation(
    monkeypatch: pytest.MonkeyPatch, model: BertForSequenceClassification, examples: Examples
) -> None:
    monkeypatch.setattr(peak_flops, "peak_flops_per_second", lambda *_: peak_flops.Peak(1.0, 64))
    found = measured(model, examples)
    assert found["peak_flops_per_second"] == 1.0
    assert not [name for name in found if "utilisation" in name]


def test_emulated_products_have_no_utilisation(
    monkeypatch: pytest.MonkeyPatch, model: BertForSequenceClassification, examples: Examples
) -> None:
    monkeypatch.setenv("LAB_CPU_FLAGS", "avx2 fma")
    found = measured(model, examples, precision="bf16")
    assert found["train_pairs_per_second"] > 0
    assert not [name for name in found if "utilisation" in name]


@pytest.mark.parametrize("price", [None, 0, 3.5])
def test_a_budget_is_time_and_money_at_the_measured_rate(
    model: BertForSequenceClassification, examples: Examples, price: float | None
) -> None:
    found = measured(model, examples, budget__price_per_hour=price)
    hours = 2 / found["train_pairs_per_second"]  # of 7200 examples
    told = {name: value for name, value in found.items() if name.startswith("budget")}
    cost = {} if price is None else {"budget_cost": price * hours}
    assert told == pytest.approx(
        {"budget_examples": 7200, "budget_seconds": 3600 * hours, "budget_process_hours": hours, **cost}
    )


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(model: BertForSequenceClassification, examples: Examples, training: bool) -> None:
    model.train(training)
    before, attention = copy.deepcopy(model.state_dict()), model.config._attn_implementation
    measured(model, examples)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (model.training, model.config._attn_implementation) == (training, attention)


def test_a_family_without_formulas_has_rates_but_no_flops(examples: Examples) -> None:
    config = AutoConfig.for_model(
        "mpnet", vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config)
    train = Examples(examples.tokens, None, examples.starts, examples.labels, examples.pad)
    found = measured(model, train)
    assert found["train_pairs_per_second"] > 0 < found["inference_pairs_per_second"]
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert not [name for name in found if "utilisation" in name or name.endswith("_flops")]
    assert not {"activation_bytes", "gradient_bytes", "optimizer_bytes", "growth"} & set(found)
