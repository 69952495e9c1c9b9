"""What the shipped plan does not measure of the starter: baselines that read no order, and models not pre-trained.

``python benchmarks/starter.py`` prints a table for each grade: accuracy on the reported pairs of what learned from all
training rows by the standard recipe, three seeds each. It takes some minutes on one thread.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from scipy import stats
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegressionCV

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.core import instantiate, paths
from pipeline.data import batches, dataset_sources
from pipeline.metrics import registry
from pipeline.models import load_model
from pipeline.system import hardware
from pipeline.tasks import prepare_task, task_config
from pipeline.tasks.task_config import Task
from pipeline.training import finetune_classifier
from pipeline.training.draw_seeds import derive_seed
from pipeline.training.predict import predict_logits
from pipeline.training.recipe import Recipe

GRADES = ("replace", "swap", "nest")
MODELS = ("starter-2x64", "starter-2x96", "starter-3x96", "starter-4x128", "starter-2x64-fresh", "starter-3x96-random")
SEEDS = (0, 1, 2)

Rows = list[dict[str, Any]]


def main() -> None:
    """Measure a grade after the other and print what came out."""
    hardware.set_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for grade in GRADES:
            print(table(grade, measure(grade, Path(folder))), flush=True)


def measure(grade: str, folder: Path) -> dict[str, list[float]]:
    """Return the accuracies of each model's seeds and the one of each baseline."""
    task, data = prepared(grade, folder)
    train, report = (pq.read_table(data / f"{name}.parquet").to_pylist() for name in ("train", "report"))
    found = {model: [trial(task, data, pretrained(model, folder), model, seed) for seed in SEEDS] for model in MODELS}
    return found | {name: [accuracy] for name, accuracy in baselines(train, report).items()}


def prepared(grade: str, folder: Path) -> tuple[Task, Path]:
    """Prepare the task of a grade and return it with its folder."""
    conf = yaml.safe_load((paths.CONF / "task" / f"starter-{grade}.yaml").read_text(encoding="utf-8"))
    task, out = task_config.load_task(conf), folder / grade
    out.mkdir()
    found = dataset_sources.find(task.name, None, lambda: instantiate.call_target(conf["source"], task.name))
    prepare_task.prepare(task, found.splits, conf["source"], out)
    return task, out


class Silent:
    """A log that tells nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def pretrained(model: str, folder: Path) -> Path:
    """Return the folder of a model's weights, made once."""
    out = folder / model
    if not out.exists():
        out.mkdir()
        instantiate.call_target(conf_of(model)["source"], model, out=out, log=Silent())
    return out


def conf_of(model: str) -> dict[str, Any]:
    """Return a model's conf file."""
    return dict(yaml.safe_load((paths.CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8")))


def trial(task: Task, data: Path, weights: Path, model: str, seed: int) -> float:
    """Fine-tune as the stage does and return the accuracy on the reported split."""
    settings = yaml.safe_load((paths.CONF / "recipe" / "standard.yaml").read_text(encoding="utf-8"))
    del settings["name"]
    recipe = Recipe(**settings | {"learning_rate": conf_of(model)["learning_rate"], "evaluations": 1})
    read = partial(batches.read, tokenizer=weights, max_length=task.max_length)
    seed = derive_seed(seed, task=task.name, model=model, ratio=1.0, recipe="standard")
    classifier = load_model.load_pretrained(weights, 2, seed).model
    judge = partial(registry.judge, metrics=["accuracy"])
    train, selection = read(data / "train.parquet", 1.0), read(data / "selection.parquet", 1.0)
    finetune_classifier.finetune_classifier(classifier, train, selection, recipe, judge, "accuracy", seed)
    report = read(data / "report.parquet", 1.0)
    return judge(predict_logits(classifier.eval(), report, "fp32"), report.labels)["accuracy"]


def bag(text: str) -> Counter[str]:
    """Return the words of a text and how often each stands in it."""
    return Counter(re.findall(r"\w+", text.lower()))


def overlap(row: dict[str, Any]) -> float:
    """Return the share of words that the two texts have in common."""
    one, two = bag(row["text_a"]), bag(row["text_b"])
    return (one & two).total() / max(one.total(), two.total())


def difference(row: dict[str, Any]) -> dict[str, int]:
    """Return what a linear model sees: the words of only one text, each with its side, and those of both."""
    one, two = bag(row["text_a"]), bag(row["text_b"])
    parts = {"first": one - two, "second": two - one, "both": one & two}
    return {f"{part} {word}": count for part, words in parts.items() for word, count in words.items()}


def baselines(train: Rows, report: Rows) -> dict[str, float]:
    """Return the accuracies on the reported rows of what was fitted to all training rows."""
    wanted, truth = (np.array([row["label"] for row in rows]) for rows in (train, report))
    shares, judged = (np.array([overlap(row) for row in rows]) for rows in (train, report))
    best = max(
        product(np.unique(shares), (1, -1)), key=lambda cut: np.mean((cut[1] * (shares - cut[0]) >= 0) == wanted)
    )
    words = DictVectorizer()
    linear = LogisticRegressionCV(
        Cs=5, cv=5, max_iter=1000, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
    )
    linear.fit(words.fit_transform(map(difference, train)), wanted)
    said = linear.predict(words.transform(map(difference, report)))
    return {
        "majority": float(np.mean(truth == np.bincount(wanted).argmax())),
        "word overlap": float(np.mean((best[1] * (judged - best[0]) >= 0) == truth)),
        "linear": float(np.mean(said == truth)),
    }


def table(grade: str, found: dict[str, list[float]]) -> str:
    """Return a grade's accuracies as Markdown, with the 95% t interval over seeds where there is more than one."""
    lines = [f"\n| {grade} | accuracy, % |", "|---|---:|"]
    for name, accuracies in found.items():
        mean, seeds = 100 * float(np.mean(accuracies)), len(accuracies)
        half = 100 * stats.t.ppf(0.975, seeds - 1) * stats.sem(accuracies) if seeds > 1 else 0.0
        lines.append(f"| {name} | {mean:.1f}{f' [{mean - half:.1f}, {mean + half:.1f}]' if seeds > 1 else ''} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
