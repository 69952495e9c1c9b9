import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import vl_convert

from pipeline.analysis.laws import step_growth
from pipeline.analysis.report.figures import step_figure, theme
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.tables import step_growth_table
from pipeline.analysis.results.costs import AXES, CellCost, GrowthPoint
from tests.analysis import made
from tests.analysis.report.test_figures import words


def along(
    axis: str, law: float, values: tuple[float, ...] = (1, 2, 4, 8), seconds: float = 3e-3
) -> tuple[GrowthPoint, ...]:
    return tuple(GrowthPoint(axis, value, seconds * value**law, flops=1e6 * value**2) for value in values)


@pytest.mark.parametrize("law", [0.5, 1.0, 1.97])
def test_the_exponent_of_a_power_law_is_found(law: float) -> None:
    values = [16, 32, 64, 256]
    assert step_growth.fit_exponent(values, [0.07 * value**law for value in values]) == pytest.approx((law, law, law))


def test_the_interval_of_an_exponent_is_the_one_of_a_straight_line_on_logarithms() -> None:
    values, costs = [1, 2, 4, 8, 16], [1.1, 1.9, 4.4, 7.2, 17.0]
    x, y = np.log(values), np.log(costs)
    away = x - x.mean()
    slope = (away @ y) / (away @ away)
    left = y - y.mean() - slope * away
    half = 3.182446305284263 * math.sqrt(left @ left / 3 / (away @ away))  # Student's t for three degrees of freedom
    assert step_growth.fit_exponent(values, costs) == pytest.approx((slope, slope - half, slope + half))


def test_the_interval_holds_the_true_exponent_as_often_as_it_says() -> None:
    """1,000 noisy laws: 95%, give or take three standard errors of the share."""
    random = np.random.default_rng(2)
    values = np.array([1.0, 2.0, 4.0, 8.0])
    laws = (step_growth.fit_exponent(values, 3 * values**0.8 * random.lognormal(0, 0.3, 4)) for _ in range(1000))
    assert np.mean([low <= 0.8 <= high for _, low, high in laws]) == pytest.approx(0.95, abs=0.021)


def test_a_line_of_the_table_tells_measured_counted_and_limit() -> None:
    cost = CellCost("c", "benchmark@c", "bert-tiny", growth=along("width", 1.5))
    (table,) = step_growth_table.create_tables([cost])
    assert table.headings == (
        "model", "axis", "from", "to", "exponent of seconds", "95%", "exponent of FLOPs", "in the limit",
    )  # fmt: skip
    assert table.format_rows() == [["bert-tiny", "width", "1", "8", "1.50", "[1.50, 1.50]", "2.00", "2"]]


def test_counted_exponents_lie_where_calculus_puts_them(measured: list[CellCost]) -> None:
    (table,) = step_growth_table.create_tables(measured)
    counted = {(row[0], row[1]): row[6] for row in table.format_rows()}
    assert (counted["bert-tiny", "depth"], counted["bert-tiny", "batch"]) == ("1.00", "1.00")
    # the local slope of 24 t h^2 + 4 t^2 h in t is 1 + t / (t + 6 h), in h it is 1 + 6 h / (t + 6 h)
    slopes = [1 + length / (length + 6 * 128) for length in made.LADDERS["length"]]
    assert slopes[0] < float(counted["bert-tiny", "length"]) < slopes[-1]
    slopes = [1 + 6 * hidden / (32 + 6 * hidden) for hidden in made.LADDERS["width"]]
    assert slopes[0] < float(counted["bert-tiny", "width"]) < slopes[-1] < step_growth.LIMIT_EXPONENTS["width"]
    assert [row[1] for row in table.format_rows()] == [axis for axis in AXES for _ in range(2)]
    assert {row[7] for row in table.format_rows() if row[1] in ("depth", "batch")} == {"1"}
    assert {row[7] for row in table.format_rows() if row[1] in ("width", "length")} == {"2"}


def test_cells_of_one_model_are_told_apart_by_their_names() -> None:
    cells = [CellCost(name, "", "bert-tiny", growth=along("batch", 1)) for name in ("bert-tiny-a", "bert-tiny-b")]
    assert [curve.label for curve in step_growth.build_curves(cells, "batch")] == ["bert-tiny-a", "bert-tiny-b"]
    assert [curve.label for curve in step_growth.build_curves(cells[:1], "batch")] == ["bert-tiny"]


