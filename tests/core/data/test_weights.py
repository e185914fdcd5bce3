"""How much training rows count: by a column, by their age, by both."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import prepare
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.sources import Source

DAY = 86_400.0
# The third time is missing: it counts as the oldest, two half-lives of 100 days back.
TIMED = (
    "user,item,rating,time,w\n"
    "1,1,5,1700000000,3\n"
    "1,2,4,1691360000,1\n"
    "2,1,3,,2\n"
    "2,2,1,1682720000,0.5\n"
)


def prepared(text: str, out: Path, **keys: Any) -> Dataset:
    source = Source("r.csv", lambda: io.BytesIO(text.encode()))
    config = PrepareConfig(**{"val_size": 0.0, "test_size": 0.0, **keys})
    return prepare.prepare([source], out, config)[0]


@pytest.mark.parametrize(
    ("column", "days", "plain"),
    [
        ("w", None, [3, 1, 2, 0.5]),
        (None, 100, [1, 0.5, 0.25, 0.25]),
        ("w", 100, [3, 0.5, 0.5, 0.125]),
    ],
)
def test_weights_average_1_and_multiply_with_the_half_life(
    column: str | None, days: int | None, plain: list[float], tmp_path: Path
) -> None:
    data = prepared(TIMED, tmp_path / "data", weight_col=column)
    half_life = None if days is None else days * DAY
    rows = data.training_rows(["train"], half_life)
    assert rows.columns == ["user", "item", "rating", "weight"]
    expected = np.array(plain) / np.mean(plain)
    np.testing.assert_allclose(rows["weight"], expected, rtol=1e-6)
    blocks = pl.concat(data.training_blocks(half_life))
    assert blocks.equals(rows)


def test_rows_of_several_sides_average_1_together(tmp_path: Path) -> None:
    data = prepared(TIMED, tmp_path / "data", weight_col="w", val_size=0.5, split="random")
    assert (data.info.train, data.info.val) == (2, 2)
    rows = data.training_rows(["train", "val"])
    of = dict(zip(rows["rating"], rows["weight"], strict=True))
    assert of == pytest.approx({5: 12 / 6.5, 4: 4 / 6.5, 3: 8 / 6.5, 1: 2 / 6.5})
    assert data.training_rows(["train"])["weight"].mean() == pytest.approx(1)


def test_without_weights_rows_have_none(tmp_path: Path) -> None:
    data = prepared(TIMED, tmp_path / "data")
    assert data.training_rows(["train"]).columns == ["user", "item", "rating"]
    assert pl.concat(data.training_blocks()).columns == ["user", "item", "rating"]
    assert data.info.columns.weight is None


def test_ratings_far_older_than_the_half_life_still_count_a_little(tmp_path: Path) -> None:
    weight = prepared(TIMED, tmp_path / "data").training_rows(["train"], 1.0)["weight"]
    assert weight.to_list() == pytest.approx([4, 1e-6, 1e-6, 1e-6])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TIMED.replace("time", "t"), "half_life: the ratings have no times; .* --time-col"),
        ("user,item,rating,time\n1,1,2,\n", "half_life: none of .* a readable time; .*time-format"),
    ],
)
def test_a_half_life_needs_times(text: str, said: str, tmp_path: Path) -> None:
    data = prepared(text, tmp_path / "data")
    with pytest.raises(ConfigError, match=said):
        data.training_rows(["train"], DAY)
    with pytest.raises(ConfigError, match=said):
        data.training_blocks(DAY)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "not a weight"), ("-2", "not a weight"), ("inf", "not a weight"),
        ("1e-60", "not a weight"), ("much", "not a weight"), ("", "missing weight"),
        ("nan", "missing weight"),
    ],
)  # fmt: skip
def test_a_weight_that_is_none_makes_a_bad_row(value: str, reason: str, tmp_path: Path) -> None:
    text = f"{TIMED}3,1,2,1700000000,{value}\n"
    with pytest.raises(InputError, match=r"r\.csv:6: column 'w': '.*' is not a"):
        prepared(text, tmp_path / "data", weight_col="w")
    data = prepared(text, tmp_path / "data", weight_col="w", max_bad_rows="1")
    assert data.info.rejected == {reason: 1}
    assert data.info.ratings == 4


def test_weights_may_have_a_decimal_comma(tmp_path: Path) -> None:
    text = "user;item;rating;w\n1;1;3,5;0,5\n1;2;2,0;1,5\n"
    data = prepared(text, tmp_path / "data", weight_col="w", decimal_comma=True)
    assert data.split("train", weights=True)["weight"].to_list() == [0.5, 1.5]


def test_a_column_of_weights_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--weight-col: .*'v'"):
        prepared(TIMED, tmp_path / "data", weight_col="v")


@pytest.mark.parametrize(
    ("policy", "rating", "weight"), [("first", 5, 3), ("last", 2, 1), ("mean", 4.25, 1)]
)
def test_the_kept_row_of_a_pair_keeps_its_weight(
    policy: str, rating: float, weight: float, tmp_path: Path
) -> None:
    text = "user,item,rating,w\n1,1,5,3\n1,1,2,1\n2,2,3,8\n"
    rows = prepared(text, tmp_path / "data", weight_col="w", duplicates=policy).split(
        "train", weights=True
    )
    assert rows.rows() == [(0, 0, rating, weight), (1, 1, 3, 8)]
