"""Effects of time in the sampler: against a dense formula, and against effects that were planted."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch

from cfcli.core.config.resolve import from_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.models.times import BINS, TimeEffects, seconds_of
from cfcli.core.training.fit import fit
from cfcli.core.training.gibbs.generator import Generator
from cfcli.core.training.gibbs.times import TimeSampler, _Walk
from cfcli.core.training.job import TrainingData

BEGIN = datetime(2020, 1, 1)
NOISE = 0.3


def planted(users: int = 150, items: int = 60, days: int = 8) -> pl.DataFrame:
    """Ratings with ``mood``, what the day of the user adds, and ``move``, what that of the item does:
    from the first day to the last, items of even number gain a point and all others lose one."""
    random = np.random.default_rng(0)
    user, item = np.nonzero(random.random((users, items)) < 0.6)
    day = random.integers(0, days, len(user))
    moods = random.normal(0, 0.6, (users, days))
    mood, move = moods[user, day], np.where(item % 2, -1, 1) * day / (days - 1)
    static = 3 + random.normal(0, 0.4, users)[user] + random.normal(0, 0.4, items)[item]
    rating = static + mood + move + random.normal(0, NOISE, len(user))
    hour = random.integers(0, 24, len(user))
    time = [BEGIN + timedelta(days=int(d), hours=int(h)) for d, h in zip(day, hour, strict=True)]
    columns = {"user": user, "item": item, "rating": rating, "timestamp": time}
    frame = pl.DataFrame(columns | {"mood": mood, "move": move})
    return frame.cast({"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32})


def fitted(train: pl.DataFrame, val: pl.DataFrame, *, times: bool):  # type: ignore[no-untyped-def]
    names = ["user", "item", "rating", *(["timestamp"] if times else [])]
    keys = {"dim": 2, "epochs": 12, "interest": False, "gibbs": {"times": times}}
    data = TrainingData(train.select(names), val.select(names), 150, 60)
    return fit(data, from_dict(TrainConfig, keys))


def test_planted_moods_and_moves_are_found() -> None:
    rows = planted()
    held = np.random.default_rng(1).random(rows.height) < 0.1
    train, val = rows.filter(~held), rows.filter(held)
    without, model = fitted(train, val, times=False), fitted(train, val, times=True)
    assert without.times is None
    effects = model.times
    assert isinstance(effects, TimeEffects)
    assert effects.calendar.lengths[0] == 86_400
    assert without.best.val_rmse > 0.6
    assert model.best.val_rmse < 0.4
    user, item, time = (
        val["user"].to_numpy().astype(int),
        val["item"].to_numpy().astype(int),
        seconds_of(val["timestamp"]),
    )
    found = effects.offset(user, item, time)
    newest = np.where(item % 2, -1, 1)  # what the parameters of the model have
    added = (val["mood"] + val["move"]).to_numpy() - newest
    assert np.corrcoef(found, added)[0, 1] > 0.9
    predicted = model.predictor("mf").predict(user, item, found)
    rmse = float(np.sqrt(np.mean((predicted - val["rating"].to_numpy()) ** 2)))
    assert abs(rmse - model.best.val_rmse) < 1e-4
    even, odd = effects.items[::2].mean(0), effects.items[1::2].mean(0)  # beside the newest time
    assert -1.2 < even[0] < -0.8
    assert 0.8 < odd[0] < 1.2
    assert even[0] < even[BINS // 2] < even[-1] == 0


def test_a_walk_is_drawn_from_the_posterior_of_its_dense_precision() -> None:
    """With x ~ N(0, inv(D'D tau)), D the differences, and weights W: mean inv(W + tau D'D) t."""
    items, generator = 2, Generator(0, "cpu")
    walk = _Walk(np.zeros(0, np.int64), items * BINS, 0.1, generator)
    walk.precision = 3.0
    random = np.random.default_rng(0)
    weight = random.random((items, BINS)) * (random.random((items, BINS)) < 0.5)
    target = random.normal(0, 1, (items, BINS))
    steps = np.eye(BINS) - np.eye(BINS, k=-1)
    given = torch.tensor(weight.ravel()).float(), torch.tensor(target.ravel()).float()
    draws = []
    for _ in range(4000):
        mean, x = walk._draw_x(*given)
        draws.append(x.view(items, BINS).numpy())
    for i in range(items):
        covariance = np.linalg.inv(np.diag(weight[i]) + 3 * steps.T @ steps)
        np.testing.assert_allclose(
            mean.view(items, BINS)[i].numpy(), covariance @ target[i], rtol=1e-3, atol=1e-3
        )
        sample = np.array(draws)[:, i]
        size = np.sqrt(np.diag(covariance))
        assert (abs(sample.mean(0) - covariance @ target[i]) < 5 * size / 4000**0.5).all()
        assert (abs(np.cov(sample.T) - covariance) < 0.1 * np.outer(size, size)).all()


def test_a_sampler_goes_on_from_its_state() -> None:
    rows = planted(users=20, items=15)
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    time = seconds_of(rows["timestamp"])

    def new(seed: int) -> TimeSampler:
        return TimeSampler(user, item, time, 15, Generator(seed, "cpu"))

    def drawn(sampler: TimeSampler, seed: int) -> torch.Tensor:
        for effect in sampler.effects:
            effect.generator.source.manual_seed(seed)
        error = torch.from_numpy(rows["rating"].to_numpy() - 3) - sampler.offset
        sampler.draw(error, torch.full((20,), 4.0), torch.ones(15))
        sampler.keep()
        return sampler.offset

    first, second = new(0), new(1)
    drawn(first, 5)
    second.load_state(first.state())
    torch.testing.assert_close(drawn(second, 6), drawn(first, 6))
    ours, theirs = first.mean(2.0)[0], second.mean(2.0)[0]
    np.testing.assert_array_equal(ours.items, theirs.items)


def test_times_without_a_value_add_nothing_and_are_not_learned_from() -> None:
    rows = planted(users=20, items=15)
    time = seconds_of(rows["timestamp"])
    time[::2] = np.nan
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    sampler = TimeSampler(user, item, time, 15, Generator(0, "cpu"))
    error = torch.from_numpy(rows["rating"].to_numpy() - 3)
    sampler.draw(error, torch.full((20,), 4.0), torch.ones(15))
    assert not sampler.offset[::2].any()
    assert sampler.offset[1::2].all()
