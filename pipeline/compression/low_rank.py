"""Low rank: W ~= U_r S_r V_r^T as two Linears, y = ((x V_r) S_r) U_r^T + b, and a narrow table of embeddings.

The truncated singular value decomposition is the nearest matrix of its rank (Eckart and Young 1936). Weighted by the
activations, it is the nearest in what the layer puts out on the task's own inputs X: with X^T X = L L^T the error
||(W - W') X^T|| is ||(W - W') L||, so W L is what is truncated (Yuan et al. 2023, ASVD; Wang et al. 2024, SVD-LLM).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.compression import method_checks
from pipeline.compression.calibration import Calibration, Compressed, agreed
from pipeline.compression.singular_values import Spectrum, by_budget, by_energy, decompose, error
from pipeline.core.errors import UserError
from pipeline.models import bert_layers
from pipeline.models.low_rank_layers import Factorised, FactorisedEmbedding
from pipeline.models.sparse_masks import SPARSE

RIDGE = 1e-6  # of the mean square of the inputs: directions that the examples never take still have an inverse


def svd(
    model: Any,
    calibration: Calibration,
    rank: Mapping[str, float],
    parts: str,
    weighted: bool,
    embeddings: Mapping[str, float] | None,
) -> Compressed:
    """Replace Linears of the encoder's layers by two narrower ones, and the table of words where ``embeddings`` is set.

    ``rank`` is {fraction: of the full rank}, {energy: share of the squared singular values kept} or {budget: share of
    the parameters of these Linears kept, spread over them by the error that a rank saves for each parameter};
    ``parts`` is attention, feed_forward or all; ``weighted`` truncates in the norm of the inputs over ``calibration``.
    Linears that are factors already, or that no rank would make smaller, stay whole. Raises UserError for arguments
    that are not allowed, int8 weights, and where nothing at all would be smaller.
    """
    agreed(model, method_checks.svd, rank=rank, parts=parts, weighted=weighted, embeddings=embeddings)
    places = _places(model, parts)
    chosen = {name: part for name, part in places.items() if isinstance(part, nn.Linear)}
    roots = _roots(model, calibration, chosen.values()) if weighted else {}
    with torch.no_grad():
        spectra = [decompose(linear.weight, roots.get(linear)) for linear in chosen.values()]
        ranks = _ranks(list(chosen), spectra, rank, sum(_bias(linear) for linear in chosen.values()))
        said = [_told(list(chosen.values()), spectra, ranks, len(places) - len(chosen), weighted)]
        for name, spectrum, kept in zip(chosen, spectra, ranks, strict=True):
            if kept is not None:
                _replace(model, chosen[name], factorised(chosen[name], spectrum, kept))
        if embeddings is not None:
            said.append(_embeddings(model, embeddings))
    return Compressed(model, "; ".join(said))


def factorised(linear: nn.Linear, spectrum: Spectrum, rank: int) -> Factorised:
    """Return ``linear`` as two factors of ``rank``, between which the singular values are split by their roots."""
    module = Factorised(linear.in_features, linear.out_features, rank, linear.bias is not None)
    module = module.to(linear.weight.device, linear.weight.dtype).train(linear.training)
    reading, writing = spectrum.factors(rank)
    bert_layers.reading(module).weight.copy_(reading)
    bert_layers.writing(module).weight.copy_(writing)
    if linear.bias is not None:
        bert_layers.writing(module).bias.copy_(linear.bias)
    return module


def _places(model: Any, parts: str) -> dict[str, nn.Module]:
    """Return the parts of all layers by name, those that layers share once."""
    found: dict[nn.Module, str] = {}
    for layer in bert_layers.layers(model):
        for part in bert_layers.PARTS[parts]:
            found.setdefault(layer.part(part), f"{layer.name}.{part}")
    return {name: module for module, name in found.items()}


def _ranks(names: list[str], spectra: list[Spectrum], rank: Mapping[str, float], biases: int) -> list[int | None]:
    way, value = next(iter(rank.items()))
    sizes = [spectrum.size for spectrum in spectra]
    if way == "budget":
        total = sum(rows * columns for rows, columns in sizes) + biases
        ranks = by_budget(spectra, int(value * total) - biases)
    elif way == "energy":
        wanted = [by_energy(spectrum.values, value) for spectrum in spectra]
        ranks = [one if method_checks.saves(one, *size) else None for one, size in zip(wanted, sizes, strict=True)]
    else:
        ranks = [_fraction(name, value, *size) for name, size in zip(names, sizes, strict=True)]
    if all(one is None for one in ranks):
        if not ranks:
            raise UserError("parts: all of these Linears are factors already; name other parts, or leave this step out")
        raise UserError(f"rank: {way} {value} saves nothing in any of {len(ranks)} Linears; use a smaller {way}")
    return ranks


def _fraction(name: str, fraction: float, rows: int, columns: int) -> int:
    rank = method_checks.full_rank(fraction, rows, columns)
    if not method_checks.saves(rank, rows, columns):
        raise UserError(
            f"rank: fraction {fraction} is rank {rank} of {name}, {rows} x {columns}, which saves nothing; "
            "use a smaller fraction, or an energy, which leaves such matrices whole"
        )
    return rank


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` stands: what was shared stays shared."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)


def _roots(model: Any, calibration: Calibration, linears: Iterable[nn.Linear]) -> dict[nn.Linear, Tensor]:
    """Return for each Linear the Cholesky factor of X^T X of its inputs over ``calibration``, padding left out."""
    device = next(model.parameters()).device
    real: list[Tensor | None] = [None]
    sums: dict[nn.Linear, Tensor] = {}

    def add(linear: nn.Linear, inputs: tuple[Tensor]) -> None:
        rows = (inputs[0].flatten(0, 1) if real[0] is None else inputs[0][real[0]]).double()
        sums[linear] = sums.get(linear, 0) + rows.T @ rows

    hooks = [linear.register_forward_pre_hook(add) for linear in linears]
    training = model.training
    model.eval()
    with torch.no_grad():
        for batch in calibration.batches(device):
            mask = batch.inputs.get("attention_mask")
            real[0] = None if mask is None else mask.bool()
            model(**batch.inputs)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return {linear: _root(total) for linear, total in sums.items()}


def _root(total: Tensor) -> Tensor:
    ridge = RIDGE * total.diagonal().mean().clamp(min=torch.finfo(total.dtype).tiny)
    root: Tensor = torch.linalg.cholesky(total + ridge * torch.eye(len(total), dtype=total.dtype, device=total.device))
    return root


def _embeddings(model: Any, rank: Mapping[str, float]) -> str:
    """Factorise the table of words and say so."""
    table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        return "the table of words is factors already and stays as it is"
    spectrum = decompose(table.weight)
    way, value = next(iter(rank.items()))
    size = spectrum.size
    kept = method_checks.full_rank(value, *size) if way == "fraction" else by_energy(spectrum.values, value)
    if not method_checks.saves(kept, *size):
        raise UserError(
            f"embeddings: {way} {value} is rank {kept} of a table of {size[0]} x {size[1]}, which saves nothing; "
            f"use a smaller {way}, or null"
        )
    module = FactorisedEmbedding(*size, kept, table.padding_idx).to(table.weight.device, table.weight.dtype)
    basis, columns = spectrum.factors(kept)
    for part, values in zip(module, (columns, basis.T), strict=True):
        next(part.parameters()).copy_(values)
    _replace(model, table, module.train(table.training))
    return (
        f"the table of words as {kept} columns and a Linear, {table.weight.numel():,} -> {kept * sum(size):,} "
        f"parameters, relative error {error([spectrum], [kept]):.3f}"
    )


def _told(
    linears: list[nn.Linear], spectra: list[Spectrum], ranks: list[int | None], already: int, weighted: bool
) -> str:
    cut = [rank for rank in ranks if rank is not None]
    before = sum(linear.weight.numel() for linear in linears)
    after = sum(
        linear.weight.numel() if rank is None else rank * sum(spectrum.size)
        for linear, spectrum, rank in zip(linears, spectra, ranks, strict=True)
    )
    span = f"{min(cut)}" if min(cut) == max(cut) else f"{min(cut)} to {max(cut)}"
    norm = " in the norm of the task's inputs" if weighted else ""
    said = [
        f"{len(cut)} of {len(linears)} Linears as two factors of rank {span}, {before:,} -> {after:,} weights, "
        f"relative error {error(spectra, ranks):.3f}{norm}"
    ]
    if whole := len(ranks) - len(cut):
        said.append(f"{whole} stay whole, for there a rank that is good enough saves nothing")
    if already:
        said.append(f"{already} are factors already and stay as they are")
    zeros = sum(_zeros(linear.weight) for linear, rank in zip(linears, ranks, strict=True) if rank is not None)
    if zeros >= SPARSE * before:
        said.append(f"{zeros:,} weights that were exactly zero are so no longer")
    return "; ".join(said)


def _bias(linear: nn.Linear) -> int:
    return 0 if linear.bias is None else linear.bias.numel()


def _zeros(weight: Tensor) -> int:
    return weight.numel() - int(torch.count_nonzero(weight))
