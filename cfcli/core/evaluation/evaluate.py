"""How good a run is on rows it was not trained on, beside the baselines that cost nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import GateError, InputError
from cfcli.core.inputs import ratings
from cfcli.core.inputs.sources import Source
from cfcli.core.metrics.intervals import paired_bootstrap
from cfcli.core.metrics.ratings import errors
from cfcli.core.runs.run import Run
from cfcli.core.serving.fallback import FallbackPredictor

BASELINES = ("mean", "user_mean", "item_mean", "bias")


def evaluate(
    run: Run, *, split: str = "test", source: Source | None = None, data: Path | None = None
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Errors of the model and of four baselines on the same rows.

    Baselines, from the run's training rows: ``mean``; ``user_mean`` and ``item_mean`` (the mean for
    those without ratings); ``bias``, :class:`cfcli.core.models.biases.BiasModel`. A row is cold
    when its user or item has no training rating.

    Args:
        split: of the run's dataset; not used with ``source``.
        source: other ratings, by external ids.
        data: where the run's dataset is now.

    Returns:
        The report, and per row: the ids, ``rating``, ``prediction``, each baseline, ``warm``.

    Raises:
        InputError: no rows to judge by.
    """
    if source is None:
        rows = (
            run.dataset(data).split(split).select("user", "item", pl.col("rating").cast(pl.Float64))
        )
        ids = ids_of(run, rows)
        where = f"split {split}"
    else:
        frame, _ = ratings.read([source], PrepareConfig())
        ids = [frame["user_id"], frame["item_id"]]
        rows = indexed(run, ids, frame["rating"])
        where = source.name
    if rows.height == 0:
        raise InputError(f"{where}: no rows to evaluate on; choose another --split")
    result, table = judge(run, rows, ids)
    return {
        "run": str(run.path),
        "split": split if source is None else source.name,
        **result,
    }, table


def ids_of(owner: Run | Dataset, rows: pl.DataFrame) -> list[pl.Series]:
    """The ids of users and of items of rows by their owner's indices ``user`` and ``item``."""
    return [
        index_map.id(rows[name])
        for index_map, name in zip(owner.id_maps(), ("user", "item"), strict=True)
    ]


def indexed(run: Run, ids: list[pl.Series], rating: pl.Series) -> pl.DataFrame:
    """Rows by the run's indices ``user`` and ``item``, null where it does not know the id, and
    ``rating``."""
    index = [index_map.index(column) for index_map, column in zip(run.id_maps(), ids, strict=True)]
    return pl.DataFrame({"user": index[0], "item": index[1], "rating": rating.cast(pl.Float64)})


def unseen(run: Run, rows: pl.DataFrame) -> pl.Series:
    """Which of the :func:`indexed` rows the run was not trained on."""
    seen = run.seen_pairs().with_columns(seen=True)
    return rows.join(seen, on=["user", "item"], how="left", maintain_order="left")["seen"].is_null()


def judge(
    run: Run, rows: pl.DataFrame, ids: list[pl.Series]
) -> tuple[dict[str, Any], pl.DataFrame]:
    """The report and the table of :func:`evaluate` for rows as :func:`indexed` gives them, and
    their ids of users and of items."""
    names = run.info["columns"]
    table = _predictions(run, rows).with_columns(
        ids[0].rename(names["user"]), ids[1].rename(names["item"]), rating=rows["rating"]
    )
    rating, model = table["rating"].to_numpy(), table["prediction"].to_numpy()
    warm = table["warm"].to_numpy()
    result: dict[str, Any] = {
        "n": table.height,
        "model": errors(rating, model, r2=True),
        "baselines": {name: errors(rating, table[name].to_numpy()) for name in BASELINES},
        "warm": {"n": int(warm.sum()), **errors(rating[warm], model[warm])},
        "cold": {"n": int((~warm).sum()), **errors(rating[~warm], model[~warm])},
    }
    mse = result["model"]["mse"]
    difference = (rating - model) ** 2 - (rating - table["bias"].to_numpy()) ** 2
    # Users that the run does not know count as one each: they are told apart by their ids.
    group = ids[0].cast(pl.Categorical).to_physical().to_numpy()
    low, high = paired_bootstrap(difference, group)
    result["mse_gain_over_mean"] = result["baselines"]["mean"]["mse"] - mse
    result["mse_difference_to_bias"] = {"value": float(difference.mean()), "low": low, "high": high}
    return result, table.select(
        names["user"], names["item"], "rating", "prediction", *BASELINES, "warm"
    )


def check_bars(result: dict[str, Any], min_gain_over: str, max_mse: float | None) -> None:
    """Raises a GateError when the model is not better than a baseline, or not good enough."""
    mse = result["model"]["mse"]
    if min_gain_over != "none" and not mse < (bar := result["baselines"][min_gain_over]["mse"]):
        raise GateError(
            f"MSE {mse:.4f} is not below that of the baseline '{min_gain_over}', {bar:.4f}"
        )
    if max_mse is not None and not mse <= max_mse:
        raise GateError(f"MSE {mse:.4f} is above --max-mse {max_mse:g}")


def _predictions(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Predictions of model and baselines for rows whose ``user`` and ``item`` may be null (unknown
    to the run)."""
    score = FallbackPredictor(run)
    base = score.base
    prediction, _ = score(rows["user"], rows["item"])
    table = pl.DataFrame({"prediction": prediction, "mean": np.full(rows.height, base.mean)})
    warm = np.ones(rows.height, bool)
    for name, n, mean in (
        ("user", base.user_n, base.user_mean),
        ("item", base.item_n, base.item_mean),
    ):
        known = rows[name].is_not_null().to_numpy()
        index = rows[name].fill_null(0).to_numpy()
        warm &= known & (n[index] > 0)
        table = table.with_columns(
            pl.Series(f"{name}_mean", np.where(known, mean[index], base.mean))
        )
    return table.with_columns(bias=score.bias(rows["user"], rows["item"]), warm=warm)
