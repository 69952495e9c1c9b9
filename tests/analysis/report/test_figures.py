"""What the figures draw, read from their specifications; that each is one by Vega-Lite's schema, and the same bytes."""

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
import vl_convert
from altair.vegalite.v6.schema.core import load_schema
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from pipeline.analysis.laws import LawDataset, Observation, fit_laws
from pipeline.analysis.recommendation.pareto import compute_fronts as compute_fronts
from pipeline.analysis.report import build_report
from pipeline.analysis.report.figures import (
    axes,
    figure,
    law_figure,
    pairwise_figure,
    panel,
    pareto_figure,
    score_figures,
    theme,
    variance_figure,
)
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.analysis.statistics import pairwise_tests as compared
from pipeline.analysis.statistics import variance as shared
from pipeline.analysis.statistics.bootstrap import CellPredictions, sample_scores
from pipeline.analysis.statistics.variance import TrialOutcome
from tests.analysis import findings, places

SIZE = "parameters_non_embedding"
MAKERS = (score_figures.create_size_figure, score_figures.create_data_figure, score_figures.create_compute_figure)
LAST = "cost-against-shape"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def every(counted: list[CellRow], measured: list[CellCost]) -> list[Figure]:
    return [*build_report.create_figures(findings.material(findings.made_cheaper(counted), measured), SIZE)]


def marks(drawn: Figure, place: int, kind: str) -> list[dict[str, Any]]:
    """Return the data of a panel's layers of one mark, after their filters of family."""
    layers = [layer for layer in drawn.spec["concat"][place]["layer"] if layer["mark"]["type"] == kind]
    return [{**layer, "values": drawn.spec["datasets"][layer["data"]["name"]]} for layer in layers]


def lines(drawn: Figure, place: int) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line of a panel, by the line's name."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point in marks(drawn, place, "line")[0]["values"]:
        found.setdefault(point["line"], []).append((point["x"], point["y"]))
    return found


def words(svg: str) -> list[tuple[str, float, float, float]]:
    """Return the level words of an SVG: text, and where it begins and ends in x, and its foot in y."""
    found = []

    def walk(node: ElementTree.Element, x: float, y: float) -> None:
        shift = re.match(r"translate\(([-\d.e]+),([-\d.e]+)\)", node.get("transform", ""))
        if shift:
            x, y = x + float(shift[1]), y + float(shift[2])
        if node.tag == f"{SVG}text" and node.text and "rotate" not in node.get("transform", ""):
            wide = 5.3 * len(node.text)  # Liberation Sans of 11 pixels; a little less than it has on average
            start = x - {"end": wide, "middle": wide / 2}.get(node.get("text-anchor", ""), 0)
            found.append((node.text, start, start + wide, y))
        for child in node:
            walk(child, x, y)

    walk(ElementTree.fromstring(svg), 0, 0)
    return found


def crowded() -> list[CellRow]:
    """Return more models, ratios and families than fit without care, some of them of nearly the same size."""
    sizes = {"starter-1x64": 6e4, "starter-2x96": 2.5e5, "bert-tiny": 4e5, "starter-3x128": 6e5, "starter-4x160": 1.3e6,
             "minilm-l6": 1.06e7, "distilbert": 4.2e7, "bert-base": 8.5e7, "roberta-base": 8.6e7}  # fmt: skip
    models = [(name, size, "pretrained") for name, size in sizes.items()]
    models += [("starter-1x64-fresh", 6e4, "fresh"), ("starter-4x160-random", 1.3e6, "random")]
    rows = []
    for (rank, (name, size, family)), ratio in itertools.product(enumerate(models), (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)):
        score = 0.55 + 0.02 * rank + 0.05 * ratio**0.5
        rows.append(
            CellRow(
                f"mrpc-{name}-{ratio}", "mrpc", name, ratio, "standard", "evaluate@c", family=family, seeds=3,
                score_name="accuracy", score=score, low=score - 0.01, high=score + 0.01, majority_score=0.5,
                train_examples=round(5000 * ratio), parameters=round(size), parameters_non_embedding=round(size),
                train_flops=2e6 * size * ratio,
            )
        )  # fmt: skip
    return rows


def test_every_figure_is_valid_by_the_schema_of_vega_lite(every: list[Figure]) -> None:
    assert [drawn.name for drawn in every] == [
        "fronts-mrpc", "fronts-starter-swap", "score-against-size", "score-against-data", "score-against-compute",
        "laws-of-size", "laws-of-data", "laws-of-compute", "laws-of-size-and-data", "differences", "variance",
        "cost-against-shape",
    ]  # fmt: skip
    schema = Draft7Validator({**load_schema(), "$ref": "#/definitions/TopLevelConcatSpec"})
    for drawn in every:
        first = {**drawn.spec, "concat": drawn.spec["concat"][:1], "datasets": {}}
        assert schema.is_valid(first), drawn.name
        assert not schema.is_valid({**first, "resolve": {"scale": {"colour": "shared"}}})


