"""Gibbs sampling: against closed forms, and against structure that was planted."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shell import run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.config import TrainConfig
from cfcli.core.errors import ConfigError
from cfcli.core.evaluation import evaluate
from cfcli.core.prediction import standard_deviation
from cfcli.core.predictor import Predictor
from cfcli.core.runs import Run
from cfcli.core.solvers import gibbs
from cfcli.core.solvers.gibbs import Sampler, Side


def planted(users: int = 60, items: int = 45, rank: int = 3, share: float = 0.5, noise: float = 0.3):  # type: ignore[no-untyped-def]
    """Indices, ratings, and what the ratings would be without noise, of a low-rank table with biases."""
    random = np.random.default_rng(0)
    p, q = random.normal(0, 0.7, (users, rank)), random.normal(0, 0.7, (items, rank))
    truth = 3.5 + random.normal(0, 0.4, (users, 1)) + random.normal(0, 0.4, (1, items)) + p @ q.T
    user, item = np.nonzero(random.random((users, items)) < share)
    rating = (truth[user, item] + random.normal(0, noise, len(user))).astype(np.float32)
    return user.astype(np.int64), item.astype(np.int64), rating, truth


def test_with_hyperparameters_fixed_a_draw_is_that_of_bayesian_ridge_regression() -> None:
    """v ~ N(inv(G) (alpha A'(y - b) + Lambda m), inv(G)), G = Lambda + alpha A'A: Bishop (2006), eq. 3.50."""
    torch.manual_seed(0)
    user, item, rating, _ = planted(users=5, items=12)
    generator = torch.Generator().manual_seed(1)
    side = Side(user, item, rating, 5, 12, 2, generator)
    other = torch.randn(12, 3)
    precision, mean, alpha = (
        torch.tensor([[2.0, 0.3, 0], [0.3, 1.5, 0.1], [0, 0.1, 1]]),
        torch.tensor([0.5, -0.2, 0.1]),
        1.7,
    )
    side._draw_hyperparameters = lambda: (precision, mean)  # type: ignore[method-assign]
    side._draw_regression = lambda precision, mean: None  # type: ignore[method-assign]
    draws = []
    for _ in range(6000):
        side.sweep(other, alpha)
        draws.append(side.vectors.clone())
    found = torch.stack(draws).double()
    for u in range(5):
        rows = item[user == u]
        a = torch.cat([other[rows, :2], torch.ones(len(rows), 1)], 1).double()
        rest = torch.from_numpy(rating[user == u]).double() - other[rows, 2].double()
        gram = precision.double() + alpha * a.T @ a
        covariance = torch.linalg.inv(gram)
        expected = covariance @ (alpha * a.T @ rest + (precision @ mean).double())
        error = covariance.diagonal().sqrt() / 6000**0.5
        assert ((found[:, u].mean(0) - expected).abs() < 5 * error).all()
        torch.testing.assert_close(torch.cov(found[:, u].T), covariance, rtol=0.15, atol=0.02)


def test_blocks_hold_every_rating_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gibbs, "PADDED", 100)
    user, item, rating, _ = planted()
    user[user == 7] = 8  # one has none
    side = Side(user, item, rating, 60, 45, 2, torch.Generator())
    entities = torch.cat([block.entity for block in side.blocks])
    assert sorted(entities.tolist()) == list(range(60))
    found = set()
    for block in side.blocks:
        for entity, partners, ratings in zip(block.entity, block.partner, block.rating, strict=True):
            there = partners < 45
            assert (ratings[~there] == 0).all()
            found |= {(int(entity), int(i), float(r)) for i, r in zip(partners[there], ratings[there], strict=True)}
    assert found == set(zip(user.tolist(), item.tolist(), rating.astype(float).tolist(), strict=True))


def sampled(rating: np.ndarray, seed: int = 0, sweeps: int = 60) -> Sampler:
    user, item, _, _ = planted()
    sampler = Sampler(user, item, rating, 60, 45, 3, seed)
    for k in range(sweeps):
        sampler.sweep()
        if k >= 20:
            sampler.keep()
    return sampler


def table(tensors: dict[str, np.ndarray]) -> np.ndarray:
    """What an MF predicts for every pair."""
    both = tensors["user_bias"][:, None] + tensors["item_bias"] + tensors["linear.bias"][0]
    return both + tensors["user_embedding.weight"] @ tensors["item_embedding.weight"].T


def test_it_finds_what_was_planted_far_below_the_noise() -> None:
    _, _, rating, truth = planted()
    found = table(sampled(rating).tensors(3))
    assert np.sqrt(((found - truth) ** 2).mean()) < 0.2 < 0.3 < 1.0 < truth.std()


def test_compression_at_full_rank_is_the_mean_of_the_samples() -> None:
    _, _, rating, _ = planted()
    sampler = sampled(rating, sweeps=24)
    user, item = (torch.from_numpy(x.ravel().copy()) for x in np.indices((60, 45)))
    mean = torch.zeros(len(user))
    for vectors in sampler.kept:
        sampler.users.vectors, sampler.items.vectors = vectors
        mean += sampler.predict(user, item) / len(sampler.kept)
    whole = sampler.tensors(12)  # four samples of rank 3
    np.testing.assert_allclose(table(whole).ravel(), mean.numpy(), atol=1e-4)
    # Dimensions are ordered, both sides share their size, signs are canonical, and fewer are the first of more.
    p, q = whole["user_embedding.weight"], whole["item_embedding.weight"]
    size = np.linalg.norm(q, axis=0)
    assert (np.diff(size) < 1e-5).all()
    np.testing.assert_allclose(np.linalg.norm(p, axis=0), size, rtol=1e-3, atol=1e-4)
    assert (q[np.abs(q).argmax(0), np.arange(12)] >= 0).all()
    np.testing.assert_allclose(sampler.tensors(2)["item_embedding.weight"], q[:, :2], atol=1e-4)
    assert sampler.tensors(20)["item_embedding.weight"].shape == (45, 20)


def test_seeds_and_scales() -> None:
    _, _, rating, _ = planted()
    first = table(sampled(rating).tensors(3))
    np.testing.assert_array_equal(first, table(sampled(rating).tensors(3)))
    assert not np.array_equal(first, table(sampled(rating, seed=1).tensors(3)))
    other = table(sampled(rating * 20 - 50).tensors(3))  # another scale, the same model
    np.testing.assert_allclose(other, first * 20 - 50, atol=0.5)


def test_cholesky_bears_what_float32_cannot() -> None:
    bad = torch.tensor([[[1.0, 1.0], [1.0, 1.0 - 1e-7]], [[2.0, 0.0], [0.0, 2.0]]])
    factor = gibbs._cholesky(bad)
    assert factor.isfinite().all()
    torch.testing.assert_close(factor @ factor.mT, bad, rtol=1e-3, atol=1e-3)


def test_few_features_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue too large for its Gram matrix: the most popular columns stay."""
    monkeypatch.setattr(gibbs, "FEATURES", 10)
    _, _, rating, truth = planted()
    assert np.sqrt(((table(sampled(rating).tensors(3)) - truth) ** 2).mean()) < 0.25


@pytest.mark.parametrize("keys", [{"model": "ncf"}, {"biases": False}, {"device": "cuda"}])
def test_what_it_cannot_do_is_said_before_it_starts(keys: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match="gibbs fits mf with biases, on the CPU"):
        TrainConfig(solver="gibbs", **keys)


def test_a_new_user_gets_nearly_what_training_on_them_would_give() -> None:
    user, item, rating, truth = planted()
    sampler = sampled(rating)
    tensors = sampler.tensors(3)
    predictor = Predictor("mf", tensors, 0, 8, "identity", sampler.mse)
    for u in range(5):
        mine = user == u
        vector = predictor.fold_in(item[mine], rating[mine], 0.0)
        found = predictor.rating(predictor.scores(vector[None]))[0]
        assert np.sqrt(((found - truth[u]) ** 2).mean()) < 0.35
        assert (found >= 0).all()


def test_the_commands_take_it_for_any_other_model(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    args = ["train", "--solver", "gibbs", "--dim", 4, "--epochs", 9, "--data", "data", "--out", out, "--json", "-q"]
    done = run_cfcli(*args, cwd=project)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["solver"], result["epochs"], result["dim"]) == ("gibbs", 9, 4)
    run = Run.load(out)
    report, rows = evaluate(run, split="val")
    assert report["model"]["mse"] == pytest.approx(result["val"]["mse"], rel=1e-5)
    assert report["mse_difference_to_bias"]["high"] < 0
    low, high = run.info["shape"]["low"], run.info["shape"]["high"]
    assert rows["prediction"].is_between(low, high).all()
    assert run.history["val_mse"][-1] < run.history["val_mse"][0]
    Path(tmp_path / "mine.csv").write_text("user,item,rating\nme,1,5\nme,2,1\nme,3,5\nme,4,1\n")
    for command in (
        ["predict", out, tmp_path / "mine.csv", "--std"],
        ["recommend", out, "--user", 1],
        ["recommend", out, "--ratings", tmp_path / "mine.csv"],
        ["similar", out, 10],
        ["export-embeddings", out, "--biases"],
    ):
        found = CliRunner().invoke(app, [str(a) for a in command])
        assert found.exit_code == 0, found.output
    again = tmp_path / "again"
    assert run_cfcli(*args[:-4], "--out", again, cwd=project).returncode == 0
    left, right = run.tensors, Run.load(again).tensors
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_intervals_hold_the_share_of_ratings_that_they_promise() -> None:
    user, item, rating, _ = planted(users=150, items=100, share=0.4)
    held = np.random.default_rng(5).random(len(user)) < 0.3
    sampler = Sampler(user[~held], item[~held], rating[~held], 150, 100, 3, 0)
    for k in range(120):
        sampler.sweep()
        if k >= 40:
            sampler.keep()
    assert sampler.noise == pytest.approx(0.3**2, rel=0.1)
    samples = sampler.samples(16)
    assert samples["users"].shape == (16, 150, 4)
    run = SimpleNamespace(samples=samples, info={"noise": sampler.noise})
    std = standard_deviation(run, user[held], item[held])  # type: ignore[arg-type]
    error = rating[held] - table(sampler.tensors(3))[user[held], item[held]]
    for share, quantile in ((0.5, 0.6745), (0.8, 1.2816), (0.95, 1.96)):
        assert (np.abs(error) < quantile * std).mean() == pytest.approx(share, abs=0.04)
    assert np.corrcoef(std, np.bincount(user[~held], minlength=150)[user[held]])[0, 1] < 0  # surer where more is known


def test_without_validation_rows_it_ends_with_its_epochs(tmp_path: Path) -> None:
    import planted as rows_of

    data = rows_of.dataset(tmp_path, rows_of.checkerboard(20, 16), val_size=0)
    run = Run.load(rows_of.run(data, tmp_path / "run", solver="gibbs", epochs=5))
    assert run.info["epochs"] == run.info["best_epoch"] == 5
    assert run.info["val"] == {"mse": None, "rmse": None, "mae": None}
    assert evaluate(run)[0]["model"]["rmse"] < 0.5
