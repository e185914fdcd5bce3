"""Gibbs sampling: against closed forms, and against structure that was planted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from shell import run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.spread import Spread
from cfcli.core.pair import Pair
from cfcli.core.runs.run import Run
from cfcli.core.storage.schema import to_json
from cfcli.core.training.cooccurrence import implicit_features
from cfcli.core.training.gibbs import sampler as gibbs
from cfcli.core.training.gibbs.generator import Generator
from cfcli.core.training.gibbs.posterior import Posterior
from cfcli.core.training.gibbs.sampler import Sampler, Side, table_of


def planted(
    users: int = 60, items: int = 45, rank: int = 3, share: float = 0.5, noise: float = 0.3
):  # type: ignore[no-untyped-def]
    """Indices, ratings, and what the ratings would be without noise, of a low-rank table with
    biases."""
    random = np.random.default_rng(0)
    p, q = random.normal(0, 0.7, (users, rank)), random.normal(0, 0.7, (items, rank))
    truth = 3.5 + random.normal(0, 0.4, (users, 1)) + random.normal(0, 0.4, (1, items)) + p @ q.T
    user, item = np.nonzero(random.random((users, items)) < share)
    rating = (truth[user, item] + random.normal(0, noise, len(user))).astype(np.float32)
    return user.astype(np.int64), item.astype(np.int64), rating, truth


def side_of(user, item, rating, users: int, items: int, rank: int, seed: int = 0) -> Side:  # type: ignore[no-untyped-def]
    ratings = table_of(user, item, rating, users, items)
    features, _, sizes = implicit_features(ratings, 0)
    return Side(ratings, [features], [sizes], rank, Generator(seed, "cpu"))


def test_implicit_features_are_the_leading_singular_vectors_of_who_rated_what() -> None:
    """Of a table whose users rate in three groups, so that few directions tell nearly all."""
    random = np.random.default_rng(2)
    same = random.integers(0, 3, (200, 1)) == random.integers(0, 3, (1, 90))
    rated = random.random((200, 90)) < np.where(same, 0.6, 0.05)
    rated[7], rated[:, 5] = False, False  # one user and one item without ratings
    degrees = np.maximum(rated.sum(1, keepdims=True), 1), np.maximum(rated.sum(0, keepdims=True), 1)
    u, size, vt = np.linalg.svd(
        rated * degrees[0] ** -0.25 * degrees[1] ** -0.25, full_matrices=False
    )
    users, items, sizes = (
        part.numpy() for part in implicit_features(csr_matrix(rated.astype(np.float32)), 0)
    )
    f = len(sizes)
    assert f == int(rated.sum() ** 0.5 / 5)
    np.testing.assert_allclose(sizes[:3], size[:3] ** 2, rtol=1e-4)
    np.testing.assert_allclose(sizes, size[:f] ** 2, rtol=0.05)
    np.testing.assert_allclose(users.T @ users, np.diag(sizes), atol=1e-3 * sizes[0])
    np.testing.assert_allclose(items.T @ items, np.diag(sizes), atol=1e-3 * sizes[0])
    for k in range(
        3
    ):  # the groups; what is beyond them is noise, with values too near each other to be told apart
        assert abs(users[:, k] @ u[:, k]) == pytest.approx(size[k], rel=1e-3)
        assert abs(items[:, k] @ vt[k]) == pytest.approx(size[k], rel=1e-3)
    assert not users[7].any()
    assert not items[5].any()


def test_with_hyperparameters_fixed_a_draw_is_that_of_bayesian_ridge_regression() -> None:
    """v ~ N(inv(G) (a A'W(y - b) + Lambda m), inv(G)), G = Lambda + a A'WA, a and W the precisions
    of the user's and of the items' ratings: Bishop (2006), eq. 3.50, with weights."""
    user, item, rating, _ = planted(users=5, items=12)
    side, other = side_of(user, item, rating, 5, 12, 2), side_of(item, user, rating, 12, 5, 2)
    generator = torch.Generator().manual_seed(3)
    other.vectors = torch.randn(12, 3, generator=generator)
    other.weight = torch.rand(12, generator=generator) + 0.5
    precision, mean, alpha = (
        torch.tensor([[2.0, 0.3, 0], [0.3, 1.5, 0.1], [0, 0.1, 1]]),
        torch.tensor([0.5, -0.2, 0.1]),
        1.7,
    )
    side._draw_hyperparameters = lambda rest: (precision, mean)  # type: ignore[method-assign]
    side._draw_regression = lambda *given: torch.zeros(5, 3)  # type: ignore[method-assign]
    own = torch.tensor([0.5, 1.0, 1.5, 2.0, 1.0])
    draws = []
    for _ in range(6000):
        side.weight = own
        squares = side.sweep(other, alpha, with_errors=False)
        draws.append(side.vectors.clone())
    found = torch.stack(draws).double()
    for u in range(5):
        rows = item[user == u]
        a = torch.cat([other.vectors[rows, :2], torch.ones(len(rows), 1)], 1).double()
        weights = (alpha * own[u] * other.weight[rows]).double()
        rest = torch.from_numpy(rating[user == u]).double() - other.vectors[rows, 2].double()
        covariance = torch.linalg.inv(precision.double() + a.T @ (weights[:, None] * a))
        expected = covariance @ (a.T @ (weights * rest) + (precision @ mean).double())
        torch.testing.assert_close(side.expected[u].double(), expected, rtol=1e-4, atol=1e-4)
        error = covariance.diagonal().sqrt() / 6000**0.5
        assert ((found[:, u].mean(0) - expected).abs() < 5 * error).all()
        torch.testing.assert_close(torch.cov(found[:, u].T), covariance, rtol=0.15, atol=0.02)
        left = rest - a @ found[-1, u]
        assert float(squares[u]) == pytest.approx(
            float((left**2 * other.weight[rows]).sum()), rel=1e-4
        )


def test_a_rating_of_weight_2_is_two_ratings_of_items_that_are_alike() -> None:
    user, item, rating, _ = planted(users=6, items=5)
    is_last = item == 4
    weight = np.where(is_last, 2, 1)
    once, weights = table_of(user, item, rating, 6, 5), table_of(user, item, weight, 6, 5)
    more = np.append(item, np.full(is_last.sum(), 5))  # item 5 is item 4 again
    twice = table_of(np.append(user, user[is_last]), more, np.append(rating, rating[is_last]), 6, 6)
    features, _, sizes = implicit_features(once, 0)
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    found, squares = [], []
    for table, of, places in ((once, weights, range(5)), (twice, None, [*range(5), 4])):
        side = Side(table, [features], [sizes], 2, Generator(1, "cpu"), of)
        other = Side(table.T.tocsr(), [], [], 2, Generator(2, "cpu"))
        other.vectors = vectors[list(places)]
        squares.append(side.sweep(other, 1.7))
        found.append(side)
    torch.testing.assert_close(found[0].expected, found[1].expected)
    drawn = found[0].vectors[user]
    own = vectors[item]
    error = rating - ((drawn * own)[:, :2].sum(1) + drawn[:, 2] + own[:, 2]).numpy()
    by_hand = np.bincount(user, weight * error**2, 6)
    np.testing.assert_allclose(squares[0], by_hand, rtol=1e-4)
    assert found[0].squares == pytest.approx(float((error**2).sum()), rel=1e-4)  # unweighted


def test_the_regression_is_ridge_regression() -> None:
    """With Lambda fixed, B ~ N(inv(Z'Z + C) Z'(V - m), ...): its mean over draws, where Z has two
    groups of columns with precisions c of their own on the diagonal of C."""
    user, item, rating, _ = planted()
    implicit, _, sizes = implicit_features(table_of(user, item, rating, 60, 45), 0)
    numbers = torch.Generator().manual_seed(1)
    known = torch.linalg.qr(torch.randn(60, 3, generator=numbers))[0] * torch.tensor([4.0, 3, 2])
    groups, both = [implicit, known], torch.cat([implicit, known], dim=1)
    side = Side(
        table_of(user, item, rating, 60, 45),
        groups,
        [sizes, known.square().sum(0)],
        2,
        Generator(0, "cpu"),
    )
    target, mean = torch.randn(60, 3, generator=numbers), torch.tensor([0.1, 0.0, -0.3])
    side.vectors, draws = target, []
    for _ in range(4000):
        side.precision = [2.0, 5.0]
        rest = target - side._explained()
        explained = side._draw_regression(torch.eye(3) * 4, mean, rest)
        draws.append(torch.cat(side.regression))
    torch.testing.assert_close(explained, both @ draws[-1])
    ridge = torch.diag(torch.tensor([2.0] * len(sizes) + [5.0] * 3))
    covariance = torch.linalg.inv(both.T @ both + ridge)
    expected = covariance @ both.T @ (target - mean)
    error = 0.5 * covariance.diagonal().sqrt()[:, None] / 4000**0.5
    assert ((torch.stack(draws).mean(0) - expected).abs() < 6 * error).all()


def test_blocks_hold_every_rating_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gibbs, "BLOCK", 300)
    user, item, rating, _ = planted()
    user[user == 7] = 8  # one has none
    user, item = np.unique(np.stack([user, item]), axis=1)
    rating = np.arange(1, len(user) + 1, dtype=np.float32)
    side = side_of(user, item, rating, 60, 45, 2)
    entities = torch.cat([block.entity for block in side.blocks])
    assert sorted(entities.tolist()) == list(range(60))
    found = set()
    for block in side.blocks:
        for entity, partners, ratings in zip(
            block.entity, block.partner, block.rating, strict=True
        ):
            there = partners < 45
            assert (ratings[~there] == 0).all()
            found |= {
                (int(entity), int(i), float(r))
                for i, r in zip(partners[there], ratings[there], strict=True)
            }
    assert found == set(
        zip(user.tolist(), item.tolist(), rating.astype(float).tolist(), strict=True)
    )


def sampled(rating: np.ndarray, seed: int = 0, sweeps: int = 60) -> Sampler:
    user, item, _, _ = planted()
    sampler = Sampler(table_of(user, item, rating, 60, 45), 3, 3, seed)
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


def test_the_mean_of_products_is_one_product() -> None:
    generator = torch.Generator().manual_seed(0)
    degrees = [torch.arange(60), torch.arange(45)]
    posterior, total, products = Posterior(degrees, 12), torch.zeros(60, 45), []
    for _ in range(4):  # of rank 3 each
        users, items = (
            torch.randn(60, 4, generator=generator),
            torch.randn(45, 4, generator=generator),
        )
        posterior.add(users, items)
        products.append((users, items))
        total += (users[:, :3] @ items[:, :3].T + users[:, 3:] + items[:, 3]) / 4
    (p, q), (b_user, b_item) = posterior.factors(12)
    torch.testing.assert_close(p @ q.T + b_user[:, None] + b_item, total, atol=1e-4, rtol=1e-4)
    # Dimensions are ordered, both sides share their size, and signs are canonical.
    size = q.norm(dim=0)
    assert (size.diff() < 1e-4).all()
    torch.testing.assert_close(p.norm(dim=0), size, rtol=1e-3, atol=1e-4)
    assert (q.gather(0, q.abs().argmax(0, keepdim=True)) >= 0).all()
    # Fewer are the best there are where a pair counts by the ratings of both (by hand: SVD of the
    # weighted table).
    weight = (degrees[0].clamp(min=0.5)[:, None] * degrees[1].clamp(min=0.5)).sqrt()
    (p, q), biases = posterior.factors(2)
    rest = total - biases[0][:, None] - biases[1]
    error = ((rest - p @ q.T) * weight).square().sum()
    sizes = torch.linalg.svdvals(rest * weight)
    assert float(error) == pytest.approx(float(sizes[2:].square().sum()), rel=1e-3)
    assert posterior.factors(20)[0][1].shape == (45, 20)
    # Where more comes than fits, the least is cut off.
    posterior.rank = 12
    for users, items in 3 * products:
        posterior.add(users, items)
    assert posterior.sides[0].shape[1] <= 24
    (p, q), (b_user, b_item) = posterior.factors(12)
    torch.testing.assert_close(p @ q.T + b_user[:, None] + b_item, total, atol=1e-3, rtol=1e-3)


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    _, _, rating, _ = planted()
    whole, first = sampled(rating, sweeps=40), sampled(rating, sweeps=30)
    second = sampled(rating, sweeps=0)
    second.load_state(first.state())
    for _ in range(10):
        second.sweep()
        second.keep()
    for name, value in whole.tensors(3).items():
        np.testing.assert_array_equal(value, second.tensors(3)[name])


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


def test_features_that_tell_nothing_do_no_harm() -> None:
    """Who rated what was drawn at random here."""
    user, item, rating, truth = planted()
    errors = []
    for features in (1, None):
        sampler = Sampler(table_of(user, item, rating, 60, 45), 3, 3, 0)
        for side in (sampler.users, sampler.items):
            if features:
                side.features = [torch.zeros_like(side.features[0])]
        for k in range(60):
            sampler.sweep()
            if k >= 20:
                sampler.keep()
        errors.append(np.sqrt(((table(sampler.tensors(3)) - truth) ** 2).mean()))
    assert errors[1] < 1.05 * errors[0]


def test_noisy_users_are_found_and_weigh_less() -> None:
    user, item, _, truth = planted(users=200, items=80)
    random = np.random.default_rng(2)
    loud = user % 2 == 1
    rating = truth[user, item] + random.normal(0, 1, len(user)) * np.where(loud, 1.5, 0.2)
    sampler = Sampler(table_of(user, item, rating, 200, 80), 3, 3, 0)
    for k in range(60):
        sampler.sweep()
        if k >= 20:
            sampler.keep()
    noise = sampler.posterior.samples()["user_noise"]  # type: ignore[index]
    assert noise[1::2].mean() > 4 * noise[::2].mean()


@pytest.mark.parametrize("keys", [{"model": "ncf"}, {"biases": False}, {"learning_rate": 0.1}])
def test_what_it_cannot_do_is_said_before_it_starts(keys: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=r"solver gibbs (does not use|only trains mf)"):
        TrainConfig.of(solver="gibbs", **keys)


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
    args = [
        "train",
        "--solver",
        "gibbs",
        "--refit",
        "none",
        "--dim",
        4,
        "--epochs",
        9,
        "--data",
        "data",
        "--out",
        out,
        "--json",
        "-q",
    ]
    done = run_cfcli(*args, cwd=project)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["solver"], result["epochs"], result["dim"]) == ("gibbs", 9, 4)
    run = Run.load(out)
    report, rows = evaluate(run, split="val")
    assert report.model.mse == pytest.approx(result["val"]["mse"], rel=1e-5)
    assert report.mse_difference_to_bias.high < 0
    low, high = run.info.shape.low, run.info.shape.high
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
    sampler = Sampler(table_of(user[~held], item[~held], rating[~held], 150, 100), 3, 3, 0)
    for k in range(120):
        sampler.sweep()
        if k >= 40:
            sampler.keep()
    assert sampler.posterior.noise / sampler.posterior.kept == pytest.approx(0.3**2, rel=0.1)
    samples = sampler.posterior.samples()
    assert samples is not None
    assert samples["users"].shape == (16, 150, 4)
    spread = Spread(samples, Pair(np.ones(150, bool), np.ones(100, bool)))
    nothing = np.zeros(held.sum())
    std = spread(user[held], item[held], Pair(nothing, nothing))
    error = rating[held] - table(sampler.tensors(3))[user[held], item[held]]
    for share, quantile in ((0.5, 0.6745), (0.8, 1.2816), (0.95, 1.96)):
        assert (np.abs(error) < quantile * std).mean() == pytest.approx(share, abs=0.04)
    assert (
        np.corrcoef(std, np.bincount(user[~held], minlength=150)[user[held]])[0, 1] < 0
    )  # surer where more is known


def test_without_validation_rows_it_ends_with_its_epochs(tmp_path: Path) -> None:
    import planted as rows_of

    data = rows_of.dataset(tmp_path, rows_of.checkerboard(20, 16), val_size=0)
    run = Run.load(rows_of.run(data, tmp_path / "run", solver="gibbs", epochs=5))
    assert run.info.epochs == run.info.best_epoch == 5
    assert to_json(run.info)["val"] == {"mse": None, "rmse": None, "mae": None}
    assert run.info.ordinal is None
    assert evaluate(run)[0].model.rmse < 0.5
