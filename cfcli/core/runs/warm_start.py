"""A new training that begins with an earlier run's vectors."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.fields import keys_of
from cfcli.core.config.toml import Value
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Attribute
from cfcli.core.errors import ConfigError
from cfcli.core.models.warm_start import WarmStart, WarmStartInfo
from cfcli.core.pair import Pair
from cfcli.core.runs.run import SAMPLES, SEEN, Run


def start(run: Run, dataset: Dataset, config: TrainConfig) -> WarmStart:
    """What a training begins with: ids that the run knows keep their vectors, new ones get the mean
    of the others.

    Args:
        run: the earlier run.
        dataset: to train on.
        config: the settings of the training.

    A run that was trained on all ratings lends the vectors of its twin.

    Raises:
        ConfigError: the run's model is another than the one to train, or has seen held-out rows.
    """
    reason = mismatch(run, config, dataset)
    if reason:
        raise ConfigError(f"--warm-start: {run.path} {reason}; train without it")
    rows = rows_of(run, dataset)
    model = run.judged
    known = _held_out_rows_of(model, dataset, rows)
    if known:
        raise ConfigError(
            f"--warm-start: {run.path} was trained on {known:,} of the validation and test rows, "
            "so errors on them would say nothing; start from a run of --refit none or all, "
            "prepared with the same split and seed"
        )
    tensors = dict(model.tensors)
    for name, index in (("user", rows.user), ("item", rows.item)):
        for key in (f"{name}_embedding.weight", f"{name}_bias"):
            if key in tensors:
                tensors[key] = _taken(tensors[key], index)
    draw = None
    if SAMPLES in model.info.files:
        newest = Pair(model.samples["users"], model.samples["items"]).map(lambda sides: sides[-1])
        draw = Pair(
            _taken(newest.user.astype(np.float32), rows.user),
            _taken(newest.item.astype(np.float32), rows.item),
        )
    former = run.info.warm_start
    origin = WarmStartInfo(
        run=run.path.name,
        generation=former.generation + 1 if former else 1,
        new_users=rows.user.null_count(),
        new_items=rows.item.null_count(),
    )
    return WarmStart(tensors, draw, model.info.noise, origin)


def _held_out_rows_of(model: Run, dataset: Dataset, rows: Pair[pl.Series]) -> int:
    """How many held-out rows of the dataset a model was trained on."""
    if SEEN not in model.info.files:
        return 0
    held_out = pl.concat([dataset.split(side).select("user", "item") for side in ("val", "test")])
    pairs = pl.DataFrame({name: side.gather(held_out[name]) for name, side in rows.named()})
    trained = model.seen_pairs().filter("trained")
    return pairs.drop_nulls().join(trained, on=["user", "item"], how="semi").height


def rows_of(run: Run, dataset: Dataset) -> Pair[pl.Series]:
    """Which row of the run's tables each user and item of the dataset has.

    Args:
        run: the earlier run.
        dataset: the new one.

    Returns:
        Rows by the dataset's index, (U,) and (I,), null where the id is new.
    """
    old, new = run.ids, dataset.ids
    return Pair(old.user.index(new.user.ids), old.item.index(new.item.ids))


def mismatch(run: Run, config: TrainConfig, dataset: Dataset) -> str:
    """Why a training cannot begin with a run's vectors, or an empty text.

    Args:
        run: the earlier run.
        config: the settings of the training.
        dataset: to train on.
    """
    before, now = (_attributes(info.attributes) for info in (run.info, dataset.info))
    if before != now:
        return f"was trained with {before}, not {now}"
    if (run.info.times is not None) != config.gibbs.times:
        return f"was trained {'without' if config.gibbs.times else 'with'} times"
    if "val" in run.judged.trained_sides:
        return "was trained on validation rows, too"
    own = run.config.values() | {"link": run.info.link}
    wanted: dict[str, Value]
    if config.resolved_solver == "gibbs":
        # What the sampler takes: of any rank, but scores must be ratings.
        wanted = {"model": "mf", "biases": True, "link": "identity", "inner_product_weight": False}
    else:
        values, keys = config.values(), keys_of(TrainConfig).values()
        wanted = {key.name: values[key.name] for key in keys if key.facts.same_for_warm_start}
        if config.dim == "auto":  # which takes that of the run
            del wanted["dim"]
    for name, value in wanted.items():
        if own[name] != value:
            return f"has {name} {_shown(own[name])}, not {_shown(value)}"
    return ""


def _attributes(described: Pair[list[Attribute]] | None) -> str:
    """The names of attributes, for messages."""
    found = [
        f"{name}s' {', '.join(each.name for each in side)}"
        for name, side in (described.named() if described is not None else ())
        if side
    ]
    return "attributes " + " and ".join(found) if found else "no attributes"


def _shown(value: Value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _taken(old: NDArray[np.float32], index: pl.Series) -> NDArray[np.float32]:
    """Rows of ``old`` by index; where it is null, their mean."""
    found: NDArray[np.float32] = old[index.fill_null(0).to_numpy()]
    unknown = index.is_null().to_numpy()
    if unknown.any():
        found[unknown] = (found[~unknown] if not unknown.all() else old).mean(0)
    return found