def test_every_figure_says_what_is_seen_and_holds_its_numbers(every: list[Figure]) -> None:
    for drawn in every:
        assert drawn.caption != drawn.alt
        assert len(drawn.alt) > 80
        assert all(len(row) == len(drawn.numbers.headings) for row in drawn.numbers.format_rows())
        assert drawn.numbers.rows


def test_figures_are_the_same_bytes_each_time(counted: list[CellRow], measured: list[CellCost], tmp_path: Path) -> None:
    written = []
    material = findings.material(counted[:15], measured[:1])
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        some = [*build_report.create_figures(material, SIZE)]
        assert [one.name for one in some[1::3]] == ["score-against-size", "laws-of-size", "laws-of-size-and-data", LAST]
        written.append([path.read_bytes() for drawn in some[1::3] for path in figure.save_figure(drawn, folder, 40)])
    assert written[0] == written[1]
    ElementTree.fromstring(written[0][0])


def test_a_specification_names_no_colour_so_that_both_schemes_draw_it(every: list[Figure]) -> None:
    for drawn in every:
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b", json.dumps(drawn.spec)) == []


def test_size_has_a_line_for_each_ratio_and_family(rows: list[CellRow]) -> None:
    drawn = score_figures.create_size_figure(rows, SIZE)
    assert [one["title"] for one in drawn.spec["concat"]] == ["mrpc", "starter-swap"]
    assert sorted(len(points) for points in lines(drawn, 0).values()) == [1, 1, 1, 4, 4, 4]
    assert drawn.spec["concat"][0]["layer"][1]["encoding"]["x"]["scale"]["type"] == "log"


def test_data_has_a_line_for_each_model_and_a_hole_has_no_point(rows: list[CellRow]) -> None:
    points = lines(score_figures.create_data_figure(rows, SIZE), 1)
    assert {len(line) for name, line in points.items() if name.startswith("pretrained")} == {3}
    assert [len(line) for name, line in points.items() if name.startswith("fresh")] == [2]


def test_compute_has_a_point_where_the_flops_of_each_row_are_and_leaves_out_the_others(
    counted: list[CellRow],
) -> None:
    unknown = replace(counted[0], train_flops=None)
    drawn = score_figures.create_figures([unknown, *counted[1:]], SIZE)[2]
    tiny = [row for row in counted[1:] if row.task == "mrpc" and row.model == "bert-tiny"]
    assert [(row.train_flops, 100 * row.score) for row in tiny] in lines(drawn, 0).values()
    assert drawn.spec["concat"][0]["layer"][1]["encoding"]["x"]["title"] == "FLOPs of the training"


def test_points_intervals_and_baseline_stand_where_the_rows_say(rows: list[CellRow]) -> None:
    drawn = score_figures.create_data_figure(rows, SIZE)
    baseline, bars, *_ = marks(drawn, 0, "rule")
    tiny = [row for row in rows if row.task == "mrpc" and row.model == "bert-tiny"]
    found = [point for point in bars["values"] if point["model"] == "bert-tiny"]
    assert [(point["y"], point["low"], point["high"]) for point in found] == [
        (100 * row.score, 100 * row.low, 100 * row.high) for row in tiny
    ]
    assert (bars["encoding"]["y"]["field"], bars["encoding"]["y2"]["field"]) == ("low", "high")
    assert baseline["values"] == [{"y": pytest.approx(81.2)}]
    assert baseline["mark"]["style"] == "baseline"


def test_a_cell_without_an_interval_has_no_bar(rows: list[CellRow]) -> None:
    single = [replace(row, low=None, high=None) for row in rows]
    (shown, *_) = score_figures.create_figures(single, SIZE)
    places = marks(shown, 0, "line")[0]["values"]
    assert {(place["low"], place["high"], place["interval"]) for place in places} == {(None, None, "")}


def test_a_front_without_probabilities_has_hollow_marks_and_no_bars_of_scores() -> None:
    scored = replace(places.drawn({"a": 0.7, "b": 0.8}), expected_scores=None, intervals=None)
    (found,) = compute_fronts(scored, [places.priced({"a": 1e6, "b": 2e6})])
    known = [
        CellRow(cell, "t", "bert-tiny", 1.0, "standard", f"evaluate@{cell}", score_name="accuracy", score=score)
        for cell, score in (("a", 0.7), ("b", 0.8))
    ]
    (shown,) = pareto_figure.create_figures([found], known)
    points = marks(shown, 0, "point")[0]["values"]
    assert [(point["y"], point["probability"], point["sure"], point["low"]) for point in points] == [
        (70.0, 0.0, "", None), (80.0, 0.0, "", None),
    ]  # fmt: skip


