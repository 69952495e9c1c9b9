"""A label value means the same class in every file format."""

from decimal import Decimal

import pytest

from pipeline.tasks import labels


@pytest.mark.parametrize("names", [("1", "0"), ("1", "2", "3", "4", "5"), ("-1", "1"), ("0.5", "1.0", "1.5")])
def test_where_all_class_names_are_numerals_a_value_is_a_name_however_it_is_written(names: tuple[str, ...]) -> None:
    read = labels.make_class_reader(names)
    for index, name in enumerate(names):
        number = float(name)
        values = (name, f" {name}", number, Decimal(name), *((int(number), f"{number}") if number.is_integer() else ()))
        assert [read(value) for value in values] == [index] * len(values)


def test_where_all_class_names_are_numerals_no_value_is_an_index() -> None:
    read = labels.make_class_reader(["1", "2", "3"])
    assert [read(value) for value in (0, "0", 0.0, "0.0")] == [None] * 4


@pytest.mark.parametrize("value", [1, "1", 1.0, "1.0", "good", Decimal(1)])
def test_where_class_names_are_words_a_whole_number_is_an_index(value: object) -> None:
    assert labels.make_class_reader(["bad", "good"])(value) == 1


def test_a_value_that_is_a_class_name_is_no_index() -> None:
    read = labels.make_class_reader(["1", "2", "unknown"])
    assert [read(value) for value in (1, "1", 1.0, 2, "unknown", 0)] == [0, 0, 0, 1, 2, 0]


NO_LABELS = [2, -1, 0.5, "0.5", "Good", "", "１", float("nan"), float("inf"), "1_0", "0x1", 10**400, "1e999999999",
             "9" * 5000, None, b"1"]  # fmt: skip


@pytest.mark.parametrize("value", NO_LABELS)
def test_a_value_that_is_neither_name_nor_index_is_no_label(value: object) -> None:
    assert labels.make_class_reader(["bad", "good"])(value) is None


@pytest.mark.parametrize("value", [True, "true", "True", "TRUE"])
def test_a_boolean_is_the_class_that_spells_it_and_never_an_index(value: object) -> None:
    assert labels.make_class_reader(["true", "False"])(value) == 0
    assert labels.make_class_reader(["bad", "good"])(value) is None
    assert labels.make_class_reader(["0", "1"])(value) is None
    assert labels.make_class_reader(["tRue", "True"])(True) is None


def test_the_number_of_a_regression_is_within_its_range() -> None:
    read = labels.make_number_reader(0.0, 5.0)
    assert [read(value) for value in ("3.25", 5, 0.0, "5.000")] == [3.25, 5.0, 0.0, 5.0]
    assert [read(value) for value in (5.01, -0.1, float("nan"), True, "1_0", "x")] == [None] * 6


def test_the_rule_is_stated_with_the_classes() -> None:
    assert labels.describe_rule(["1", "0"], None) == (
        "all class names are numbers, so a value is a class name, never an index: 1, 0"
    )
    assert labels.describe_rule(["bad", "good"], None) == (
        "a value is a class name; a whole number that is no class name is an index: 0 = bad, 1 = good"
    )
    assert labels.describe_rule(None, (0.0, 5.0)) == "a value is a number from 0 to 5"


def test_class_names_that_are_the_same_number_and_names_that_are_indexes_of_others_are_found() -> None:
    assert labels.find_equal_numerals(["1", "a", "01"]) == ("1", "01")
    assert labels.find_equal_numerals(["1", "a", "10"]) is None
    assert labels.find_doubtful_numeral(["1", "2", "unknown"]) == ("1", "2")
    assert labels.find_doubtful_numeral(["0", "1", "unknown"]) is None
    assert labels.find_doubtful_numeral(["2", "1", "0"]) is None
