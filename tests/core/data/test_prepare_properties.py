"""Whatever the table: rows in are rows kept and rows rejected, ids come out exact, sides are whole
and stay put."""

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing.parametric import column, dataframes

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data import spool
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import InputError
from cfcli.core.inputs import checks, delimited, parquet, ratings
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TABLES = dataframes(
    [
        column("user", dtype=pl.String, strategy=TEXT, allow_null=True),
        column("item", dtype=pl.String, strategy=TEXT, allow_null=True),
        column("rating", dtype=pl.Float64, allow_null=True, unique=False),
        column("time", dtype=pl.Datetime("us"), allow_null=True),
        column("note", dtype=pl.String, strategy=TEXT, allow_null=True),
    ],
    min_size=1,
    max_size=25,
)
ALL = {"max_bad_rows": "100%"}


def as_csv(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_csv(stream, quote_style="non_numeric")
    return stream.getvalue()


def as_parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def good(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that can be kept."""
    rating = pl.col("rating")
    return frame.filter(
        pl.col("user").str.len_bytes() > 0,
        pl.col("item").str.len_bytes() > 0,
        rating.is_not_null() & rating.cast(pl.Float32).is_finite(),
    ).with_columns(rating.cast(pl.Float32))


@pytest.fixture(
    autouse=True, scope="module", params=["blocks of megabytes", "blocks of some bytes"]
)
def sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds whether a table comes in one block or a row is in two of them."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "blocks of some bytes":
            patch.setattr(delimited, "BLOCK", 64)
            patch.setattr(delimited, "PIECE", 40)
            patch.setattr(parquet, "BLOCK_ROWS", 3)
            patch.setattr(spool, "MEMORY", 100)
        yield


@settings(max_examples=80, deadline=None)
@given(TABLES, st.sampled_from([as_csv, as_parquet]))
def test_rows_in_are_rows_kept_and_rows_rejected_by_reason(frame, form) -> None:  # type: ignore[no-untyped-def]
    config = PrepareConfig(**ALL)
    expected = good(frame)
    data = form(frame)
    blank = 0
    if form is as_csv:  # a line of nothing but blanks is not a row
        cells = frame.select(pl.all().cast(pl.String).fill_null(""))
        blank = sum(not "".join(row).strip() for row in cells.iter_rows())
    try:
        found, intake = ratings.read([Source("t", lambda: io.BytesIO(data))], Form(config))
    except InputError as error:
        assert not expected.height
        assert "no ratings" in str(error)
        return
    assert (
        found.select("user_id", "item_id", "rating").rows()
        == expected.select("user", "item", "rating").rows()
    )
    assert intake.rows == expected.height
    assert intake.rows + intake.rejected.total() == frame.height - blank == intake.sources[0].rows
    assert set(intake.rejected) <= {reason for _, reason, _ in checks.PROBLEMS.values()}


def prepared(frame: pl.DataFrame, folder: str, name: str, **keys: object) -> Dataset | None:
    data = as_csv(frame)
    config = PrepareConfig(**(ALL | keys))  # type: ignore[arg-type]
    try:
        return preparation.prepare(
            [Source("t", lambda: io.BytesIO(data))], Path(folder) / name, config
        )[0]
    except InputError as error:
        assert "no ratings" in str(error) or "no training rows" in str(error)
        return None


def sides(dataset: Dataset) -> dict[tuple[str, str], tuple[str, float]]:
    """The side and the rating of each pair."""
    users, items = dataset.ids
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for name in ("train", "val", "test"):
        rows = dataset.split(name)
        for user, item, rating in zip(
            users.id(rows["user"]), items.id(rows["item"]), rows["rating"], strict=True
        ):
            assert (user, item) not in found
            found[user, item] = name, rating
    return found


@settings(max_examples=40, deadline=None)
@given(TABLES, st.sampled_from(["hash", "random", "time", "user-last"]))
def test_sides_are_disjoint_and_complete_and_ids_exact(frame, split) -> None:  # type: ignore[no-untyped-def]
    expected = good(frame)
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepared(frame, folder, "d", split=split, duplicates="first", val_size=0.3)
        if dataset is None:
            return
        first: dict[tuple[str, str], float] = {}
        for user, item, rating in expected.select("user", "item", "rating").iter_rows():
            first.setdefault((user, item), rating)
        assert {pair: rating for pair, (_, rating) in sides(dataset).items()} == first
        assert dataset.info.duplicates == expected.height - len(first)
        counts = Counter(user for user, _ in first)
        ids = dataset.users[dataset.info.columns.user]
        assert dict(zip(ids, dataset.users["n_ratings"], strict=True)) == counts


@settings(max_examples=40, deadline=None)
@given(TABLES, st.randoms(use_true_random=False), st.integers(1, 24))
def test_a_rating_stays_on_its_side_when_others_come_and_rows_move(frame, chance, n) -> None:  # type: ignore[no-untyped-def]
    frame = frame.unique(["user", "item"], maintain_order=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = prepared(frame, folder, "whole", val_size=0.4)
        if whole is None:
            return
        shuffled = prepared(
            frame[chance.sample(range(frame.height), frame.height)],
            folder,
            "shuffled",
            val_size=0.4,
        )
        assert shuffled is not None
        assert sides(shuffled) == sides(whole)
        if (fewer := prepared(frame.head(n), folder, "fewer", val_size=0.4)) is not None:
            assert sides(fewer).items() <= sides(whole).items()
