"""Probabilities of ratings that a run gives for held-out rows."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data.prepare import prepare
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.inputs.sources import Source
from cfcli.core.runs.newcomers import with_source
from cfcli.core.runs.run import Run
from cfcli.core.serving.predict import predict_frame

STEPS = np.arange(1, 6)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on ratings whose noise has another width for each user."""
    random = np.random.default_rng(3)
    user, item = np.nonzero(random.random((120, 80)) < 0.7)
    truth = 3 + random.normal(0, 0.5, (120, 1)) + random.normal(0, 0.7, (1, 80))
    noise = random.logistic(0, 0.55, len(user)) * np.where(np.arange(120) % 2, 0.4, 1.1)[user]
    rating = np.clip(np.round(truth[user, item] + noise), 1, 5)
    folder = tmp_path_factory.mktemp("probabilities")
    data = planted.dataset(folder, planted.frame(user, item, rating), test_size=0.3)
    keys = {"dim": 2, "sampler_rank": 4, "epochs": 8, "interest": False}
    return Run.load(planted.run(data, folder / "run", solver="gibbs", **keys))


@pytest.fixture(scope="module")
def held(run: Run) -> pl.DataFrame:
    """The test rows and their probabilities."""
    rows = run.dataset().split("test")
    users, items = run.ids
    pairs = pl.DataFrame(
        {"userId": users.id(rows["user"]), "movieId": items.id(rows["item"]), "is": rows["rating"]}
    )
    return predict_frame(run, pairs, probabilities=True)


def table(held: pl.DataFrame) -> np.ndarray:
    """The probabilities, (N, 5)."""
    return held.select("p_1", "p_2", "p_3", "p_4", "p_5").to_numpy().astype(float)


def test_sets_hold_the_share_of_ratings_that_they_promise(held: pl.DataFrame) -> None:
    p = table(held)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    below = p.cumsum(1)
    first, last = ((below < share).sum(1, keepdims=True) + 1 for share in (0.1, 0.9))
    rating = held["is"].to_numpy()[:, None]
    promised = np.where((first <= STEPS) & (last >= STEPS), p, 0).sum(1).mean()
    assert 0.8 < promised < 0.97
    assert ((first <= rating) & (rating <= last)).mean() == pytest.approx(promised, abs=0.02)


def test_each_probability_is_how_often_it_happens(held: pl.DataFrame) -> None:
    p = table(held)
    came = held["is"].to_numpy()[:, None] == STEPS
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 1.0)):
        there = (p >= low) & (p < high)
        assert came[there].mean() == pytest.approx(p[there].mean(), abs=0.05)
    chance = p[came].mean()
    plain = (came.mean(0) ** 2).sum()  # of one that knows how often each rating is given
    assert chance > plain + 0.08


def test_only_rows_without_a_prediction_have_none(run: Run) -> None:
    pairs = {"userId": ["100", "nobody"], "movieId": ["100", "100"]}
    for unknown, is_empty in (("nan", True), ("fallback", False)):
        found = predict_frame(run, pl.DataFrame(pairs), unknown, std=True, probabilities=True)
        names = ["prediction", "source", "std", "p_1", "p_2", "p_3", "p_4", "p_5"]
        assert found.columns[2:] == names
        for name in names:
            assert found[name].is_null().to_list() == [False, is_empty]
    with pytest.raises(InputError, match="has a column 'p_2' already"):
        predict_frame(run, pl.DataFrame(pairs | {"p_2": [1, 1]}), probabilities=True)
    assert predict_frame(run, pl.DataFrame(pairs | {"p_2": [1, 1]})).width == 5


def test_a_run_without_them_says_what_they_need(run: Run) -> None:
    without = Run(run.path, dataclasses.replace(run.info, ordinal=None))
    with pytest.raises(ConfigError, match="has no probabilities: they need a scale of at most 20"):
        _ = without.ordinal


