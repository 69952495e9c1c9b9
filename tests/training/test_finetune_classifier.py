"""Fine-tuning: it learns, repeats itself byte for byte, and equals a loop written out with transformers alone."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.metrics import registry
from pipeline.models import layer_surgery
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear
from pipeline.training.finetune_classifier import finetune_classifier
from pipeline.training.recipe import Recipe
from pipeline.training.task_loss import TaskLoss

Bert = Callable[..., BertForSequenceClassification]
Make = Callable[..., Examples]
Recipes = Callable[..., Recipe]
JUDGE = partial(registry.judge, metrics=["accuracy", "f1"])
STILL: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def run(model: BertForSequenceClassification, train: Examples, recipe: Recipe, seed: int = 0) -> dict[str, Any]:
    return finetune_classifier(model, train, train, recipe, JUDGE, "accuracy", seed)


def digest(model: BertForSequenceClassification, folder: Path) -> str:
    model.save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_what_can_be_learnt(bert: Bert, examples: Make, recipe: Recipes) -> None:
    curve: list[tuple[int, dict[str, float]]] = []
    result = finetune_classifier(
        bert(), examples(400), examples(100, seed=1), recipe(epochs=4, evaluations=4, learning_rate=3e-3), JUDGE,
        "accuracy", 0, lambda step, values: curve.append((step, values)),
    )  # fmt: skip
    assert result["selection_accuracy"] == result["selection_score"] > 0.9
    assert [step for step, _ in curve] == [50, 100, 150, 200]
    assert curve[-1][1]["loss"] < curve[0][1]["loss"]
    assert curve[-1][1]["selection_loss"] == result["selection_loss"] < 0.35
    assert curve[-1][1]["learning_rate"] == pytest.approx(3e-3 / 180)
    assert (result["steps"], result["epochs"], result["train_examples"]) == (200, 4, 400)
    assert result["steps_to_95pct"] in (50, 100, 150, 200)


def test_a_regression_learns_the_number(bert: Bert, examples: Make, recipe: Recipes) -> None:
    model = bert(num_labels=1, problem_type="regression")
    judge = partial(registry.judge, metrics=["pearson"])
    train = examples(400, regression=True)
    result = finetune_classifier(model, train, train, recipe(epochs=4, learning_rate=3e-3), judge, "pearson", 0)
    assert result["selection_pearson"] > 0.9
    assert result["selection_loss"] < np.var(train.labels) / 4


def test_the_same_seed_gives_the_same_bytes(bert: Bert, examples: Make, recipe: Recipes, tmp_path: Path) -> None:
    digests = []
    for seed in (3, 3, 4):
        model = bert()
        run(model, examples(50), recipe(), seed)
        digests.append(digest(model, tmp_path))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.usefixtures("fp32")
def test_a_run_equals_a_loop_written_out(bert: Bert, examples: Make, recipe: Recipes) -> None:
    train, steps = examples(30), 8
    fast = bert(**STILL)
    run(fast, train, recipe(batch_size=8, epochs=2, warmup=0.25), seed=5)
    slow = _written_out(bert(**STILL), train, steps, seed=5)
    for name, weight in slow.state_dict().items():
        if name.endswith("key.bias"):  # it shifts all scores of a query alike; AdamW makes steps of its rounding errors
            continue
        torch.testing.assert_close(fast.state_dict()[name], weight, rtol=1e-3, atol=2e-5)
    assert not torch.equal(fast.classifier.weight, bert(**STILL).classifier.weight)


def _written_out(
    model: BertForSequenceClassification, train: Examples, steps: int, seed: int
) -> BertForSequenceClassification:
    """Train as ``finetune`` should, with every word, padded to one length, and torch's unfused AdamW."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    kept = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": kept, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=1e-3, foreach=False)
    random = np.random.default_rng(seed)
    order = [rows for _ in range(2) for rows in batches.shuffled(train.lengths, 8, random)]
    model.train()
    for step, rows in enumerate(order):
        for group in adamw.param_groups:
            group["lr"] = 1e-3 * ((step + 1) / 3 if step < 2 else (steps - step) / (steps - 2))
        ids = torch.zeros(len(rows), 16, dtype=torch.long)
        for place, row in enumerate(rows):
            tokens = train.tokens[train.starts[row] : train.starts[row + 1]]
            ids[place, : len(tokens)] = torch.from_numpy(tokens)
        said = model(input_ids=ids, attention_mask=(ids > 0).long()).logits
        cross_entropy(said, torch.from_numpy(train.labels[rows])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
    return model


@pytest.mark.usefixtures("fp32")
def test_the_logged_loss_weighs_every_example_alike(bert: Bert, examples: Make, recipe: Recipes) -> None:
    model, train = bert(**STILL), examples(19)  # batches of 8, 8 and 3
    result = run(model, train, recipe(learning_rate=1e-12, evaluations=1))
    alone = [model(**batches.collate(train, np.array([row])).inputs).logits for row in range(19)]
    expected = cross_entropy(torch.cat(alone), torch.from_numpy(train.labels)).item()
    assert result["loss"] == pytest.approx(expected, rel=1e-4)
    assert result["selection_loss"] == pytest.approx(expected, rel=1e-4)


class Doubled(TaskLoss):
    """Twice the loss of the labels, to the power of a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.power = torch.nn.Parameter(torch.ones(()))

    def forward(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return 2 * super().forward(model, batch) ** self.power


@pytest.mark.usefixtures("fp32")
def test_another_loss_is_trained_with_its_own_weights_and_judged_by_the_labels(
    bert: Bert, examples: Make, recipe: Recipes
) -> None:
    train, settings, results, doubled = examples(16), recipe(learning_rate=1e-6, evaluations=1), [], Doubled()
    for loss in (None, doubled):
        results.append(finetune_classifier(bert(**STILL), train, train, settings, JUDGE, "accuracy", 0, loss=loss))
    assert results[1]["loss"] == pytest.approx(2 * results[0]["loss"], rel=1e-3)
    assert results[1]["selection_loss"] == pytest.approx(results[0]["selection_loss"], rel=1e-3)
    assert doubled.power.item() != 1


def test_a_sparse_weight_keeps_its_zeros(bert: Bert, examples: Make, recipe: Recipes) -> None:
    model = bert()
    weight = model.bert.encoder.layer[0].intermediate.dense.weight
    with torch.no_grad():
        weight[:, ::2] = 0
        before = weight.clone()
    run(model, examples(40), recipe(weight_decay=0.1))
    assert torch.equal(weight == 0, before == 0)
    assert not torch.equal(weight, before)


def test_a_compressed_model_learns(bert: Bert, examples: Make, recipe: Recipes) -> None:
    model = bert(num_attention_heads=4)
    layers: Any = model.bert.encoder.layer
    layer_surgery.select_heads(layers[0].attention, [0, 2, 3])
    layers[1].attention = layers[0].attention
    layer_surgery.replace_module(model, "bert.encoder.layer.1.intermediate.dense", LowRankLinear(32, 64, 8, bias=True))
    model.bert.embeddings.word_embeddings = LowRankEmbedding(40, 32, 16, padding_idx=0)
    settings = recipe(epochs=4, evaluations=4, learning_rate=3e-3)
    result = finetune_classifier(model, examples(400), examples(100, seed=1), settings, JUDGE, "accuracy", 0)
    assert result["selection_accuracy"] > 0.9
    assert layers[1].attention is layers[0].attention
    assert layers[0].attention.self.query.weight.shape == (24, 32)


def test_tokens_are_counted_without_padding(bert: Bert, examples: Make, recipe: Recipes) -> None:
    train = examples(40)
    result = run(bert(), train, recipe(epochs=2))
    seconds = result["train_seconds"]
    assert result["train_tokens_per_second"] * seconds == pytest.approx(2 * len(train.tokens))
    assert result["train_pairs_per_second"] * seconds == pytest.approx(80)
    assert 0 < result["padding_share"] < 0.4
    assert result["precision"] in ("bf16", "fp32")
    assert result["threads"] == torch.get_num_threads()


def test_what_it_took_to_come_near_the_end_is_told_for_the_fractions_of_the_recipe(
    bert: Bert, examples: Make, recipe: Recipes
) -> None:
    train, selection, told = examples(19), examples(5), iter([0.2, 0.6, 0.5])  # at the end of batches of 8, 8 and 3

    def judge(said: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        constant = not np.ptp(said, axis=0).any()
        return {"accuracy": 0.0 if constant else next(told)}

    settings = recipe(evaluations=3, fractions=[0.4, 0.625, 1])
    result = finetune_classifier(bert(), train, selection, settings, judge, "accuracy", 0)
    order = list(batches.shuffled(train.lengths, 8, np.random.default_rng(0)))
    spent = np.cumsum([sum(3 * counted(bert(), train, row) for row in rows) for rows in order])
    seen = np.cumsum([len(rows) for rows in order])
    assert result["train_flops"] == spent[-1]
    for percent, step in ((40, 1), (62.5, 2), (100, 2)):
        assert result[f"steps_to_{percent}pct"] == step
        assert result[f"examples_to_{percent}pct"] == seen[step - 1]
        assert result[f"flops_to_{percent}pct"] == spent[step - 1]
    assert 0 < result["seconds_to_40pct"] < result["seconds_to_62.5pct"] == result["seconds_to_100pct"]
    assert result["seconds_to_100pct"] < result["train_seconds"]
    assert sum("_to_" in name for name in result) == 12


def counted(model: BertForSequenceClassification, examples: Examples, row: int) -> int:
    """Return what torch counts when one example is asked alone, without padding; backward takes twice as much."""
    model.set_attn_implementation("eager")  # torch has no count of its own for the kernel that does all at once
    with FlopCounterMode(display=False) as counter:
        model(**batches.collate(examples, np.array([row])).inputs)
    return counter.get_total_flops()


def test_every_step_is_told(bert: Bert, examples: Make, recipe: Recipes) -> None:
    steps: list[int] = []
    finetune_classifier(bert(), examples(20), examples(20), recipe(), JUDGE, "f1", 0, on_step=steps.append)
    assert steps == [1, 1, 1]


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(bert: Bert, examples: Make, recipe: Recipes) -> None:
    train = examples(40, regression=True)
    train.labels[11] = np.nan
    order = batches.shuffled(train.lengths, 8, np.random.default_rng(0))
    step = next(number for number, rows in enumerate(order, start=1) if 11 in rows)
    judge = partial(registry.judge, metrics=["pearson"])
    with pytest.raises(UserError) as error:
        finetune_classifier(bert(num_labels=1), train, train, recipe(evaluations=1), judge, "pearson", 0)
    assert str(error.value) == f"the loss is nan at step {step} of 5; lower learning_rate (0.001) or clip (1)"
