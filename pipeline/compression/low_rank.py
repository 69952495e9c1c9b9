"""Low rank: W ~= U_r S_r V_r^T as two Linears, y = ((x V_r) S_r) U_r^T + b, and a factorised table of embeddings.

The truncated singular value decomposition is the nearest matrix of its rank (Eckart and Young 1936). The weighted
variant minimises the error of the layer's outputs on the task's inputs X instead: with X^T X = L L^T, the error
||(W - W') X^T|| is ||(W - W') L||, so W L is truncated (Yuan et al. 2023, ASVD; Wang et al. 2024, SVD-LLM).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.compression import singular_values
from pipeline.compression.argument_checks import PARTS, EncoderShape, check_choice, check_share
from pipeline.compression.compressed_model import CompressedModel, validate_for_model
from pipeline.core.errors import UserError, suggest

if TYPE_CHECKING:
    from torch import nn

    from pipeline.compression.calibration import Calibration
    from pipeline.compression.singular_values import Spectrum

RANKS = {"fraction": "of the full rank", "energy": "of the squared singular values", "budget": "of the parameters"}


def check(shape: EncoderShape | None, rank: object, parts: object, weighted: object, embeddings: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``; a rank that does not make a matrix smaller is one."""
    mistakes = check_choice("parts", parts, PARTS)
    if not isinstance(weighted, bool):
        mistakes.append(f"weighted: got {weighted!r}; write true or false")
    mistakes += _check_rank("rank", rank, ("fraction", "energy", "budget"))
    if embeddings is not None:
        mistakes += _check_rank("embeddings", embeddings, ("fraction", "energy"))
    if mistakes or shape is None:
        return mistakes
    assert isinstance(rank, Mapping)
    attention, feed_forward = (shape.hidden, shape.hidden), (shape.hidden, shape.intermediate)
    sizes = {"all": [attention, feed_forward], "attention": [attention], "feed_forward": [feed_forward]}
    mistakes += [mistake for size in sizes[str(parts)] for mistake in _check_fraction("rank", rank, *size)][:1]
    if isinstance(embeddings, Mapping):
        mistakes += _check_fraction("embeddings", embeddings, shape.vocabulary, shape.hidden)
    return mistakes


def _check_rank(name: str, rank: object, ways: tuple[str, ...]) -> list[str]:
    forms = " or ".join(f"{{{way}: share {RANKS[way]}}}" for way in ways)
    if not isinstance(rank, Mapping) or len(rank) != 1:
        return [f"{name}: got {rank!r}; write one of {forms}"]
    way, value = next(iter(rank.items()))
    if way not in ways:
        return [f"{name}: {way}: unknown; {suggest(str(way), ways)}"]
    return check_share(f"{name}: {way}", value, RANKS[way])


def _check_fraction(name: str, rank: Mapping[str, Any], rows: int, columns: int) -> list[str]:
    if "fraction" not in rank:
        return []
    result = singular_values.select_by_fraction(rank["fraction"], rows, columns)
    if singular_values.is_smaller(result, rows, columns):
        return []
    limit = (rows * columns - 1) // (rows + columns)
    return [
        f"{name}: fraction {rank['fraction']} is rank {result} of matrices of {rows} x {columns}, which saves nothing; "
        f"use rank {limit} at most, a fraction of {limit / min(rows, columns):.4g}"
    ]


