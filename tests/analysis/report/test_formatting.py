import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.report import formatting

UNITS = {letter: unit for unit, letter in formatting.AMOUNT_UNITS}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.00123, "0.00123"), (0.1, "0.10"), (1.234, "1.23"), (9.99, "9.99"), (9.999, "10.0"),
        (99.96, "100"), (1234.5, "1,234"), (1e300, "1e+300"), (-2e9, "-2e+09"), (None, ""),
    ],
)  # fmt: skip
def test_a_number_has_three_digits(value: float | None, text: str) -> None:
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12.0"),
        (999.4, "999"),
        (999.6, "1.00 k"),
        (1.23e12, "1.23 T"),
        (4.56e16, "45.6 P"),
        (2e18, "2.00 E"),
        (2e42, "2e+42"),
    ],
)
def test_an_amount_bears_the_letter_of_its_power_of_a_thousand(value: float, text: str) -> None:
    assert formatting.format_amount(value) == text


@given(st.floats(1e3, 1e20))
def test_an_amount_read_back_is_the_number(value: float) -> None:
    number, letter = formatting.format_amount(value).split(" ")
    assert float(number.replace(",", "")) * UNITS[letter] == pytest.approx(value, 6e-3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"), (59.4, "59.4 s"), (59.6, "1 min"), (341, "5 min 41 s"), (3599.7, "1 h"),
        (10272, "2 h 51 min"), (86399, "1 d"), (100 * 86400 + 7200, "100 d 2 h"), (None, ""),
    ],
)  # fmt: skip
def test_a_time_is_told_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert formatting.format_duration(seconds) == text


@given(st.floats(0, 1e9))
def test_every_time_can_be_told(seconds: float) -> None:
    assert formatting.format_duration(seconds).split()[-1] in ("s", "min", "h", "d")


def test_shares_bytes_and_intervals_are_told_in_their_units() -> None:
    assert [formatting.format_percent(share) for share in (0.93, 0.0476, 0.0996, None)] == ["93%", "4.8%", "10%", ""]
    assert [formatting.format_percent(share) for share in (45.6, -0.02, 1e30)] == ["4560%", "-2.0%", "1e+32%"]
    assert [formatting.format_p_value(p) for p in (1.0, 0.0456, 2e-20, None)] == ["1", "0.046", "< 0.001", ""]
    assert [formatting.format_mib(size) for size in (3 * 2**20, None)] == ["3.00", ""]
    assert formatting.format_interval(365.2, 380.1) == "[365, 380]"
    assert formatting.format_interval(None, 380.1) == ""
    assert formatting.format_alternatives([5000, None, 1000, 5000]) == "1,000 or 5,000"


def test_a_metric_has_its_name_and_unit_and_before_any_result_none() -> None:
    assert [formatting.format_metric(name) for name in ("f1", "pearson", "other", None)] == [
        "F1 (%)", "Pearson correlation (x 100)", "other (x 100)", "score",
    ]  # fmt: skip
