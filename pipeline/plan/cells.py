"""The plan as typed objects: its axes, its named entries, and the cells that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import product

from pipeline.core import paths
from pipeline.core.records import PlannedCell
from pipeline.plan import split_grid
from pipeline.plan.budget import MARGIN, Budget
from pipeline.plan.schema import Benchmark, Compress, Distill, Variant

TIMED = ("processes", "threads", "precision", "batch")  # of a cell of the benchmark


@dataclass(frozen=True)
class Cell:
    """A stage at one point of the grid: its DVC address, its name in files, and its coordinates.

    ``source`` is the ``<stage>/<cell>`` that it starts from or learns from, ``method`` the file of conf/ that says how,
    ``section`` the part of the plan that names it, empty for the grid. ``timed`` are the values of ``TIMED``.
    """

    stage: str
    name: str
    address: str
    needs: tuple[str, ...]
    task: str | None = None
    model: str | None = None
    ratio: float | None = None
    recipe: str | None = None
    section: str = ""
    source: str | None = None
    method: str | None = None
    timed: tuple[object, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What runs: the axes of the grid, the variants, the students and the compressions; what is timed.

    ``budget`` holds the limits by which a cell is recommended; cells whose scores differ by less than ``margin`` points
    are equally good. ``parts`` are the axes by which the grid is split.
    """

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    ratios: tuple[float, ...]
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    benchmark: Benchmark
    variants: dict[str, Variant] = field(default_factory=dict)
    distill: dict[str, Distill] = field(default_factory=dict)
    compress: dict[str, Compress] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    margin: float = MARGIN
    parts: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """Return every cell, each behind those it needs."""
        return [*self._prepare(), *self._pretrain(), *self.trained(), *self.evaluated(), *self.benchmarked()]

    def trained(self) -> list[Cell]:
        """Return the cells that hold a classifier: the grid, the variants, then what is made of them, in order."""
        grid = [
            (
                f"{task}-{model}-{ratio}-{recipe}",
                "",
                Variant.model_construct(task=task, model=model, ratio=ratio, recipe=recipe),
            )
            for task, model, ratio, recipe in product(self.tasks, self.models, self.ratios, self.recipes)
        ]
        variants = [(name, "variants", variant) for name, variant in self.variants.items()]
        found = {f"finetune/{name}": self._finetune(name, section, at) for name, section, at in grid + variants}
        for source in TopologicalSorter(self.sources()).static_order():
            stage, _, name = source.partition("/")
            if stage == "distill":
                found[source] = _distill(name, self.distill[name], found[self.distill[name].teacher])
            elif stage == "compress":
                found[source] = _compress(name, self.compress[name], found[self.compress[name].source])
        return list(found.values())

    def evaluated(self) -> list[Cell]:
        """Return the evaluation of each cell that holds a classifier, in the same order."""
        return [self._evaluate(cell) for cell in self.trained()]

    def benchmarked(self) -> list[Cell]:
        """Return the points of the benchmark."""
        of, found = self.benchmark, []
        for model, *timed in product(of.models, of.processes, of.threads, of.precisions, of.batches):
            name = "-".join(map(str, (model, *timed)))
            needs = (f"prepare@{of.task}", f"pretrain@{model}")
            address = f"benchmark@{name}"
            found.append(Cell("benchmark", name, address, needs, of.task, model, timed=tuple(timed)))
        return found

    def describe_cells(self) -> dict[str, PlannedCell]:
        """Return what the record of each cell must have, and what must have records, by ``<stage>/<cell>``."""
        cells = {f"{cell.stage}/{cell.name}": cell for cell in self.cells}
        coordinates = {name: _coordinates(cell) for name, cell in cells.items() if cell.stage != "evaluate"}
        for cell in self.evaluated():
            coordinates[f"{cell.stage}/{cell.name}"] = {**coordinates[str(cell.source)], "source": cell.source}
        seeds, once = frozenset(self.seeds), frozenset([0])
        return {
            name: PlannedCell(coordinates[name], once if cell.ratio is None else seeds, _inputs(cell))
            for name, cell in cells.items()
        }

    def sources(self) -> dict[str, list[str]]:
        """Return what each entry of ``distill`` and ``compress`` is made of, ``<stage>/<cell>`` to the same."""
        students = {f"distill/{name}": [entry.teacher] for name, entry in self.distill.items()}
        return students | {f"compress/{name}": [entry.source] for name, entry in self.compress.items()}

    def _prepare(self) -> Iterator[Cell]:
        for task in self.tasks:
            yield Cell("prepare", task, f"prepare@{task}", (), task=task)

    def _pretrain(self) -> Iterator[Cell]:
        for model in self.models:
            yield Cell("pretrain", model, f"pretrain@{model}", (), model=model)

    def _finetune(self, name: str, section: str, at: Variant) -> Cell:
        address = self._address("finetune", name, section, at)
        needs = (f"prepare@{at.task}", f"pretrain@{at.model}")
        return Cell("finetune", name, address, needs, at.task, at.model, at.ratio, at.recipe, section)

    def _evaluate(self, of: Cell) -> Cell:
        address, needs = self._address("evaluate", of.name, of.section, of), (f"prepare@{of.task}", of.address)
        made_by = f"{of.stage}/{of.name}"
        return Cell("evaluate", of.name, address, needs, of.task, of.model, of.ratio, of.recipe, of.section, made_by)

    def _address(self, stage: str, name: str, section: str, at: Variant | Cell) -> str:
        """Return DVC's name of a cell: its file, the block that makes it from a section of the plan, and its own."""
        if section:
            return f"{stage}-{section}@{name}"
        part = f"{split_grid.get_part_folder(self.parts, vars(at))}/{paths.PIPELINE}:" if self.parts else ""
        return f"{part}{stage}@{name}"


def _coordinates(cell: Cell) -> dict[str, object]:
    """Return the coordinates of a cell that is no evaluation, under the keys of its record."""
    at = {"task": cell.task, "model": cell.model, "ratio": cell.ratio, "recipe": cell.recipe}
    found: dict[str, object] = {key: value for key, value in at.items() if value is not None}
    if cell.stage == "distill":
        found |= {"teacher": cell.source, "distillation": cell.method}
    elif cell.stage == "compress":
        found |= {"source": cell.source, "compression": cell.method}
    return found | (dict(zip(TIMED, cell.timed, strict=True)) if cell.timed else {})


def _inputs(cell: Cell) -> tuple[str, ...]:
    """Return the cells that made the data and the pre-trained model of a cell."""
    if cell.stage in ("prepare", "pretrain"):
        return ()
    return (f"prepare/{cell.task}", f"pretrain/{cell.model}")


def _distill(name: str, entry: Distill, teacher: Cell) -> Cell:
    needs = (f"prepare@{entry.task}", f"pretrain@{entry.student}", teacher.address)
    return Cell(
        "distill", name, f"distill@{name}", needs, entry.task, entry.student, entry.ratio, entry.recipe,
        "distill", entry.teacher, entry.distillation,
    )  # fmt: skip


def _compress(name: str, entry: Compress, source: Cell) -> Cell:
    return Cell(
        "compress", name, f"compress@{name}", (source.address,), source.task, source.model, source.ratio,
        source.recipe, "compress", entry.source, entry.compression,
    )  # fmt: skip