def test_families_are_told_apart_by_shape_filling_and_dash(counted: list[CellRow]) -> None:
    layers = score_figures.create_data_figure(counted, SIZE).spec["concat"][0]["layer"]
    filled, hollow = (layer for layer in layers if layer["encoding"].get("shape"))
    assert (filled["mark"]["filled"], hollow["mark"]["fill"]) == (True, {"expr": "page"})
    assert filled["encoding"]["shape"]["scale"] == {"domain": ["pretrained", "fresh"], "range": ["circle", "diamond"]}
    dashes = [layer["encoding"]["strokeDash"]["condition"] for layer in layers if "strokeDash" in layer["encoding"]]
    assert [condition["test"] for condition in dashes[0]] == ["datum.family == 'fresh'", "datum.family == 'random'"]


def test_a_variant_is_left_to_the_table(rows: list[CellRow]) -> None:
    variant = replace(rows[0], cell="equal-steps", score=0.1, section="variants")
    heights = [
        y for line in lines(score_figures.create_size_figure([*rows, variant], SIZE), 0).values() for _, y in line
    ]
    assert min(heights) > 50


def test_a_plan_without_results_has_no_figures() -> None:
    assert [*build_report.create_figures(build_report.ReportContent([]), SIZE)] == []


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("some", ["rows", "crowded"])
def test_no_two_words_of_a_figure_lie_on_each_other(make: Any, some: str, counted: list[CellRow]) -> None:
    drawn = make(counted if some == "rows" else crowded(), SIZE)
    found = words(vl_convert.vegalite_to_svg(drawn.spec, config=theme.create_config(theme.LIGHT)))
    assert len(found) > 15
    for (one, start, end, foot), (other, begin, stop, level) in itertools.combinations(found, 2):
        assert end <= begin or start >= stop or abs(foot - level) >= 10, (one, other)


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((2e9, 3e13), [1e10, 1e11, 1e12, 1e13]),
        ((2e9, 3e11), [3e9, 1e10, 3e10, 1e11, 3e11]),
        ((0.9e9, 1.1e10), [1e9, 2e9, 5e9, 1e10]),
        ((0.8, 9), [1, 1.5, 2, 3, 5, 7]),
        ((0.61, 0.79), [0.62, 0.64, 0.66, 0.68, 0.7, 0.72, 0.74, 0.76, 0.78]),
        ((5, 5.25), [5.0, 5.05, 5.1, 5.15, 5.2, 5.25]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(ends: tuple[float, float], ticks: list[float]) -> None:
    assert axes.compute_round_ticks(*ends) == ticks


@given(st.booleans(), st.floats(0.01, 1e6), st.floats(1.01, 1e6), st.floats(0, 1))
def test_a_place_on_an_axis_is_found_again(log: bool, low: float, times: float, share: float) -> None:
    axis = Axis("", low, low * times, log)
    assert axis.get_share(axis.get_value(share)) == pytest.approx(share, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.08))
def test_labels_are_pushed_apart_in_order_within_the_panel(wanted: list[float], gap: float) -> None:
    places = axes.resolve_overlaps(wanted, gap)
    assert -1e-9 <= min(places) <= max(places) <= 1 + 1e-9
    for one, other in itertools.combinations(range(len(wanted)), 2):
        assert abs(places[one] - places[other]) > gap - 1e-9
        assert (places[one] - places[other]) * (wanted[one] - wanted[other]) >= 0
    if all(abs(one - other) > gap for one, other in itertools.combinations(wanted, 2)):
        top = 1 - gap * (len(wanted) - 1)
        ranked = sorted(wanted)
        if all(gap * rank <= place <= top + gap * rank for rank, place in enumerate(ranked)):
            assert places == pytest.approx(wanted)


def test_names_lose_their_task_where_they_stay_different() -> None:
    assert panel.format_short_names(["mrpc-a", "b"], "mrpc") == {"mrpc-a": "a", "b": "b"}
    assert panel.format_short_names(["mrpc-a", "a"], "mrpc") == {"mrpc-a": "mrpc-a", "a": "a"}


@pytest.mark.parametrize("scheme", [theme.LIGHT, theme.DARK])
def test_lines_of_every_shade_are_seen_against_the_page(scheme: theme.Scheme) -> None:
    """WCAG 2.1, 1.4.11: 3 to 1 for parts of graphics, here for what vl-convert draws of seven shades."""
    points = [{"x": index, "shade": str(index)} for index in range(7)]
    chart = (
        alt.Chart(panel.create_data(points))
        .mark_rule()
        .encode(panel.create_shade_color("", [str(n) for n in range(7)]), x="x:Q")
    )
    spec = figure.merge_panels([figure.merge_layers([chart], "", width=50, height=50)], [])
    drawn = vl_convert.vegalite_to_svg(spec, config=theme.create_config(scheme))
    shades = {tuple(map(int, found)) for found in re.findall(r'stroke="rgb\((\d+), ?(\d+), ?(\d+)\)"', drawn)}
    shades |= {bytes.fromhex(found) for found in re.findall(r'<line[^>]*stroke="#([0-9a-f]{6})"', drawn)}
    page = bytes.fromhex(scheme.page[1:])
    assert len([shade for shade in shades if contrast(tuple(shade), tuple(page)) >= 3]) >= 7


