"""CSV is read by RFC 4180; in TSV quotation marks enclose fields or are letters, by one rule."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.data import delimited

ENCLOSING = "quotation marks enclose fields and are no part of them, as in files of pandas"


def refusal(text: str) -> str:
    with pytest.raises(UserError) as error:
        delimited.parse_csv(text, "train.csv")
    return str(error.value)


def test_a_csv_field_holds_commas_line_breaks_and_doubled_quotation_marks() -> None:
    text = 'text,label\r\n"She said ""never, ever""",1\r\n"two\nlines",0\r\n  spaces ,\r\n\r\n"",2'
    columns = delimited.parse_csv(text, "train.csv")
    assert {name: list(values) for name, values in columns.items()} == {
        "text": ['She said "never, ever"', "two\nlines", "  spaces ", ""],
        "label": ["1", "0", "", "2"],
    }


CELL = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from((",", "\t")))
def test_what_a_csv_writer_writes_is_read_back(rows: list[tuple[str, str]], delimiter: str) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    text = written.getvalue()
    columns = (delimited.parse_csv if delimiter == "," else delimited.parse_tsv)(text, "x")
    read = columns.columns if isinstance(columns, delimited.ParsedTsv) else columns
    assert list(zip(read["a"], read["b"], strict=True)) == rows


def test_the_columns_of_csv_keep_their_names() -> None:
    assert list(delimited.parse_csv("Quality,score\n1,2\n", "train.csv")) == ["Quality", "score"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty; write a header and one row a line"),
        ("text,label\na,0\nHello, world,1\nb,1,2\n", "2 rows do not have the 2 fields of the header, the first is row "
         "2 (3); enclose a field that holds a comma in quotation marks"),
        ("text,label\nalone\n", "1 rows do not have the 2 fields of the header, the first is row 1 (1); enclose a "
         "field that holds a comma in quotation marks"),
        ('text,label\na,0\n"b,1\nc,0\n', "a quotation mark that opens a field is never closed (the row at line 3); "
         "enclose a field that holds quotation marks in quotation marks and double those inside"),
        ('text,label\n"a" b,0\n', "a quotation mark that opens a field is not closed at the end of the field (the row "
         "at line 2); enclose a field that holds quotation marks in quotation marks and double those inside"),
        ("text,text\na,b\n", "the header holds 'text' 2 times; keep one"),
    ],
)  # fmt: skip
def test_csv_that_could_be_misread_is_refused_with_its_row(text: str, reason: str) -> None:
    assert refusal(text) == f"train.csv: {reason}"


def test_a_tsv_file_of_pandas_is_read_without_its_quotation_marks() -> None:
    text = 'text\tlabel\n"He said ""hi"" and left"\t0\n"a\ttab"\t1\n"a line\nbreak"\t0\n"""whole"""\t1\nplain "x"\t0\n'
    parsed = delimited.parse_tsv(text, "train.tsv")
    assert list(parsed.columns["text"]) == ['He said "hi" and left', "a\ttab", "a line\nbreak", '"whole"', 'plain "x"']
    assert list(parsed.columns["label"]) == ["0", "1", "0", "1", "0"]
    assert (parsed.note, parsed.doubtful) == (ENCLOSING, False)


def test_a_tsv_header_in_quotation_marks_names_the_columns() -> None:
    parsed = delimited.parse_tsv('"text"\t"label"\n"a"\t"0"\n', "train.tsv")
    assert {name: list(values) for name, values in parsed.columns.items()} == {"text": ["a"], "label": ["0"]}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ('"Never closed\t0\nb\t1\n', "a quotation mark that opens a field is never closed (the row at line 2)"),
        ('"A" he said\t0\nb\t1\n',
         "a quotation mark that opens a field is not closed at the end of the field (the row at line 2)"),
        ('"whole"\t0\nb\t1\t2\n', "row 2 would have 3 fields, the header has 2"),
        ('"opens\t0\nb\t1\ncloses"\t1\n',
         "fields would hold line breaks although every line has the fields of the header"),
    ],
)  # fmt: skip
def test_quotation_marks_that_do_not_enclose_fields_are_letters_and_the_reason_is_given(rows: str, reason: str) -> None:
    parsed = delimited.parse_tsv("text\tlabel\n" + rows, "train.tsv")
    assert str(parsed.columns["text"][0]).startswith('"')
    assert (parsed.note, parsed.doubtful) == (f"quotation marks are read as letters, because {reason}", True)


@pytest.mark.parametrize("header", ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "index\tquestion\tsentence\tlabel"])
def test_in_files_of_glue_quotation_marks_are_letters(header: str) -> None:
    fields = ['"A"'] * (header.count("\t") + 1)
    parsed = delimited.parse_tsv(f"{header}\n" + "\t".join(fields) + "\n", "train.tsv")
    assert {value for values in parsed.columns.values() for value in values} == {'"A"'}
    assert (parsed.note, parsed.doubtful) == ("quotation marks are letters, as in GLUE's and MSR's own files", False)


def test_a_tsv_file_without_quotation_marks_needs_no_note() -> None:
    assert delimited.parse_tsv('text\tlabel\nsaid "x"\t0\n', "train.tsv").note == ""
