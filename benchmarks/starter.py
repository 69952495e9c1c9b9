"""What the starter corpus measures: its ladder by size and data, beside three baselines that do not read order.

``python benchmarks/starter.py`` fine-tunes every size on every grade with the shipped recipe, three seeds each, and
writes ``docs/starter.json`` and ``docs/starter.svg``; ``--draw`` only draws what the JSON holds.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
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

from pipeline import machine, paths, target
from pipeline.data import batches, preparing, sources, tasks
from pipeline.data.tasks import Task
from pipeline.evaluation import scores
from pipeline.models import loading
from pipeline.training import finetuning
from pipeline.training.prediction import logits
from pipeline.training.recipe import Recipe

GRADES = ("replace", "swap", "nest")
MODELS = ("starter-2x64", "starter-2x96", "starter-3x96", "starter-4x128")
APART = ("starter-2x64-fresh", "starter-3x96-random")  # measured on all rows only
RATIOS, SEEDS = (0.1, 0.3, 1.0), (0, 1, 2)
FILES = paths.ROOT / "docs" / "starter.json", paths.ROOT / "docs" / "starter.svg"

Rows = list[dict[str, Any]]


def main() -> None:
    """Measure, keep and draw."""
    machine.set_threads(1)
    if "--draw" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            measured = {grade: measure(grade, Path(folder)) for grade in GRADES}
        paths.write_json(FILES[0], {"machine": machine.describe(), "grades": measured})
    content = json.loads(FILES[0].read_text(encoding="utf-8"))["grades"]
    print("\n\n".join(table(grade, content[grade]) for grade in GRADES))
    draw(content)


def measure(grade: str, folder: Path) -> dict[str, Any]:
    """Return the accuracy of each baseline, and of each model and ratio the accuracies of the seeds."""
    task, data = prepared(grade, folder)
    train, report = (pq.read_table(data / f"{name}.parquet").to_pylist() for name in ("train", "report"))
    wanted = [*product(MODELS, RATIOS), *product(APART, (1.0,))]
    found = []
    for model, ratio in wanted:
        seeds = [trial(task, data, pretrained(model, folder), model, ratio, seed) for seed in SEEDS]
        found.append({"model": model, "ratio": ratio, "train_examples": round(ratio * len(train)), "accuracy": seeds})
        print(grade, model, ratio, np.round(seeds, 3), flush=True)
    return {"baselines": baselines(train, report), "cells": found}


def prepared(grade: str, folder: Path) -> tuple[Task, Path]:
    """Prepare the task of a grade and return it with its folder."""
    conf = yaml.safe_load((paths.CONF / "task" / f"starter-{grade}.yaml").read_text(encoding="utf-8"))
    task, out = tasks.parse(conf), folder / grade
    out.mkdir()
    found = sources.find(task.name, None, lambda: target.call(conf["source"], task.name))
    preparing.prepare(task, found.splits, conf["source"], out)
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
        target.call(conf_of(model)["source"], model, out=out, log=Silent())
    return out


def conf_of(model: str) -> dict[str, Any]:
    """Return a model's conf file."""
    return dict(yaml.safe_load((paths.CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8")))


def trial(task: Task, data: Path, weights: Path, model: str, ratio: float, seed: int) -> float:
    """Fine-tune as the stage does and return the accuracy on the reported split."""
    settings = yaml.safe_load((paths.CONF / "recipe" / "standard.yaml").read_text(encoding="utf-8"))
    del settings["name"]
    recipe = Recipe(**settings | {"learning_rate": conf_of(model)["learning_rate"], "evaluations": 1})
    read = partial(batches.read, tokenizer=weights, max_length=task.max_length)
    classifier = loading.classifier(weights, 2, seed).model
    judge = partial(scores.judge, metrics=["accuracy"])
    train, selection = read(data / "train.parquet", ratio), read(data / "selection.parquet", 1.0)
    finetuning.finetune(classifier, train, selection, recipe, judge, "accuracy", seed)
    report = read(data / "report.parquet", 1.0)
    return judge(logits(classifier.eval(), report, "fp32"), report.labels)["accuracy"]


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


def interval(accuracies: list[float]) -> tuple[float, float]:
    """Return mean and half width of the 95% t interval over the seeds, in points."""
    half = stats.t.ppf(0.975, len(accuracies) - 1) * stats.sem(accuracies)
    return 100 * float(np.mean(accuracies)), 100 * float(half)


def table(grade: str, content: dict[str, Any]) -> str:
    """Return a grade's results as Markdown: a line a model, a column a ratio."""
    lines = [f"| {grade} | {' | '.join(f'{ratio:.0%} of the rows' for ratio in RATIOS)} |", "|---|---:|---:|---:|"]
    for model in (*MODELS, *APART):
        told = {cell["ratio"]: interval(cell["accuracy"]) for cell in content["cells"] if cell["model"] == model}
        cells = (f"{told[ratio][0]:.1f} ± {told[ratio][1]:.1f}" if ratio in told else "" for ratio in RATIOS)
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += [f"| *{name}* | | | {100 * value:.1f} |" for name, value in content["baselines"].items()]
    return "\n".join(lines)


def curve(content: dict[str, Any], model: str) -> Iterator[tuple[int, float, float]]:
    """Yield training examples, mean and half width for each ratio of a model."""
    for cell in content["cells"]:
        if cell["model"] == model:
            yield cell["train_examples"], *interval(cell["accuracy"])


def draw(content: dict[str, Any]) -> None:
    """Draw accuracy against training examples, a panel a grade, a line a size."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "starter"
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for grade, axes in zip(GRADES, figure.subplots(1, 3, sharey=True), strict=True):
        for index, model in enumerate(MODELS):
            examples, mean, half = zip(*curve(content[grade], model), strict=True)
            look = {"color": mpl.colormaps["viridis"](index / len(MODELS)), "marker": "o", "capsize": 3}
            axes.errorbar(examples, mean, half, label=model.removeprefix("starter-"), **look)
        for marker, model in zip("Ds", APART, strict=True):
            examples, mean, half = zip(*curve(content[grade], model), strict=True)
            axes.errorbar(
                examples, mean, half, fmt=marker, mfc="white", color="0.4", label=model.removeprefix("starter-")
            )
        for style, (name, value) in zip(("-", "--", ":"), content[grade]["baselines"].items(), strict=True):
            axes.axhline(100 * value, color="0.6", linestyle=style, linewidth=1, label=name)
        axes.set(title=grade, xscale="log", xlabel="training pairs")
        axes.set_xticks([90, 270, 900], ["90", "270", "900"])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("accuracy, %")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(FILES[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
