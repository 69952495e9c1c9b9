"""What the same plan comes to elsewhere: other threads, another precision, a processor with other instructions.

``python benchmarks/elsewhere.py`` fine-tunes one cell of the prepared plan under each, the instructions of a processor
that lacks the newer ones by telling oneDNN and torch to leave them alone, and prints accuracy by seed, mean and 95%
interval, and whether the weights are the same bytes. Run `make repro` before: it makes the data and the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

NO_AVX512 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
PLACES: dict[str, tuple[int, str, dict[str, str]]] = {  # threads, precision, environment
    "one thread": (1, "auto", {}),
    "the same once more": (1, "auto", {}),
    "two threads": (2, "auto", {}),
    "one thread, fp32": (1, "fp32", {}),
    "one thread, fp32, AVX2 alone": (1, "fp32", NO_AVX512),
}


def train(task: str, model: str, ratio: float, seed: int, threads: int, precision: str) -> dict[str, Any]:
    """Return accuracy on the reported rows, and a digest of the weights, of one training."""
    from pipeline.core import paths
    from pipeline.data import batches
    from pipeline.metrics import registry
    from pipeline.models import load_model
    from pipeline.system import hardware
    from pipeline.training import finetune_classifier, predict
    from pipeline.training.draw_seeds import derive_seed
    from pipeline.training.recipe import load_recipe

    hardware.set_threads(threads)
    if precision != hardware.AUTO:
        hardware.get_fastest_precision = lambda at: precision
    data, start = paths.get_data_dir(task), paths.get_model_dir(model)
    settings = _settings(task, model, ratio)
    recipe = load_recipe(settings["recipe"])
    seed = derive_seed(seed, task=task, model=model, ratio=ratio, recipe=settings["recipe"]["name"])
    classifier = load_model.load_pretrained(start, 2, seed).model
    read = partial(batches.read, tokenizer=start, max_length=settings["task"]["max_length"])
    selection, report = read(data / "selection.parquet", 1.0), read(data / "report.parquet", 1.0)
    judge = partial(registry.judge, metrics=["accuracy"])
    finetune_classifier.finetune_classifier(
        classifier, read(data / "train.parquet", ratio), selection, recipe, judge, "accuracy", seed
    )
    said = predict.predict_logits(classifier.eval(), report, "fp32")
    weights = hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in classifier.parameters()))
    return {"score": judge(said, report.labels)["accuracy"], "weights": weights.hexdigest()[:12]}


def _settings(task: str, model: str, ratio: float) -> dict[str, Any]:
    """Return the config of the cell, as the stage composes it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pipeline import plan
    from pipeline.core import paths

    plan.register_resolvers()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose("finetune", [f"task={task}", f"model={model}", f"ratio={ratio}"])
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    return dict(content)


def main() -> None:
    """Train under each circumstance, each seed in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="starter-swap")
    parser.add_argument("--model", default="starter-3x96")
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one training, in JSON
    given = parser.parse_args()
    if given.one:
        print(json.dumps(train(**json.loads(given.one))))
        return
    from pipeline.core import records

    first: list[dict[str, Any]] = []
    for name, (threads, precision, environment) in PLACES.items():
        found = []
        for seed in range(given.seeds):
            asked = {"task": given.task, "model": given.model, "ratio": given.ratio, "seed": seed}
            one = json.dumps(asked | {"threads": threads, "precision": precision})
            command = [sys.executable, __file__, "--one", one]
            done = subprocess.run(
                command, env={**os.environ, **environment}, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
        first = first or found
        mean = records.compute_spread([each["score"] for each in found])
        same = sum(one["weights"] == other["weights"] for one, other in zip(first, found, strict=True))
        most = max(abs(one["score"] - other["score"]) for one, other in zip(first, found, strict=True))
        print(
            f"{name:30s} {' '.join(format(100 * each['score'], '.2f') for each in found)}  "
            f"{100 * mean['mean']:.1f} ± {100 * (mean['std'] or 0):.1f}  "
            f"{same} of {given.seeds} the same bytes, at most {100 * most:.1f} points off",
            flush=True,
        )


if __name__ == "__main__":
    main()