@pytest.mark.parametrize(
    "harm",
    [{"cuts": [2, 1, 3, 4]}, {"cuts": [1, 2]}, {"scale": 0}, {"steps": []}],
    ids=["order", "number", "scale", "steps"],
)
def test_damaged_ones_are_refused(run: Run, harm: dict[str, object], tmp_path: Path) -> None:
    ordinal = json.loads((run.path / "run.json").read_text())["ordinal"]
    damaged = dataclasses.replace(run.ordinal, **{**ordinal, **harm})
    with pytest.raises(ArtifactError, match="'ordinal' is no model of a scale"):
        _ = Run(run.path, dataclasses.replace(run.info, ordinal=damaged)).ordinal


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Rows of users and items that the training did not have, and what is predicted for them. A
    kind tells most of what items are like; it is known of half of the new ones. Of the new users
    who come last, half of the ratings are folded in."""
    random = np.random.default_rng(4)
    folder = tmp_path_factory.mktemp("strangers")
    kind = random.integers(0, 2, 260)
    liked = 0.7 * (2 * kind - 1) + random.normal(0, 0.3, 260)
    user, item = np.nonzero(random.random((260, 260)) < 0.25)
    truth = 3 + random.normal(0, 0.5, 260)[user] + liked[item]
    rating = np.clip(np.round(truth + random.normal(0, 0.6, len(user))), 1, 5)
    names = {"userId": np.char.mod("u%d", user), "movieId": np.char.mod("i%d", item)}
    rows = pl.DataFrame({**names, "rating": rating})
    is_new = (user >= 140) | (item >= 140)
    rows.filter(~is_new).write_csv(folder / "ratings.csv")
    films = pl.DataFrame({"movieId": [f"i{k}" for k in range(260)], "kind": kind.astype(str)})
    films = films.with_columns(kind="kind " + pl.col("kind"))
    films[:140].write_csv(folder / "films.csv")
    films[140:200].write_csv(folder / "new.csv")
    ratings, items = Source.of(folder / "ratings.csv"), Source.of(folder / "films.csv")
    data = prepare([ratings], folder / "data", PrepareConfig(), items=items)[0]
    keys = {"dim": 2, "sampler_rank": 4, "epochs": 8, "interest": False}
    run = Run.load(planted.run(data, folder / "run", solver="gibbs", **keys))
    run = with_source(run, Source.of(folder / "new.csv"), "item", run.form(), lambda _: None)
    rows = rows.filter(is_new)
    is_since = (user[is_new] >= 200) & (item[is_new] < 140) & (random.random(is_new.sum()) < 0.5)
    rows.filter(is_since).write_csv(folder / "since.csv")
    asked = rows.filter(~is_since).rename({"rating": "is"})
    since = Source.of(folder / "since.csv")
    return predict_frame(run, asked, std=True, probabilities=True, ratings=since)


@pytest.mark.parametrize(
    "source", ["folded_in", "item_attributes", "user_bias", "item_bias", "mean"]
)
def test_strangers_have_as_much_spread_as_is_promised(strangers: pl.DataFrame, source: str) -> None:
    """Of 60 users or items, the variance of what they are like is known to a sixth."""
    found = strangers.filter(source=source)
    error = (found["prediction"] - found["is"]).to_numpy()
    assert (error**2).mean() ** 0.5 == pytest.approx((found["std"] ** 2).mean() ** 0.5, rel=0.12)
    p = table(found)
    below = p.cumsum(1)
    first, last = ((below < share).sum(1, keepdims=True) + 1 for share in (0.1, 0.9))
    rating = found["is"].to_numpy()[:, None]
    promised = np.where((first <= STEPS) & (last >= STEPS), p, 0).sum(1).mean()
    assert ((first <= rating) & (rating <= last)).mean() == pytest.approx(promised, abs=0.05)


def test_who_knows_more_is_surer(strangers: pl.DataFrame) -> None:
    mean = dict(strangers.group_by("source").agg(pl.col("std").mean()).iter_rows())
    assert mean["folded_in"] < mean["item_bias"] < mean["mean"]
    assert mean["item_attributes"] < mean["user_bias"] < mean["mean"]
