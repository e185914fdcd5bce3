"""A training that begins with an earlier run's vectors."""

from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
import torch

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.models import build
from cfcli.core.models.base import Shape, TrainingStatistics
from cfcli.core.models.warm_start import WarmStartInfo
from cfcli.core.pair import Pair
from cfcli.core.runs import train as fitting
from cfcli.core.runs import warm_start
from cfcli.core.runs.run import Run
from cfcli.core.training.gibbs.sampler import Sampler, table_of

GIBBS = {"solver": "gibbs", "dim": 3, "epochs": 4, "refit": "none"}
ADAM = {"solver": "adam", "learning_rate": 0.02, "dim": 3, "epochs": 8, "refit": "none"}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """Two datasets: the second has the first's rows but those of two users, and those of 6 more
    users and 4 items."""
    rows = planted.checkerboard(40, 24)
    folder = tmp_path_factory.mktemp("nights")
    first = rows.filter((pl.col("user") < 34) & (pl.col("item") < 20))
    return [
        planted.dataset(folder / name, part)
        for name, part in (("one", first), ("two", rows.filter(pl.col("user") > 1)))
    ]


@pytest.fixture(scope="module")
def runs(nights: list[Dataset]) -> dict[str, Run]:
    """Runs on the first dataset."""
    folder = nights[0].path.parent
    made = {}
    for name, keys in {
        "gibbs": GIBBS,
        "adam": ADAM,
        "ncf": ADAM | {"solver": "auto", "model": "ncf", "hidden": (8,)},
    }.items():
        made[name] = Run.load(
            fitting.train(nights[0], TrainConfig.of(device="cpu", **keys), folder / name).path
        )
    return made


@pytest.mark.parametrize("name", ["gibbs", "adam", "ncf"])
def test_known_ids_keep_their_vectors_and_new_ones_get_the_mean(
    name: str, nights: list[Dataset], runs: dict[str, Run]
) -> None:
    run = runs[name]
    start = warm_start.start(run, nights[1], run.config)
    assert start.origin == WarmStartInfo(name, generation=1, new_users=6, new_items=4)
    for entity, new, old in (("user", nights[1].users["userId"], run.users["userId"]),
                             ("item", nights[1].items["movieId"], run.items["movieId"])):  # fmt: skip
        vectors, former = (
            start.tensors[f"{entity}_embedding.weight"],
            run.tensors[f"{entity}_embedding.weight"],
        )
        assert vectors.shape == (len(new), 3)
        known = [k for k, i in enumerate(new) if i in set(old)]
        where = {i: k for k, i in enumerate(old)}
        np.testing.assert_array_equal(vectors[known], former[[where[new[k]] for k in known]])
        fresh = sorted(set(range(len(new))) - set(known))
        np.testing.assert_allclose(
            vectors[fresh], np.tile(vectors[known].mean(0), (len(fresh), 1)), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize("model", ["mf", "ncf"])
@pytest.mark.parametrize("features", [False, True])
def test_a_model_that_takes_what_a_run_keeps_predicts_the_same(
    link: str, model: str, features: bool
) -> None:
    torch.manual_seed(0)
    config = TrainConfig.of(model=model, link=link, dim=4, init_scale=0.5)  # type: ignore[arg-type]
    shape = Shape(7, 5, 1.0, 5.0, 3.2)
    z = Pair(torch.randn(7, 2), torch.randn(5, 2)) if features else None
    known = TrainingStatistics(1.3, None, z)
    one, other = build(config, shape, known), build(config, shape, known)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    other.begin_from(one.folded())
    for name, value in one.folded().items():
        torch.testing.assert_close(other.folded()[name], value, rtol=1e-4, atol=1e-5)
    user, item = torch.arange(5), torch.arange(5)
    torch.testing.assert_close(other.eval()(user, item)[0], one.eval()(user, item)[0])
    if features:  # the map takes what it can explain
        assert other.user_embedding.weight.norm() < one.embeddings().user.norm()


@pytest.mark.parametrize("rank", [15, 5, 31])
@pytest.mark.parametrize("samples", [True, False])
def test_a_sampler_begins_where_another_stood(
    rank: int, samples: bool, nights: list[Dataset], runs: dict[str, Run]
) -> None:
    """From its last sample, of whatever rank, or from the vectors of a run without samples."""
    run, train = runs["gibbs"], nights[1].split("train")
    start = warm_start.start(run if samples else runs["adam"], nights[1], TrainConfig.of(dim=3))
    assert (start.draw is None) != samples
    user, item = train["user"].to_numpy(), train["item"].to_numpy()
    rating = train["rating"].to_numpy()
    known = (user >= 6) & (item >= 4)  # their ids fall with their numbers
    ratings = table_of(user, item, rating, nights[1].info.users, nights[1].info.items)
    sampler = Sampler(ratings, rank, 3, 0)
    sampler.known_items = sampler.items.vectors
    pairs = (
        torch.from_numpy(user[known].astype(np.int64)),
        torch.from_numpy(item[known].astype(np.int64)),
    )

    def rmse() -> float:
        predicted = sampler.predict((sampler.users.vectors, sampler.items.vectors), *pairs).numpy()
        return float(np.sqrt(((predicted - rating[known]) ** 2).mean()))

    assert rmse() > 1.9  # at random
    sampler.begin_from(start)
    assert rmse() < 1.0


@pytest.mark.parametrize("name", ["gibbs", "adam", "ncf"])
def test_the_first_epoch_is_already_good(
    name: str, nights: list[Dataset], runs: dict[str, Run], tmp_path: Path
) -> None:
    config = runs[name].config.replace(epochs=2)
    cold = fitting.train(nights[1], config, tmp_path / "cold").path
    warm = fitting.train(
        nights[1],
        config.replace(warm_start=str(runs[name].path)),
        tmp_path / "warm",
    ).path
    first = [Run.load(path).history["val_mse"][0] for path in (cold, warm)]
    assert first[1] < 0.8 * first[0]
    assert Run.load(cold).info.warm_start is None
    assert Run.load(warm).info.warm_start.run == name
    again = warm_start.start(Run.load(warm), nights[1], config)
    assert again.origin.generation == 2


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("adam", {"dim": 4, "solver": "adam"}, "has dim 3, not 4"),
        ("ncf", {}, "has model ncf, not mf"),
        ("gibbs", {"model": "ncf"}, "has model mf, not ncf"),
        ("adam", ADAM | {"dim": 4}, "has dim 3, not 4"),
        ("ncf", {"model": "ncf", "hidden": (9,), "dim": 3}, "has hidden 8, not 9"),
        ("adam", ADAM | {"link": "sigmoid"}, "has link identity, not sigmoid"),
    ],
)
def test_another_model_is_refused(
    name: str, keys: dict[str, object], message: str, nights: list[Dataset], runs: dict[str, Run]
) -> None:
    with pytest.raises(ConfigError, match=message):
        warm_start.start(runs[name], nights[1], TrainConfig.of(**keys))  # type: ignore[arg-type]
