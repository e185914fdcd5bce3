"""Folds hold each row out once, and none learns from what it is judged by."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fake_run import text_source
from planted import checkerboard, write_csv

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.errors import ConfigError, InputError, MachineError
from cfcli.core.evaluation.folds import Folds, Spec, check_keys, open_folds
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair

TIMED = "user,item,rating,time\n" + "".join(
    f"{user},{item},{1 + (user + item) % 5},{1_600_000_000 + 100 * (7 * user % 6) + item}\n"
    for user in range(6)
    for item in range(6)
)


def rows(source: Source) -> pl.DataFrame:
    with source.open() as stream:
        return pl.read_parquet(stream.read())


def pairs(source: Source) -> set[tuple[str, str]]:
    return set(rows(source).select(pl.nth(0, 1)).rows())


def folds_of(text: str, ratings: str, **keys: Any) -> Folds:
    return open_folds(Spec.of(text), PrepareConfig(**keys), sources=[text_source(ratings)])


@pytest.mark.parametrize("text", ["0", "1", "-3", "time:1", "a", "time:", "a:b", "a:b,c", "a:b:c"])
def test_folds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--folds: "):
        Spec.of(text)


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_by_hash_hold_each_row_out_once(tmp_path: Path, seed: int) -> None:
    """Their sizes differ by chance alone, and a row stays in its fold when others come."""
    ratings = write_csv(tmp_path / "r.csv", checkerboard()).read_text()
    made = [folds_of("4", ratings, seed=seed).fold(k) for k in range(4)]
    tests = [pairs(fold.test) for fold in made]
    whole = set.union(*tests)
    assert sum(map(len, tests)) == len(whole) == ratings.count("\n") - 1
    for fold, test in zip(made, tests, strict=True):
        assert pairs(fold.train[0]) == whole - test
        assert 0.15 < len(test) / len(whole) < 0.35
    grown = folds_of("4", ratings + "new,100,5\nnew,99,1\n", seed=seed)
    for k, test in enumerate(tests):
        assert {pair for pair in pairs(grown.fold(k).test) if pair[0] != "new"} == test
    others = [pairs(folds_of("4", ratings, seed=seed + 2).fold(k).test) for k in range(4)]
    assert others != tests


def test_folds_by_time_learn_from_what_is_older() -> None:
    made = folds_of("time:3", TIMED)
    before = 0
    for k in range(3):
        fold = made.fold(k)
        train, test = rows(fold.train[0]), rows(fold.test)
        assert (train.height, test.height) == (9 * (k + 1), 9)
        assert train["time"].max() < test["time"].min()  # type: ignore[operator]
        assert fold.config.split == "time"
        before += test.height
    assert before == 27


def test_weights_stay_with_their_ratings(tmp_path: Path) -> None:
    weighed = "user,item,rating,w\n" + "".join(
        f"{user},{item},{user},{10 * user + item}\n" for user in range(1, 7) for item in range(1, 7)
    )
    fold = folds_of("2", weighed, weight_col="w", val_size=0).fold(0)
    made, _ = preparation.prepare(fold.train, tmp_path / "data", fold.config, test=fold.test)
    found = made.split("train", weights=True)
    user, item = (ids.id(found[role]) for role, ids in made.ids.named())
    weights = [10 * int(u) + int(i) for u, i in zip(user, item, strict=True)]
    assert found["weight"].to_list() == weights


def test_what_cannot_be_cut_is_refused_before_any_work(tmp_path: Path) -> None:
    few = "user,item,rating\n1,1,5\n1,2,3\n2,1,4\n"
    with pytest.raises(InputError, match="3 ratings are too few for 5 folds"):
        folds_of("5", few)
    with pytest.raises(InputError, match="36 ratings are too few for 36 folds"):
        folds_of("time:36", TIMED)
    with pytest.raises(InputError, match="--folds time needs a column of times"):
        folds_of("time:2", few)
    (tmp_path / "a.csv").write_text(few)
    spec = Spec.of(f"{tmp_path}/a.csv:{tmp_path}/a.csv,{tmp_path}/a.csv:{tmp_path}/none.csv")
    with pytest.raises(MachineError, match=r"none\.csv: No such file"):
        open_folds(spec, PrepareConfig())
    with pytest.raises(ConfigError, match="-: files of folds are read more than once"):
        open_folds(Spec.of("-:a,-:b"), PrepareConfig())
    for given in ({}, {"sources": [text_source(few)], "data": tmp_path}):
        with pytest.raises(ConfigError, match="give one of RATINGS, --data DIR and --folds BASE"):
            open_folds(Spec.of("2"), PrepareConfig(), **given)
    with pytest.raises(ConfigError, match="min_user_ratings cannot be combined with --data"):
        check_keys(["seed", "min_user_ratings"])


@pytest.mark.parametrize("asked", ["job,year", "job,genres,year", "none"])
def test_folds_have_the_attributes_of_the_whole(tmp_path: Path, asked: str) -> None:
    items = "".join(f"{k}::Film ({1990 + k})::x\n" for k in range(1, 9)) + "9::Film (1999)::y\n"
    users = "".join(f"{u}::F::1::{u % 2}::1000{u}\n" for u in range(1, 9))
    ratings = "".join(f"{u},{i},{1 + u * i % 5}\n" for u in range(1, 9) for i in range(1, 9))
    opened = open_folds(
        Spec.of("2"),
        PrepareConfig.of(attributes=asked.replace("job", "occupation")),
        sources=[text_source("user,item,rating\n" + ratings)],
        items=text_source(items, "movies.dat"),
        users=text_source(users, "users.dat"),
    )
    fold = opened.fold(0)
    made, _ = preparation.prepare(
        fold.train, tmp_path / "d", fold.config, items=fold.items, users=fold.users, test=fold.test
    )
    described = made.info.attributes or Pair([], [])
    if asked == "none":
        assert described == Pair([], [])
        return
    assert [(each.name, each.kind) for each in described.user] == [("occupation", "category")]
    assert [each.name for each in described.item] == asked.split(",")[1:]
