"""Which keys each file of conf/ may hold: a key that no code reads is refused, with the place where it belongs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.core.errors import suggest

HYDRA = ("defaults", "hydra")  # that Hydra itself reads, in any file
TASK = (
    "name", "source", "columns", "labels", "metrics", "score", "report", "train_counts", "selection", "subset_seed",
    "max_length",
)  # fmt: skip
GROUPS = {  # folders of conf/
    "recipe": (
        "name", "learning_rate", "epochs", "steps", "batch_size", "warmup", "weight_decay", "clip", "evaluations",
        "fractions",
    ),
    "model": ("name", "source", "learning_rate", "threads", "family"),
    "task": (*TASK, "range"),
    "distillation": ("name", "alpha", "temperature", "hidden", "attention", "start", "teacher_seed"),
    "compression": ("name", "method", "recovery"),
}  # fmt: skip
STAGES = {  # conf/<stage>.yaml, and what all of them share
    "workspace": ("exploration", "seed", "checkpoint_seconds"),
    "prepare": ("cell", "mirror"),
    "pretrain": ("cell", "threads", "mirror"),
    "finetune": ("cell", "ratio", "processes", "threads"),
    "distill": ("cell", "teacher", "ratio", "threads"),
    "compress": ("cell", "source", "threads", "recovery"),
    "evaluate": ("cell", "source", "threads"),
    "benchmark": ("cell", "processes", "threads", "precision", "batch", "within", "at_most", "latency", "budget"),
    "compare": ("size", "dpi"),
}
ABBREVIATIONS = {"lr": "learning_rate", "wd": "weight_decay"}


def find_unknown(given: Iterable[object], allowed: Iterable[str]) -> Iterator[str]:
    """Yield a message for each key that is not allowed: the nearest allowed name, or the file where it belongs."""
    known = tuple(dict.fromkeys(allowed))
    for key in given:
        if key not in known and key not in HYDRA:
            yield f"{key}: unknown key; {_advise(str(key), known)}"


def _advise(key: str, known: tuple[str, ...]) -> str:
    """Return where a key belongs, or the allowed names with the nearest one first."""
    meant = ABBREVIATIONS.get(key, key)
    place = None if meant in known else _find_place(meant)
    if place is None:
        return suggest(meant, known)
    what = "it" if meant == key else repr(meant)
    return f"{what} belongs in {place} (allowed here: {', '.join(sorted(known))})"


def _find_place(key: str) -> str | None:
    """Return the first folder or file of conf/ that has a key."""
    places = {f"conf/{group}/": keys for group, keys in GROUPS.items()}
    places |= {f"conf/{stage}.yaml": keys for stage, keys in STAGES.items()}
    return next((place for place, keys in places.items() if key in keys), None)