def test_the_caption_of_the_variance_tells_how_loud_the_noise_is_and_where_most() -> None:
    values = {
        ("tiny", 0.1): (0.50, 0.60),
        ("tiny", 1.0): (0.60, 0.62),
        ("mini", 0.1): (0.7, 0.7),
        ("mini", 1.0): (0.8, 0.8),
    }
    found = shared.compute_analyses(
        [TrialOutcome("t", *place, "f1", score) for place, of in values.items() for score in of]
    )
    (drawn,) = variance_figure.create_figures(found)
    noise = 100 * ((0.005 + 0.0002) / 4) ** 0.5
    assert drawn.caption.endswith(f"in hundredths, t, F1: {noise:.1f}, at most 7.1 (t, tiny, ratio 0.1).")


def test_names_and_shifts_of_a_hundred_models_and_fifty_ratios_stay_in_their_panels() -> None:
    first = crowded()[0]
    many = [
        replace(
            first, cell=f"c-{model}-{ratio}", model=f"m{model}", ratio=ratio / 50, score=0.5 + model / 300,
            train_examples=100 * ratio, train_flops=1e9 * ratio, parameters_non_embedding=round(1e4 * 1.1**model),
        )
        for model in range(101) for ratio in range(1, 51, 7)
    ]  # fmt: skip
    for drawn, most in (
        (score_figures.create_size_figure(many, SIZE), 17),
        (score_figures.create_data_figure(many, SIZE), 21),
    ):
        scale = drawn.spec["concat"][0]["layer"][1]["encoding"]["x"]["scale"]
        low, high = scale["domain"]
        assert all(0.8 * low < x < 1.2 * high for points in lines(drawn, 0).values() for x, _ in points)
        texts = [layer["values"] for layer in marks(drawn, 0, "text")]
        assert all(1 < len(of_layer) <= most for of_layer in texts)
        assert all(low <= text["place"] <= high for text in texts[-1] if "name" in text)


def test_of_many_cells_the_best_are_compared_in_the_figure_and_the_rest_is_told_to_be_in_the_file() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    cells = [
        CellPredictions(
            f"t-{cell:02}", "t", np.where(random.random((2, 300)) < 0.5 + cell / 200, labels, 1 - labels), labels, "f1"
        )
        for cell in range(60)
    ]
    drawn_cells = sample_scores(cells, 200)
    error = np.full(60 * 59 // 2, 0.02)
    found = compared.compute_pairwise_tests(drawn_cells, (error, np.full(len(error), 30.0)))
    (drawn,) = pairwise_figure.create_figures([found])
    squares = marks(drawn, 0, "rect")[0]["values"]
    assert len(squares) == 40 * 39
    assert len(drawn.numbers.rows) == 40 * 39 / 2
    left = sorted(zip(found.scores, found.names, strict=True))[20:]
    assert {f"t-{square['row']}" for square in squares} == {name for _, name in left}
    assert drawn.caption.endswith(" t: the best 40 of 60 cells are shown; differences.csv contains every pair.")
    assert re.search(r": (t-\d\d, ){9}t-\d\d and \d+ more\.$", drawn.alt)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_law_that_no_logarithmic_axis_can_show_has_no_panel(value: float) -> None:
    question = LawDataset("mrpc", "error", (SIZE,), "most data")
    perfect = [Observation(f"c{place}", (10.0**place,), (value,) * 3) for place in range(3)]
    shown = [*perfect, Observation("c3", (1e3,), (0.1, 0.2, 0.3))]
    assert law_figure.create_figures([fit_laws(question, perfect)], SIZE) == []
    (drawn,) = law_figure.create_figures([fit_laws(question, perfect), fit_laws(question, shown)], SIZE)
    assert [panel["title"]["subtitle"] for panel in drawn.spec["concat"]] == ["no law: refused, see below"]
    assert [row["cell"] for row in drawn.numbers.rows] == ["c3"]


def test_values_that_differ_by_rounding_alone_have_an_axis_around_them() -> None:
    found = axes.create_linear_axis("score", [81.1, 81.1 + 1e-13])
    assert (found.low, found.high) == (pytest.approx(80.1), pytest.approx(82.1))


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the contrast of two colours (WCAG 2.1)."""

    def luminance(color: tuple[int, ...]) -> float:
        parts = [part / 255 for part in color]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
