"""Ids are exact, and their hashes are for ever."""

from random import Random

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.data.ids import IdMap, are_integers, hash_ids, hash_pairs

IDS = st.lists(st.text(min_size=1), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(IDS)
def test_the_map_is_a_bijection_and_exact(ids: list[str]) -> None:
    column = pl.Series(ids, dtype=pl.String)
    index_map = IdMap.of(column)
    index = index_map.index(column)
    assert index_map.id(index).to_list() == ids
    assert sorted(set(index)) == list(range(len(set(ids)))) == list(range(len(index_map)))
    assert index.dtype == pl.UInt32


def test_ids_that_look_alike_stay_apart() -> None:
    ids = [
        "7",
        "007",
        "7.0",
        "7 ",
        "9007199254740993",
        "9007199254740992",
        "é",
        "e\u0301",
        "😀",
        "a\nb",
        "-0",
        "0",
    ]
    assert len(IdMap.of(pl.Series(ids))) == len(ids)


def test_integers_go_by_value_and_others_by_code_point() -> None:
    assert IdMap.of(pl.Series(["10", "9", "-1", "9"])).ids.to_list() == ["-1", "9", "10"]
    assert IdMap.of(pl.Series(["10", "9", "x"])).ids.to_list() == ["10", "9", "x"]
    assert IdMap.of(pl.Series(["10", "09"])).ids.to_list() == ["09", "10"]


def test_unknown_ids_have_no_index() -> None:
    assert IdMap(pl.Series(["a", "b"])).index(pl.Series(["b", "c", "a"])).to_list() == [1, None, 0]


@given(
    st.lists(st.integers(-40, 40) | st.integers(-(10**17), 10**17), max_size=8, unique=True),
    st.booleans(),
    st.sampled_from([pl.Int8, pl.UInt64, pl.Int64, pl.Int32]),
    st.randoms(),
)
def test_integers_are_found_as_their_texts_are(
    known: list[int], mixed: bool, kind: type[pl.DataType], random: Random
) -> None:
    texts = [str(number) for number in known] + ["x"] * mixed
    asked = [*known, *range(-3, 3), 2**64 - 1, -(2**63), None]
    random.shuffle(asked)
    ids = pl.Series(asked, dtype=pl.Int128).cast(kind, strict=False)
    index_map = IdMap(pl.Series(texts, dtype=pl.String))
    assert index_map.index(ids).to_list() == index_map.index(ids.cast(pl.String)).to_list()


def test_what_counts_as_an_integer() -> None:
    assert are_integers(pl.Series(["0", "-5", "999999999999999999"]))
    for text in ("007", "1.0", "+1", "-0", "", "1e3", " 1", "9999999999999999999"):
        assert not are_integers(pl.Series([text])), text


def test_hashes_never_change() -> None:
    assert hash_ids(["1", "é"]).tolist() == EXPECTED_IDS
    place = hash_pairs(hash_ids(["1", "2"]), hash_ids(["10", "10"]), seed=42)
    assert place.tolist() == EXPECTED_PAIRS


def test_places_are_spread_evenly() -> None:
    users, items = hash_ids(map(str, range(300))), hash_ids(map(str, range(200)))
    place = hash_pairs(np.repeat(users, 200), np.tile(items, 300), seed=1)
    counts = np.histogram(place, bins=20, range=(0, 1))[0]
    assert counts.sum() == 60_000
    assert abs(counts - 3000).max() < 5 * np.sqrt(3000)
    assert not np.array_equal(place, hash_pairs(np.repeat(users, 200), np.tile(items, 300), seed=2))


EXPECTED_IDS = [8518482412311870710, 3394012004367669963]
EXPECTED_PAIRS = [0.1654307677684227, 0.3172600686941274]
