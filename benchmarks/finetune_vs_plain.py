"""Fine-tuning here against plain scripts: same rows, steps, batch, rate and seed, in turns within one run.

The scripts pad each pair to 128 tokens, as those for GLUE do, or to 512, as tutorials do; batches of all are of 32
pairs, as the README of transformers' ``run_glue.py`` has it, or of ``--batch-size``. All take turns of a few steps, so
that a machine that slows down slows each. It wants the prepared task and the checkpoint:

    export LAB_MIRROR=../shared
    python -m pipeline.stages.prepare --multirun +sweep=once task=mrpc
    python -m pipeline.stages.pretrain --multirun +sweep=once model=all-MiniLM-L6-v2
    python benchmarks/finetune_vs_plain.py                            # whole runs of 3 epochs, with F1 of both
    python benchmarks/finetune_vs_plain.py --steps 20 --length 128 512  # the speed alone, in a few minutes
    OMP_NUM_THREADS=1 python benchmarks/finetune_vs_plain.py --steps 100 --model models/bert-tiny-splade

Told are the pairs of a second and, of the measured peak of matrix products in the same precision and with as many
threads, the share that the useful FLOPs come to: those of the whole model for real tokens alone. After whole runs
also the pairs of the reported split that each predicts a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.plain import Plain  # noqa: E402
from pipeline.data import batches  # noqa: E402
from pipeline.evaluation.cost import peak_flops  # noqa: E402
from pipeline.metrics import registry  # noqa: E402
from pipeline.models import load_model  # noqa: E402
from pipeline.models.flops import model_flops  # noqa: E402
from pipeline.system import hardware  # noqa: E402
from pipeline.training import optimizer, used_embeddings  # noqa: E402
from pipeline.training.fast_cpu import apply_fast_passes  # noqa: E402
from pipeline.training.predict import ROWS, predict_logits  # noqa: E402
from pipeline.training.recipe import Recipe  # noqa: E402
from pipeline.training.trainer import Trainer  # noqa: E402

SPLITS = ("train", "selection")
LENGTHS = (128, 512)
PEAK_SECONDS = 2.0
ROUNDS = 3
RESAMPLES = 2000


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "mrpc")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "all-MiniLM-L6-v2")
    parser.add_argument("--length", type=int, nargs="+", choices=LENGTHS, default=LENGTHS[:1], help="padded to")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--steps", type=int, help="stop after so many steps and leave the scores out")
    parser.add_argument("--turn", type=int, default=5, help="steps before the next one's turn")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run all in turns and print pairs a second, ratios, shares of the peak, and the scores of whole runs."""
    asked = arguments()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hardware.set_threads(None)
    at = hardware.get_device()
    train, selection = (batches.read(asked.data / f"{split}.parquet", 1.0, asked.model, 128) for split in SPLITS)
    recipe = Recipe(
        learning_rate=asked.learning_rate,
        batch_size=asked.batch_size,
        epochs=asked.epochs,
        steps=None,
        warmup=0.1,
        weight_decay=0.01,
        clip=1.0,
        evaluations=1,
    )
    whole = recipe.count_steps(len(train))
    steps = min(asked.steps or whole, whole)
    hardware.make_deterministic(asked.seed)
    given = (whole, asked.batch_size, asked.learning_rate, asked.seed, at)
    plain = {length: Plain(asked.data, asked.model, length, *given) for length in asked.length}
    model = load_model.load_pretrained(asked.model, 2, asked.seed).model.to(at).train()
    useful = sum(float(np.mean(flops(train.lengths))) for flops in model_flops.compute_training_flops(model))
    left = optimizer.compute_total_decay(asked.learning_rate, 0.01, whole, 0.1)
    with used_embeddings.select_used_embeddings(model, [train, selection], left) as (seen, _), apply_fast_passes(model):
        run = Trainer(model, seen, recipe, asked.seed)
        for until in [*range(asked.turn, steps, asked.turn), steps]:
            for each in plain.values():
                each.advance(until - run.step)
            run.train(until, lambda _: None)
            print(f"{until} of {steps} steps", end="\r", flush=True)
    print(f"{hardware.describe_machine()}\n{steps} of {whole} steps, batch {asked.batch_size}, seed {asked.seed}")
    tell(run, plain, useful)
    if steps == whole:
        report = batches.read(asked.data / "report.parquet", 1.0, asked.model, 128)
        for length, each in plain.items():
            score(f"plain {length}", each.model, report)
        score("finetune", model, report)
        ask(model, plain, report)


def tell(run: Trainer, plain: dict[int, Plain], useful: float) -> None:
    """Print each one's pairs a second, the ratio, and the share of the peak that ``useful`` FLOPs a pair are."""
    ours = int(run.rows.sum()) / run.train_seconds
    rates = {f"plain {length}": (each.pairs / each.seconds, "fp32") for length, each in plain.items()}
    for name, (rate, precision) in {**rates, "finetune": (ours, run.precision)}.items():
        most = peak_flops.peak_flops_per_second(run.device, precision, PEAK_SECONDS).flops_per_second
        print(
            f"{name}: {rate:.2f} pairs/s, {100 * useful * rate / most:.0f}% of {most / 1e9:.0f} GFLOP/s "
            f"({precision}); finetune is {ours / rate:.2f} times as fast",
            flush=True,
        )


def score(name: str, model: torch.nn.Module, report: batches.Examples) -> None:
    """Print a model's scores on the reported split, in fp32, with the interval over examples."""
    said = registry.predicted(predict_logits(model, report, "fp32"))
    for metric in ("accuracy", "f1"):
        low, high = bootstrap(metric, said, np.asarray(report.labels))
        value = float(registry.SCORES[metric](said, report.labels))
        print(f"{name}: {metric} {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]")


def bootstrap(metric: str, predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a metric over resampled examples."""
    rows = np.random.default_rng(0).integers(len(labels), size=(RESAMPLES, len(labels)))
    low, high = np.quantile(registry.SCORES[metric](predictions[rows], labels[rows]), [0.025, 0.975])
    return float(low), float(high)


def ask(model: torch.nn.Module, plain: dict[int, Plain], report: batches.Examples) -> None:
    """Print how many of the reported pairs each predicts a second, in fp32: the best of a few rounds in turns."""
    ways = {f"plain {length}": partial(each.predict, ROWS) for length, each in plain.items()}
    ways["finetune"] = partial(predict_logits, model, report, "fp32")
    best = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, predict in ways.items():
            started = time.perf_counter()
            predict()
            best[name] = max(best[name], len(report) / (time.perf_counter() - started))
    for name, rate in best.items():
        print(f"{name}: asked {rate:.1f} pairs/s; finetune is {best['finetune'] / rate:.2f} times as fast")


if __name__ == "__main__":
    main()
