"""Separators, roles of columns, and whether lines are what they seem."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.records import BadQuote, find_records, is_blank, is_quoted, sniff
from cfcli.core.inputs.tables import Layout


def is_regular(data: bytes, separator: str, fields: int) -> bool:
    try:
        found = find_records(data, separator, is_quoted(separator))
    except BadQuote:
        return False
    return set(found.fields) <= {0, fields}


FIELD = st.text('ab,;\n\r" ', max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(FIELD, min_size=2, max_size=4), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
def test_written_tables_are_regular_if_their_rows_are_of_one_length(
    rows: list[list[str]], end: str
) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator=end).writerows(rows)
    data = stream.getvalue().encode()
    for fields in (2, 3, 4):
        assert is_regular(data, ",", fields) == all(len(row) == fields for row in rows)


@settings(max_examples=300, deadline=None)
@given(st.text('a,"\n', max_size=14))
def test_what_is_regular_reads_alike_by_csv(text: str) -> None:
    data = text.encode()
    if not data or not is_regular(data, ",", 2):
        return
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    assert all(len(row) == 2 for row in rows)


@pytest.mark.parametrize(
    "data",
    [
        b'a"b,1\n',
        b'"ab"c,1\n',
        b'"a" ,1\n',
        b'a,"b\n',
        b'"a"b",1\n',
        b' "a",1\n',
        b'x""y,1\n',
        b"a\n",
        b"a,b,c\n",
    ],
)
def test_irregular(data: bytes) -> None:
    assert not is_regular(b"a,b\n" + data, ",", 2)
    assert not is_regular(data + b"a,b\n", ",", 2)


@pytest.mark.parametrize(
    "data", [b"a,b", b"\n\r\na,b\r\n", b'"a,\n","""b"""\n', b'"",""\n', b'"a","b"', b",\n"]
)
def test_regular(data: bytes) -> None:
    assert is_regular(data, ",", 2)


def test_quotes_mean_nothing_between_tabs() -> None:
    assert is_regular(b"5'10\"\t1\n", "\t", 2)


def test_the_separator_that_gives_the_roles_wins() -> None:
    auto = PrepareConfig()
    layout = sniff("user;item;rating;a,b,c\n1;2;3;x,y,z\n", "f", auto)
    assert layout == Layout(";", ["user", "item", "rating", "a,b,c"], quoted=True)
    assert sniff('user,item,rating,title\n1,2,3,"a;b;c"\n', "f", auto).separator == ","
    broken = sniff('"us\ner",item,rating\n1,2,3\n', "f", auto)
    assert broken == Layout(",", ["us\ner", "item", "rating"], quoted=True)
    csv_only = PrepareConfig(format="csv")
    assert sniff("a,b,c;d;e\n", "f", csv_only).names == ["a", "b", "c;d;e"]
    with pytest.raises(InputError, match="say so with --format"):
        sniff("a,b,c;d;e\n", "f", auto)


def test_a_first_line_that_is_too_long_for_names_is_refused_as_that() -> None:
    line = "1,2,5," + "x" * 200_000
    with pytest.raises(InputError, match="f: the first line has 200,006 characters"):
        sniff(line, "f", PrepareConfig())


def test_records_are_found_with_their_lines() -> None:
    data = b'a,b\r\n\n"x\ny",2,3\n"q""",5'
    found = find_records(data, ",", True)
    assert [data[s:e] for s, e in zip(found.starts, found.ends, strict=True)] == [
        b"a,b\r", b"", b'"x\ny",2,3', b'"q""",5',
    ]  # fmt: skip
    assert found.fields.tolist() == [2, 0, 3, 2]
    assert found.lines.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("data", "place"), [(b'a,"b\n', 2), (b'"a","b\nc,"d"\n', 4), (b'a,b\nx"y",1\n', 5)]
)
def test_a_bad_quote_is_found_where_its_field_opens(data: bytes, place: int) -> None:
    with pytest.raises(BadQuote) as error:
        find_records(data, ",", True)
    assert error.value.place == place


@pytest.mark.parametrize(
    ("record", "blank"),
    [("", True), (' ,"", " "', True), (',,","', False), ('"",""""', False), (",7,", False)],
)
def test_a_record_is_blank_only_if_all_its_fields_are(record: str, blank: bool) -> None:
    assert is_blank(record, ",", quoted=True) == blank
