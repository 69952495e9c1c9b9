"""What a compression's settings may say, told without opening a model: the check of the plan asks here first.

Each function bears the name of a method, takes the arguments that a conf file gives it, and returns every mistake as
``<argument>: <what is wrong>``. ``shape`` is that of the model where it is known before any model is made, else None.
The methods ask again themselves, with the shape of the model that they were given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import suggest
from pipeline.core.validators import is_number, is_whole

PARTS = ("all", "attention", "feed_forward")
IMPORTANCE = ("gradient", "magnitude")
BOUNDS = {"fraction": "of the full rank", "energy": "of the squared singular values", "budget": "of the parameters"}


@dataclass(frozen=True)
class Shape:
    """How large a BERT-shaped encoder is, as its config.json says."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int

    @classmethod
    def of(cls, config: object) -> Shape | None:
        """Return the shape that the content of a config.json states, None where it is not told in BERT's words."""
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
        if not isinstance(config, Mapping) or not all(is_whole(config.get(key), 1) for key in keys):
            return None
        return cls(*(config[key] for key in keys))


def share(shape: Shape | None, parts: object, groups: object, take: object) -> list[str]:
    """Check cross-layer sharing."""
    mistakes = [*_one_of("parts", parts, PARTS), *_one_of("take", take, ("first", "mean"))]
    if not is_whole(groups, 1):
        mistakes.append(f"groups: got {groups!r}; write a whole number from 1, below the number of layers")
    elif shape and groups >= shape.layers:
        mistakes.append(
            f"groups: got {groups} for {shape.layers} layers, so nothing is shared; use at most {shape.layers - 1}"
        )
    return mistakes


def magnitude(shape: Shape | None, share: object, scope: object) -> list[str]:
    """Check unstructured pruning."""
    return [*_share("share", share, "of the weights"), *_one_of("scope", scope, ("global", "layer"))]


def pattern(shape: Shape | None, keep: object, of: object) -> list[str]:
    """Check N:M pruning."""
    if not is_whole(of, 2):
        return [f"of: got {of!r}; write a whole number from 2, the weights of a group"]
    if not is_whole(keep, 1, of - 1):
        return [f"keep: got {keep!r}; write a whole number from 1 to {of - 1}, the weights kept in each group of {of}"]
    if shape and shape.hidden % of:
        return [f"of: got {of}, but rows of {shape.hidden} weights do not divide into such groups"]
    return []


def heads(shape: Shape | None, remove: object, importance: object) -> list[str]:
    """Check the removal of attention heads."""
    mistakes = [*_share("remove", remove, "of the heads"), *_one_of("importance", importance, IMPORTANCE)]
    if not mistakes and shape and isinstance(remove, float):
        total = shape.layers * shape.heads
        if round(remove * total) > total - shape.layers:
            most = (total - shape.layers) / total
            mistakes.append(
                f"remove: {remove} of {total} heads leaves a layer without any; use at most {most:.4g}, "
                "or remove whole layers"
            )
        elif round(remove * total) < 1:
            mistakes.append(f"remove: {remove} of {total} heads is none; use at least {1 / total:.4g}")
    return mistakes


def width(shape: Shape | None, remove: object, importance: object) -> list[str]:
    """Check the narrowing of the feed-forward layers."""
    mistakes = [*_share("remove", remove, "of the width"), *_one_of("importance", importance, IMPORTANCE)]
    if not mistakes and shape and isinstance(remove, float):
        left = shape.intermediate - round(remove * shape.intermediate)
        if left < 1 or left == shape.intermediate:
            word = "nothing" if left < 1 else "all of them"
            mistakes.append(f"remove: {remove} of {shape.intermediate} leaves {word}")
    return mistakes


def layers(shape: Shape | None, remove: object, importance: object) -> list[str]:
    """Check the removal of whole layers."""
    mistakes = _one_of("importance", importance, IMPORTANCE)
    if not is_whole(remove, 1):
        return [*mistakes, f"remove: got {remove!r}; write a whole number from 1, below the number of layers"]
    if shape and remove >= shape.layers:
        return [*mistakes, f"remove: got {remove} of {shape.layers} layers; use at most {shape.layers - 1}"]
    return mistakes


def svd(shape: Shape | None, rank: object, parts: object, weighted: object, embeddings: object) -> list[str]:
    """Check low rank: a rank that saves nothing is refused."""
    mistakes = _one_of("parts", parts, PARTS)
    if not isinstance(weighted, bool):
        mistakes.append(f"weighted: got {weighted!r}; write true or false")
    mistakes += _rank("rank", rank, ("fraction", "energy", "budget"))
    if embeddings is not None:
        mistakes += _rank("embeddings", embeddings, ("fraction", "energy"))
    if mistakes or shape is None:
        return mistakes
    assert isinstance(rank, Mapping)
    matrices = {
        "attention": [(shape.hidden, shape.hidden)],
        "feed_forward": [(shape.hidden, shape.intermediate)],
    }
    chosen = matrices["attention"] + matrices["feed_forward"] if parts == "all" else matrices[str(parts)]
    mistakes += [mistake for size in chosen for mistake in _saves("rank", rank, *size)][:1]
    if isinstance(embeddings, Mapping):
        mistakes += _saves("embeddings", embeddings, shape.vocabulary, shape.hidden)
    return mistakes


def int8(shape: Shape | None, activations: object) -> list[str]:
    """Check quantisation."""
    return _one_of("activations", activations, ("dynamic", "none"))


def full_rank(fraction: float, rows: int, columns: int) -> int:
    """Return the rank that is ``fraction`` of the full one, at least 1."""
    return max(1, round(fraction * min(rows, columns)))


def saves(rank: int, rows: int, columns: int) -> bool:
    """Say whether two factors of ``rank`` hold fewer numbers than the matrix: r < mn / (m + n)."""
    return rank * (rows + columns) < rows * columns


def _saves(name: str, rank: Mapping[str, Any], rows: int, columns: int) -> list[str]:
    if "fraction" not in rank:
        return []
    chosen = full_rank(rank["fraction"], rows, columns)
    if saves(chosen, rows, columns):
        return []
    most = (rows * columns - 1) // (rows + columns)
    return [
        f"{name}: fraction {rank['fraction']} is rank {chosen} of matrices of {rows} x {columns}, which saves nothing; "
        f"use rank {most} at most, a fraction of {most / min(rows, columns):.4g}"
    ]


def _rank(name: str, rank: object, ways: tuple[str, ...]) -> list[str]:
    told = " or ".join(f"{{{way}: share {BOUNDS[way]}}}" for way in ways)
    if not isinstance(rank, Mapping) or len(rank) != 1:
        return [f"{name}: got {rank!r}; write one of {told}"]
    way, value = next(iter(rank.items()))
    if way not in ways:
        return [f"{name}: {way}: unknown; {suggest(str(way), ways)}"]
    return _share(f"{name}: {way}", value, BOUNDS[way])


def _share(name: str, value: object, of: str) -> list[str]:
    if not (is_number(value) and 0 < value < 1):
        return [f"{name}: got {value!r}; write a share {of}, above 0 and below 1"]
    return []


def _one_of(name: str, value: object, allowed: Collection[str]) -> list[str]:
    return [] if value in allowed else [f"{name}: got {value!r}; {suggest(str(value), allowed)}"]
