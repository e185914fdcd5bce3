"""Ids that only look like known ones: what the difference is."""

import polars as pl
import pytest

from cfcli.core.data.ids import IdMap
from cfcli.core.data.unknown import Lookalike, UnknownIds, example_of, find_lookalike

COMPOSED, TAKEN_APART = "Am\u00e9lie", "Ame\u0301lie"


@pytest.mark.parametrize(
    ("unknown", "known", "reason"),
    [
        ("1.0", "1", "written as a decimal"),
        (" 101", "101", "blanks around it"),
        ("101\u00a0", "101", "blanks around it"),
        ('"1"', "1", "quotes around it"),
        ("'1'", "1", "quotes around it"),
        ("007", "7", "leading zeros"),
        (COMPOSED, TAKEN_APART, "another form of Unicode"),
        ("\uff11\uff12", "12", "another form of Unicode"),
        ("tt0111161", "TT0111161", "another letter case"),
        ('" 07.0 "', "7", "written in another way"),
    ],
)
def test_the_reason_is_found_in_both_directions(unknown: str, known: str, reason: str) -> None:
    for here, there in ((unknown, known), (known, unknown)):
        found = find_lookalike(pl.Series([here]), IdMap(pl.Series(["other", there])))
        assert found == Lookalike(here, there, reason)


@pytest.mark.parametrize("unknown", ["nobody", "", '""', "10", "1.5", "-1"])
def test_other_ids_have_no_such_reason(unknown: str) -> None:
    known = IdMap(pl.Series(["1", "", "100"]).filter(pl.Series([True, unknown != "", True])))
    assert find_lookalike(pl.Series([unknown]), known) is None
    assert example_of(pl.Series([unknown]), known) == f"'{unknown}'"


def test_the_reason_is_that_of_most_ids() -> None:
    known = IdMap(pl.Series(["1", "2", "3", "4"]))
    found = find_lookalike(pl.Series(["nobody", " 1", "2.0", "3.0", None]), known)
    assert found == Lookalike("2.0", "2", "written as a decimal")


def test_rows_are_counted_over_blocks() -> None:
    counted = UnknownIds("user", IdMap(pl.Series(["1", "2"])))
    assert counted.notes() == []
    for ids in (["1", "x"], ["2", "2"], ["2.0", "y"]):
        counted.count(pl.Series(ids), counted.known.index(pl.Series(ids)))
    assert counted.notes() == [
        "3 of 6 rows: user not in the run, such as '2.0' (the run has '2': written as a decimal?)"
    ]
    assert not counted.are_all
