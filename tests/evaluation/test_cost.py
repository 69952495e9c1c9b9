"""Costs: counted in closed form, weighed on disk, timed plausibly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.evaluation import cost

HIDDEN, INNER = 16, 32


def test_parameters_are_those_of_the_formula(model: BertForSequenceClassification, tmp_path: Path) -> None:
    """Devlin et al. 2019: per layer four projections, two feed-forward maps and two norms; pooler and head on top."""
    model.save_pretrained(tmp_path)
    layer = 4 * (HIDDEN**2 + HIDDEN) + 2 * HIDDEN * INNER + INNER + HIDDEN + 2 * 2 * HIDDEN
    embeddings = (40 + 20 + 2) * HIDDEN
    body = 2 * HIDDEN + 2 * layer + (HIDDEN**2 + HIDDEN) + (2 * HIDDEN + 2)
    found = cost.storage(model, tmp_path)
    assert (found["parameters"], found["parameters_non_embedding"]) == (embeddings + body, body)


def test_bytes_are_those_on_disk(model: BertForSequenceClassification, tmp_path: Path) -> None:
    model.half().save_pretrained(tmp_path)
    found = cost.storage(model, tmp_path)
    file = tmp_path / "model.safetensors"
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert found["storage_bytes"] == file.stat().st_size == header + 2 * found["parameters"]


def test_every_example_is_predicted_in_fp32(model: BertForSequenceClassification, examples: Examples) -> None:
    said, speed = cost.predict(model, examples)
    row = batches.collate(examples, np.array([17]))
    with torch.no_grad():
        np.testing.assert_allclose(said[17], model(**row.inputs).logits[0].numpy(), rtol=1e-4, atol=1e-6)
    assert said.shape == (30, 2)
    assert speed > 0


def test_predicting_is_timed_after_a_warm_up_by_the_first_batch(
    model: BertForSequenceClassification, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    now = cost._now
    monkeypatch.setattr(cost, "_now", lambda model: events.append("clock") or now(model))
    model.register_forward_pre_hook(
        lambda _, __, inputs: events.append((torch.is_grad_enabled(), tuple(inputs["input_ids"].shape))),
        with_kwargs=True,
    )
    cost.predict(model, examples)
    batch = (False, (30, examples.lengths.max()))
    assert events == [batch, "clock", batch, "clock"]


def test_one_example_at_a_time_is_timed_after_a_warm_up(
    model: BertForSequenceClassification, examples: Examples
) -> None:
    shapes = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append((torch.is_grad_enabled(), tuple(inputs["input_ids"].shape))),
        with_kwargs=True,
    )
    found = cost.latency(model, examples)
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"]
    assert len(shapes) == cost.WARMUP + cost.CALLS
    timed = [length for _, (rows, length) in shapes[cost.WARMUP :] if rows == 1]
    assert sorted(set(timed)) == sorted(set(examples.lengths.tolist()))
    assert not any(gradients for gradients, _ in shapes)