def apply(
    model: Any,
    calibration: Calibration,
    rank: Mapping[str, float],
    parts: str,
    weighted: bool,
    embeddings: Mapping[str, float] | None,
) -> CompressedModel:
    """Replace Linears of the encoder's layers by two factors, and the word embeddings where ``embeddings`` is set.

    ``rank`` is {fraction: of the full rank}, {energy: share of the squared singular values that is kept} or {budget:
    share of the parameters of these Linears that is kept}, which is spread by the error that a rank saves per
    parameter. ``parts`` is attention, feed_forward or all. ``weighted`` minimises the error of the outputs over
    ``calibration``. Linears that are factors already, or that no rank makes smaller, stay as they are. Raises UserError
    for invalid arguments, int8 weights, and where no matrix would become smaller.
    """
    import torch

    from pipeline.compression import linear_factors
    from pipeline.models import bert_layers

    validate_for_model(model, check, rank=rank, parts=parts, weighted=weighted, embeddings=embeddings)
    modules = _find_parts(model, bert_layers.PARTS[parts])
    linears = {name: module for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    roots = linear_factors.compute_input_roots(model, calibration, linears.values()) if weighted else {}
    with torch.no_grad():
        spectra = [singular_values.decompose(linear.weight, roots.get(linear)) for linear in linears.values()]
        biases = sum(0 if linear.bias is None else linear.bias.numel() for linear in linears.values())
        ranks = _select_ranks(list(linears), spectra, rank, biases)
        text = [_describe(list(linears.values()), spectra, ranks, len(modules) - len(linears), weighted)]
        for linear, spectrum, size in zip(linears.values(), spectra, ranks, strict=True):
            if size is not None:
                linear_factors.replace(model, linear, linear_factors.create_factors(linear, spectrum, size))
        if embeddings is not None:
            text.append(_factorise_embeddings(model, embeddings))
    return CompressedModel(model, "; ".join(text))


def _find_parts(model: Any, names: tuple[str, ...]) -> dict[str, nn.Module]:
    """Return the parts of all layers by name; a part that layers share occurs once."""
    from pipeline.models import bert_layers

    parts: dict[nn.Module, str] = {}
    for layer in bert_layers.list_layers(model):
        for name in names:
            parts.setdefault(layer.get_part(name), f"{layer.name}.{name}")
    return {name: module for module, name in parts.items()}


def _select_ranks(
    names: list[str], spectra: list[Spectrum], rank: Mapping[str, float], biases: int
) -> list[int | None]:
    way, value = next(iter(rank.items()))
    sizes = [spectrum.size for spectrum in spectra]
    ranks: list[int | None]
    if way == "budget":
        total = sum(rows * columns for rows, columns in sizes) + biases
        ranks = singular_values.select_by_budget(spectra, int(value * total) - biases)
    elif way == "energy":
        wanted = [singular_values.select_by_energy(spectrum.values, value) for spectrum in spectra]
        ranks = [
            each if singular_values.is_smaller(each, *size) else None for each, size in zip(wanted, sizes, strict=True)
        ]
    else:
        ranks = [_select_fraction(name, value, *size) for name, size in zip(names, sizes, strict=True)]
    if all(each is None for each in ranks):
        if not ranks:
            raise UserError("parts: all of these Linears are factors already; name other parts, or leave this step out")
        raise UserError(f"rank: {way} {value} saves nothing in any of {len(ranks)} Linears; use a smaller {way}")
    return ranks


def _select_fraction(name: str, fraction: float, rows: int, columns: int) -> int:
    rank = singular_values.select_by_fraction(fraction, rows, columns)
    if not singular_values.is_smaller(rank, rows, columns):
        raise UserError(
            f"rank: fraction {fraction} is rank {rank} of {name}, {rows} x {columns}, which saves nothing; "
            "use a smaller fraction, or an energy, which leaves such matrices whole"
        )
    return rank


def _factorise_embeddings(model: Any, rank: Mapping[str, float]) -> str:
    """Factorise the word embeddings and return a description."""
    from torch import nn

    from pipeline.compression import linear_factors

    table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        return "the table of words is factors already and stays as it is"
    spectrum = singular_values.decompose(table.weight)
    way, value = next(iter(rank.items()))
    size = spectrum.size
    if way == "fraction":
        columns = singular_values.select_by_fraction(value, *size)
    else:
        columns = singular_values.select_by_energy(spectrum.values, value)
    if not singular_values.is_smaller(columns, *size):
        raise UserError(
            f"embeddings: {way} {value} is rank {columns} of a table of {size[0]} x {size[1]}, which saves nothing; "
            f"use a smaller {way}, or null"
        )
    linear_factors.replace(model, table, linear_factors.create_embedding_factors(table, spectrum, columns))
    return (
        f"the table of words as {columns} columns and a Linear, {table.weight.numel():,} -> {columns * sum(size):,} "
        f"parameters, relative error {singular_values.compute_error([spectrum], [columns]):.3f}"
    )


def _describe(
    linears: list[nn.Linear], spectra: list[Spectrum], ranks: list[int | None], factors: int, weighted: bool
) -> str:
    """Return what changes as text; ``factors`` is the number of parts that are factors already."""
    from pipeline.compression.magnitude import count_zeros
    from pipeline.models.sparse_masks import MIN_SPARSITY

    reduced = [rank for rank in ranks if rank is not None]
    before = sum(linear.weight.numel() for linear in linears)
    after = sum(
        linear.weight.numel() if rank is None else rank * sum(spectrum.size)
        for linear, spectrum, rank in zip(linears, spectra, ranks, strict=True)
    )
    span = f"{min(reduced)}" if min(reduced) == max(reduced) else f"{min(reduced)} to {max(reduced)}"
    norm = " in the norm of the task's inputs" if weighted else ""
    text = [
        f"{len(reduced)} of {len(linears)} Linears as two factors of rank {span}, {before:,} -> {after:,} weights, "
        f"relative error {singular_values.compute_error(spectra, ranks):.3f}{norm}"
    ]
    if whole := len(ranks) - len(reduced):
        text.append(f"{whole} stay whole, for there a rank that is good enough saves nothing")
    if factors:
        text.append(f"{factors} are factors already and stay as they are")
    zeros = count_zeros([linear.weight for linear, rank in zip(linears, ranks, strict=True) if rank is not None])
    if zeros >= MIN_SPARSITY * before:
        text.append(f"{zeros:,} weights that were exactly zero are so no longer")
    return "; ".join(text)