def test_two_points_and_uncounted_ones_make_no_exponent() -> None:
    two = CellCost("c", "", "bert-tiny", growth=along("depth", 1, (1, 2)))
    assert step_growth_table.create_tables([two]) == []
    points = along("depth", 1)
    uncounted = replace(two, growth=(replace(points[0], flops=None), *points[1:]))
    (table,) = step_growth_table.create_tables([uncounted])
    assert table.format_rows()[0][4:] == ["1.00", "[1.00, 1.00]", "", "1"]


def layers(figure: Figure, place: int, kind: str) -> list[list[dict[str, Any]]]:
    """Return the data of a panel's layers of one mark."""
    found = [layer for layer in figure.spec["concat"][place]["layer"] if layer["mark"]["type"] == kind]
    return [figure.spec["datasets"][layer["data"]["name"]] for layer in found]


def test_a_panel_shows_costs_relative_to_the_smallest_place_and_the_slope_of_the_limit(
    measured: list[CellCost],
) -> None:
    (figure,) = step_figure.create_figures(measured[:1])
    assert [panel["title"] for panel in figure.spec["concat"]] == list(AXES)
    points = [point for point in measured[0].growth if point.axis == "width"]
    drawn = layers(figure, 1, "line")[0]
    taken, counted = (
        [at for at in drawn if at["family"] == kind] for kind in (step_figure.MEASURED, step_figure.COUNTED)
    )
    assert [at["y"] for at in taken] == pytest.approx([point.seconds / points[0].seconds for point in points])
    assert [at["y"] for at in counted] == pytest.approx([point.flops / points[0].flops for point in points])
    assert (taken[0]["low"], taken[0]["high"]) == pytest.approx((0.96, 1.05))
    (limit,) = layers(figure, 1, "rule")[0]
    assert (limit["x"], limit["y"], limit["to"], limit["top"]) == pytest.approx((64, 1, 512, (512 / 64) ** 2))
    curve, steepest = (end["text"] for end in layers(figure, 1, "text")[0])
    assert curve[0] == "bert-tiny"
    assert curve[1].endswith(", counted 1.97")
    assert steepest == ["in the limit 2"]


def test_axes_along_which_nothing_grew_have_no_panel() -> None:
    (figure,) = step_figure.create_figures([CellCost("c", "", "bert-tiny", growth=along("length", 2))])
    assert [panel["title"] for panel in figure.spec["concat"]] == ["length"]
    assert step_figure.create_figures([CellCost("c", "", "bert-tiny")]) == []


def test_no_two_words_lie_on_each_other() -> None:
    models = ((2, 64), (2, 96), (3, 96), (4, 128), (6, 384))
    crowded = []
    for rank, (layers, hidden) in enumerate(models):
        points = made.growth(layers, hidden, 1e10 * (1 + rank), 0.004)
        widths = [
            GrowthPoint("width", hidden * times, 0.01 * times, flops=1e6 * times**2) for times in (0.25, 0.5, 1, 2, 4)
        ]
        others = tuple(GrowthPoint(**point) for point in points if point["axis"] != "width")
        name = f"paraphrase-{layers}x{hidden}"
        crowded.append(CellCost(name, "", name, parameters_non_embedding=hidden, growth=(*others, *widths)))
    (figure,) = step_figure.create_figures(crowded)
    found = words(vl_convert.vegalite_to_svg(figure.spec, config=theme.create_config(theme.LIGHT)))
    assert len(found) >= 60
    for (one, start, end, foot), (other, begin, stop, level) in itertools.combinations(found, 2):
        assert end <= begin or start >= stop or abs(foot - level) >= 10, (one, other)


def test_ticks_of_close_values_are_thinned() -> None:
    values = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    kept = step_figure.select_ticks(values)
    assert kept[0] == 16
    assert set(kept) < set(values)
    assert all(math.log(b / a) >= step_figure.MIN_TICK_GAP * math.log(512 / 16) for a, b in itertools.pairwise(kept))
