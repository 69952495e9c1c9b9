"""A value that YAML 1.1 and YAML 1.2 read differently is refused, with the text to write."""

from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.plan.yaml_versions import find_misread


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return list(find_misread(file, ("labels",)))


@pytest.mark.parametrize("path", sorted([paths.PARAMS, *paths.CONF.rglob("*.yaml")]), ids=lambda path: path.stem)
def test_every_file_that_ships_reads_the_same_in_both_versions(path: Path) -> None:
    assert find_misread(path, ("labels",)) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: [no, 'yes']",
         'labels[0]: got no, which Hydra reads as false and DVC as "no"; put it in quotes: "no"'),
        ("a:\n  b: Yes", 'a.b: got Yes, which Hydra reads as true and DVC as "Yes"; put it in quotes: "Yes"'),
        ("columns: {on: x}", 'columns.on (the key): got on, which Hydra reads as true and DVC as "on"; put it in '
         'quotes: "on"'),
        ("a: 010", 'a: got 010, which Hydra reads as 8 and DVC as 10; write the number you mean, or put it in quotes: '
         '"010"'),
        ("a: 0o17", 'a: got 0o17, which Hydra reads as "0o17" and DVC as 15; write the number you mean, or put it in '
         'quotes: "0o17"'),
        ("a: 12:30", 'a: got 12:30, which Hydra reads as 750 and DVC as "12:30"; write the number you mean, or put it '
         'in quotes: "12:30"'),
        ("a: 2001-01-01", 'a: got 2001-01-01, which Hydra reads as "2001-01-01" and DVC as the date 2001-01-01; put it '
         'in quotes: "2001-01-01"'),
        ("labels: [a, null]", 'labels[1]: got null, which is no text; put it in quotes: "null"'),
        ("labels: [a, ~]", 'labels[1]: got ~, which is read as null and is no text; put it in quotes: "~"'),
        ("labels: [true, a]", 'labels[0]: got true, which is no text; put it in quotes: "true"'),
        ("labels: [1.5, a]", 'labels[0]: got 1.5, which is no text; put it in quotes: "1.5"'),
        ("labels: [1e3, a]", 'labels[0]: got 1e3, which is read as 1000.0 and is no text; put it in quotes: "1e3"'),
        ("labels: [01, a]", 'labels[0]: got 01, which is read as 1 and is no text; put it in quotes: "01"'),
        ("a: =", "line 1: Hydra cannot read it: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:value'"),
    ],
)  # fmt: skip
def test_a_value_that_two_readers_read_differently_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert mistakes(tmp_path, text) == [message]


@pytest.mark.parametrize(
    "text",
    ["labels: [1, 0]", "labels: ['no', \"null\", '01']", "a: null", "a: 1_000", "a: [1e5, .5, 5e-01, 0x1F]", "y: n",
     "a: ${b.c}", "a: &x {k: 1}\nb: {<<: *x, l: 2}\nc: *x"]
)  # fmt: skip
def test_a_value_that_both_readers_read_alike_is_taken(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text) == []


def test_all_values_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "labels: [no, yes, off]\na: [on, {b: 1:30}]\n".replace("1:30", "no"))) == 5
