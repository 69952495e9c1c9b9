"""What transformers' Trainer costs a step, against the loop of ``pipeline.training.finetune_classifier``.

Both train the same quick model on the same examples, batch size and precision, in turns, on one thread. The clock is
the processor's and a step's figure is the lowest decile, so other work on the machine disturbs them little.
``python benchmarks/trainer_vs_loop.py`` takes about two minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback, TrainingArguments
from transformers import Trainer as HfTrainer
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.system import hardware
from pipeline.training.fast_cpu import apply_fast_passes
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer

LADDER = [(2, 64, 600, 40, 80), (2, 96, 600, 40, 80), (3, 96, 600, 40, 60), (4, 128, 600, 40, 40)]
SIZES = [*LADDER, (6, 384, 8000, 48, 6)]  # layers, hidden size, words, tokens a pair, steps a turn
ROWS, TURNS = 16, 7
TRIALS = (18, 51, 171)  # steps of the trials of the shipped plan: 3 epochs of 90, 270 and 900 rows

Marks = list[float]  # the processor's seconds: at the start, and after each step


class Mark(TrainerCallback):
    """Takes the time after each step."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Take the time."""
        self.marks.append(time.process_time())


def trainer(model: BertForSequenceClassification, train: Examples, steps: int) -> Marks:
    """Train by the Trainer, with ready batches, without logging, saving or looking for NaN."""

    class Ready(HfTrainer):
        def get_train_dataloader(self) -> list[dict[str, torch.Tensor]]:
            random = np.random.default_rng(0)
            made = [batches.collate(train, rows) for rows in batches.shuffled(train.lengths, ROWS, random)]
            return [{**batch.inputs, "labels": batch.labels} for batch in made]

    marks = [time.process_time()]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=ROWS, learning_rate=1e-4,
            warmup_steps=steps // 10, weight_decay=0.01, max_grad_norm=1.0, optim="adamw_torch_fused",
            bf16=hardware.get_fastest_precision(torch.device("cpu")) == "bf16", use_cpu=True, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, logging_nan_inf_filter=False,
        )  # fmt: skip
        made = Ready(model=model, args=settings, train_dataset=[0] * len(train), callbacks=[Mark(marks)])
        made.remove_callback(PrinterCallback)
        made.train()
    return marks


def loop(model: BertForSequenceClassification, train: Examples, steps: int) -> Marks:
    """Train by the loop of this project."""
    marks = [time.process_time()]
    recipe = Recipe(
        learning_rate=1e-4,
        batch_size=ROWS,
        epochs=None,
        steps=steps,
        warmup=0.1,
        weight_decay=0.01,
        clip=1.0,
        evaluations=1,
    )
    Trainer(model, train, recipe, seed=0).advance(steps, lambda _: marks.append(time.process_time()))
    return marks


def compare(layers: int, hidden: int, vocabulary: int, length: int, steps: int) -> None:
    """Print the milliseconds of a step by both, the ratio, and the seconds of setting up."""
    random = np.random.default_rng(0)
    tokens = random.integers(5, vocabulary, ROWS * steps * length)
    labels = random.integers(0, 2, ROWS * steps)
    train = Examples(tokens, np.zeros_like(tokens), np.arange(0, len(tokens) + 1, length), labels, pad=0)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden, attn_implementation="eager", hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config).train()
    with apply_fast_passes(model):
        found = [(loop(model, train, steps), trainer(model, train, steps)) for _ in range(TURNS)]
    (ours, our_setup), (theirs, their_setup) = (_step_and_setup(list(runs)) for runs in zip(*found, strict=True))
    theirs_whole, ours_whole = (
        sum(setup + steps * step for steps in TRIALS) for setup, step in ((their_setup, theirs), (our_setup, ours))
    )
    print(
        f"{layers}x{hidden}, {ROWS} pairs of {length} tokens: loop {1000 * ours:.2f} ms a step, Trainer "
        f"{1000 * theirs:.2f} ms, ratio {theirs / ours:.2f}; setup {our_setup:.2f} and {their_setup:.2f} s; with it "
        f"the ratio over trials of {', '.join(map(str, TRIALS))} steps is {theirs_whole / ours_whole:.2f}",
        flush=True,
    )


def _step_and_setup(runs: list[Marks]) -> tuple[float, float]:
    step = float(np.quantile([after - before for marks in runs for before, after in pairwise(marks[1:])], 0.1))
    return step, median(marks[1] - marks[0] for marks in runs) - step


if __name__ == "__main__":
    logging.set_verbosity_error()
    hardware.set_threads(1)
    for size in SIZES:
        compare(*size)
