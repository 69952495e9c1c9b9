"""Runs of fine-tuning that one process makes as well as several: ``python -m tests.training.together <folder>``."""

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data.batches import Batch, Examples
from pipeline.evaluation.benchmark import benchmark
from pipeline.evaluation.benchmark_settings import LatencySettings, MeasurementSettings, TrainingBudget
from pipeline.evaluation.cost import speed
from pipeline.metrics import registry
from pipeline.system import distributed, hardware
from pipeline.training import checkpoints
from pipeline.training import trainer as running
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.finetune_classifier import finetune_classifier
from pipeline.training.predict import predict_logits
from pipeline.training.recipe import Recipe
from pipeline.training.task_loss import TaskLoss

# 22 rows make batches of 7, 7, 7 and 1. Of the gradients' norms some are clipped and some are not.
RECIPE = Recipe(
    learning_rate=3e-3, batch_size=7, epochs=2, steps=None, warmup=0.2, weight_decay=0.1, clip=1.5, evaluations=4
)
BRIEF = MeasurementSettings(
    processes=2, precision="fp32", batch=4, within=0.5, at_most=0.02, latency=LatencySettings(rows=(1,), calls=2),
    budget=TrainingBudget(examples=7200, price_per_hour=2.0),
)  # fmt: skip
STEADY = RECIPE.model_copy(update={"learning_rate": 1e-3, "batch_size": 16, "epochs": 3})


def bert(dropout: float = 0.0, outputs: int = 2) -> BertForSequenceClassification:
    """Return a BERT of two narrow layers; of its 40 words five occur in the examples."""
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=32, initializer_range=0.1, num_labels=outputs, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )  # fmt: skip


def examples(count: int, seed: int = 0, kind: type = np.int64) -> Examples:
    """Return examples of 4 to 12 tokens, labelled by whether the token 7 stands in them."""
    random = np.random.default_rng(seed)
    rows = [random.integers(5, 10, random.integers(4, 13)) for _ in range(count)]
    labels = np.array([7 in row for row in rows]).astype(kind)
    tokens = np.concatenate(rows)
    return Examples(tokens, np.zeros_like(tokens), np.cumsum([0, *map(len, rows)]), labels, pad=0)


def alike(count: int) -> Examples:
    """Return one example many times, so that the loss of each row is that of any other."""
    tokens = np.tile([5, 6, 7, 8], count)
    return Examples(tokens, np.zeros_like(tokens), 4 * np.arange(count + 1), np.ones(count, dtype=np.int64), pad=0)


FOLDER = Path()  # where the processes keep what they make


class Certain(TaskLoss):
    """The labels' loss divided by a spread that is learned with it (Kendall et al. 2018, eq. 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.zeros(()))

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().forward(model, batch) * torch.exp(-self.spread) + self.spread


class Watched(TaskLoss):
    """The labels' loss, of which this process's share of each batch is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().forward(model, batch)
        self.seen.append(loss.item())
        return loss


@dataclasses.dataclass
class Told:
    """What a run returned and told, or the mistake it ended with, and the model that it left."""

    model: Any
    loss: TaskLoss
    result: dict[str, Any]
    curve: list[Any]
    error: str = ""


def run(
    model: Any,
    train: Examples,
    recipe: Recipe = RECIPE,
    loss: TaskLoss | None = None,
    seed: int = 3,
    checkpoint: Checkpoint | None = None,
    advanced: Callable[[int], None] = lambda steps: None,
) -> Told:
    """Fine-tune ``model``; a regression where it has one output."""
    measure, curve, loss = "pearson" if model.config.num_labels == 1 else "accuracy", [], loss or TaskLoss()
    selection = examples(30, seed=1, kind=train.labels.dtype)
    judge = partial(registry.judge, metrics=[measure])
    try:
        result = finetune_classifier(
            model, train, selection, recipe, judge, measure, seed, lambda *point: curve.append(point), advanced, loss,
            checkpoint,
        )  # fmt: skip
    except UserError as error:
        return Told(model, loss, {}, curve, str(error))
    return Told(model, loss, result, curve)


def plain() -> Told:
    return run(bert(), examples(22))


def regression() -> Told:
    return run(bert(outputs=1), examples(22, kind=np.float32))


def sparse() -> Told:
    model = bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight[:, ::2] = 0
    return run(model, examples(22))


def shared() -> Told:
    model = bert()
    model.bert.encoder.layer[1].intermediate = model.bert.encoder.layer[0].intermediate
    return run(model, examples(22))


def own() -> Told:
    return run(bert(), examples(22), loss=Certain())


def nan() -> Told:
    train = examples(22, kind=np.float32)
    train.labels[11] = np.nan
    return run(bert(outputs=1), train)


def dropped(seed: int = 3) -> Told:
    return run(bert(dropout=0.1), examples(96), STEADY, seed=seed)


def masked() -> Told:
    return run(bert(dropout=0.5), alike(8), STEADY.model_copy(update={"batch_size": 8}), Watched())


def revived() -> Told:
    """Die after step 7, and go on from the checkpoint of step 6 with another model of the same beginning."""
    made = 0

    def advanced(steps: int) -> None:
        nonlocal made
        made += steps
        if made == 7:
            raise InterruptedError

    file = FOLDER / f"revived-{distributed.get_group().size}.safetensors"
    with suppress(InterruptedError):
        run(bert(dropout=0.1), examples(96), STEADY, checkpoint=Checkpoint(file, min_seconds=0.0), advanced=advanced)
    return run(bert(dropout=0.1), examples(96), STEADY, checkpoint=Checkpoint(file, min_seconds=1e9))


CASES: list[Callable[[], Told]] = [plain, regression, sparse, shared, own, nan, dropped, masked, revived]


def main(folder: Path) -> None:
    """Write what each run came to in this process."""
    global FOLDER
    FOLDER = folder
    hardware.get_fastest_precision = lambda at: "fp32"
    running.SYNC_STEPS, checkpoints.MIN_INTERVAL_RATIO = 1, 0
    torch.set_num_threads(1)
    with distributed.init_process_group():
        group = distributed.get_group()
        for case in CASES:
            told = case()
            weights = {name: weight.clone() for name, weight in told.model.state_dict().items()}
            own = {f"loss.{name}": weight.clone() for name, weight in told.loss.state_dict().items()}
            path = folder / f"{case.__name__}-{group.rank}"
            save_file({**weights, **own}, f"{path}.safetensors")
            kept = {"result": told.result, "curve": told.curve, "error": told.error}
            path.with_suffix(".json").write_text(json.dumps({**kept, "seen": getattr(told.loss, "seen", [])}))
        for count in (150, 10):  # three batches, and one of which a process has none
            np.save(folder / f"{count}-{group.rank}.npy", predict_logits(bert(), examples(count), "fp32", group))
        speed.ROUND = 0.01
        timed = benchmark(bert(), bert(), examples(40), examples(20), BRIEF, group)
        (folder / f"benchmark-{group.rank}.json").write_text(json.dumps(timed))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
