import itertools
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.scaling import figures, panel
from pipeline.scaling.table import Row

SIZE = "parameters_non_embedding"
MAKERS = (figures.score_against_size, figures.score_against_data, figures.score_against_compute)


def assert_words_apart(figure: Figure, least: int) -> None:
    """Require ``least`` words and more, none of the level or upright ones on another."""
    FigureCanvasAgg(figure).draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    level = [text for text in texts if text.get_rotation() in (0, 90)]
    assert len(texts) > least
    for one, other in itertools.combinations(level, 2):
        # of the words alone: an annotation counts the line that leads to it
        boxes = [Text.get_window_extent(text).padded(-1) for text in (one, other)]
        assert not boxes[0].overlaps(boxes[1]), (one, other)


def crowded() -> list[Row]:
    """Return more models, ratios and families than fit without care, some of them of nearly the same size."""
    sizes = {"starter-1x64": 6e4, "starter-2x96": 2.5e5, "bert-tiny": 4e5, "starter-3x128": 6e5, "starter-4x160": 1.3e6,
             "minilm-l6": 1.06e7, "distilbert": 4.2e7, "bert-base": 8.5e7, "roberta-base": 8.6e7}  # fmt: skip
    models = [(name, size, "pretrained") for name, size in sizes.items()]
    models += [("starter-1x64-fresh", 6e4, "fresh"), ("starter-4x160-random", 1.3e6, "random")]
    rows = []
    for (rank, (name, size, family)), ratio in itertools.product(enumerate(models), (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)):
        score = 0.55 + 0.02 * rank + 0.05 * ratio**0.5
        rows.append(
            Row(
                f"mrpc-{name}-{ratio}", "mrpc", name, ratio, "standard", "evaluate@c", family, 3, "accuracy", score,
                score - 0.01, score + 0.01, score - 0.02, score + 0.02, 0.5, 0, round(5000 * ratio), 0, round(size),
                train_operations=2e6 * size * ratio,
            )
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("make", MAKERS)
def test_figures_are_the_same_bytes_each_time(make: object, counted: list[Row], tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        written.append([path.read_bytes() for path in figures.save(make(counted, SIZE), folder / "figure", 60)])
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0][1]
    ElementTree.fromstring(written[0][1])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("some", ["rows", "crowded"])
def test_no_two_words_of_a_figure_lie_on_each_other(make: object, some: str, counted: list[Row]) -> None:
    figure = make(counted if some == "rows" else crowded(), SIZE)
    assert_words_apart(figure, 20)


def test_size_has_a_line_for_each_ratio_and_family(rows: list[Row]) -> None:
    axes = figures.score_against_size(rows, SIZE).axes
    assert [panel.get_title(loc="left") for panel in axes] == ["mrpc", "starter-swap"]
    looks = [(line.get_linestyle(), len(line.get_xdata())) for line in axes[0].get_lines()[:-1]]
    assert looks == [("-", 4), ("--", 1)] * 3
    assert axes[0].get_xscale() == "log"


def test_data_has_a_line_for_each_model_and_a_hole_has_no_point(rows: list[Row]) -> None:
    axes = figures.score_against_data(rows, SIZE).axes[1]
    points = {len(line.get_xdata()) for line in axes.get_lines()[:-1] if line.get_linestyle() == "-"}
    fresh = [line for line in axes.get_lines()[:-1] if line.get_linestyle() == "--"]
    assert points == {3}
    assert [len(line.get_xdata()) for line in fresh] == [2]


def test_compute_has_a_point_where_the_operations_of_each_row_are_and_leaves_out_the_others(
    counted: list[Row],
) -> None:
    unknown = replace(counted[0], train_operations=None)
    axes = figures.score_against_compute([unknown, *counted[1:]], SIZE).axes[0]
    tiny = [row for row in counted[1:] if row.task == "mrpc" and row.model == "bert-tiny"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert ([row.train_operations for row in tiny], [100 * row.score for row in tiny]) in drawn
    assert axes.get_xlabel() == "operations of the training"
    low, high = axes.get_xlim()
    assert (low < axes.get_xticks()[0], axes.get_xticks()[-1] < high) == (True, True)


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((2e9, 3e13), [1e10, 1e11, 1e12, 1e13]),
        ((2e9, 3e11), [3e9, 1e10, 3e10, 1e11, 3e11]),
        ((0.9e9, 1.1e10), [1e9, 2e9, 5e9, 1e10]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(ends: tuple[float, float], ticks: list[float]) -> None:
    assert figures.round_numbers(*ends) == pytest.approx(ticks)


def test_points_and_intervals_stand_where_the_rows_say(rows: list[Row]) -> None:
    axes = figures.score_against_data(rows, SIZE).axes[0]
    tiny = [row for row in rows if row.task == "mrpc" and row.model == "bert-tiny"]
    drawn = [line.get_ydata() for line in axes.get_lines()]
    assert any(list(y) == pytest.approx([100 * row.score for row in tiny]) for y in drawn)
    bars = [[tuple(part[:, 1]) for part in bar.get_segments()] for bar in axes.collections]
    assert [(100 * row.ci95_low, 100 * row.ci95_high) for row in tiny] in bars
    assert list(axes.get_lines()[-1].get_ydata()) == pytest.approx([81.2, 81.2])


def test_bars_are_over_examples_where_a_cell_has_one_seed(rows: list[Row]) -> None:
    assert figures.interval(rows) == "seeds"
    alone = [replace(rows[0], ci95_low=None, ci95_high=None), *rows[1:]]
    assert figures.interval(alone) == "examples"
    bar = figures.score_against_data(alone, SIZE).axes[0].collections[0].get_segments()[0]
    assert tuple(bar[:, 1]) == pytest.approx((100 * rows[0].bootstrap_low, 100 * rows[0].bootstrap_high))


def test_a_variant_is_left_to_the_table(rows: list[Row]) -> None:
    variant = replace(rows[0], cell="equal-steps", score=0.1, section="variants")
    axes = figures.score_against_size([*rows, variant], SIZE).axes[0]
    assert min(min(line.get_ydata()) for line in axes.get_lines()) > 50


@pytest.mark.parametrize("make", MAKERS)
def test_a_plan_without_results_has_empty_figures(make: object, tmp_path: Path) -> None:
    png, svg = figures.save(make([], SIZE), tmp_path / "empty", 60)
    assert png.exists()
    assert svg.exists()


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.1))
def test_labels_are_pushed_apart_in_order_and_no_further_than_needed(wanted: list[float], gap: float) -> None:
    places = panel._apart(wanted, gap)
    for one, other in itertools.combinations(range(len(wanted)), 2):
        assert abs(places[one] - places[other]) > gap - 1e-9
        assert (places[one] - places[other]) * (wanted[one] - wanted[other]) >= 0
    assert sum(places) == pytest.approx(sum(wanted), abs=1e-9)  # least squares moves blocks about their mean
    if all(abs(one - other) > gap for one, other in itertools.combinations(wanted, 2)):
        assert places == pytest.approx(wanted)
