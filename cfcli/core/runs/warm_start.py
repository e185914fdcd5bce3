"""A new training that begins with an earlier run's vectors."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.fields import Value, keys_of
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.models.pair import Pair
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.runs.run import MANIFEST, SAMPLES, Run
from cfcli.core.storage.schema import check


def start(run: Run, dataset: Dataset, config: TrainConfig) -> WarmStart:
    """What a training on ``dataset`` begins with: ids that the run knows keep their vectors, new
    ones get the mean of the others.

    Raises:
        ConfigError: the run's model is another than the one to train.
    """
    reason = mismatch(run, config)
    if reason:
        raise ConfigError(f"--warm-start: {run.path} {reason}; train without it")
    rows = rows_of(run, dataset)
    tensors = dict(run.tensors)
    for name, index in rows.items():
        for key in (f"{name}_embedding.weight", f"{name}_bias"):
            if key in tensors:
                tensors[key] = _taken(tensors[key], index)
    draw = None
    if SAMPLES in run.info["files"]:
        newest = (run.samples[side][-1].astype(np.float32) for side in ("users", "items"))
        draw = Pair(
            *(_taken(side, index) for side, index in zip(newest, rows.values(), strict=True))
        )
    former = run.info["warm_start"] or {"generation": 0}
    check(run.path / MANIFEST, former, {"generation": int})
    new = {f"new_{name}s": index.null_count() for name, index in rows.items()}
    origin = {"run": run.path.name, "generation": former["generation"] + 1, **new}
    return WarmStart(tensors, draw, run.info["noise"], origin)


def rows_of(run: Run, dataset: Dataset) -> dict[str, pl.Series]:
    """Which row of the run's tables each ``user`` and ``item`` of the dataset has, null where the
    id is new."""
    maps = zip(("user", "item"), run.id_maps(), dataset.id_maps(), strict=True)
    return {name: old.index(new.ids) for name, old, new in maps}


def mismatch(run: Run, config: TrainConfig) -> str:
    """Why a training cannot begin with the run's vectors, or an empty text."""
    own = run.config.values() | {"link": run.info["link"]}
    wanted: dict[str, Value]
    if config.resolved_solver == "gibbs":
        # What the sampler takes: of any rank, but scores must be ratings.
        wanted = {"model": "mf", "biases": True, "link": "identity", "inner_product_weight": False}
    else:
        values, keys = config.values(), keys_of(TrainConfig).values()
        wanted = {key.name: values[key.name] for key in keys if key.facts.same_for_warm_start}
    for name, value in wanted.items():
        if own[name] != value:
            return f"has {name} {_shown(own[name])}, not {_shown(value)}"
    return ""


def _shown(value: Value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _taken(old: NDArray[np.float32], index: pl.Series) -> NDArray[np.float32]:
    """Rows of ``old`` by index; where it is null, their mean."""
    found: NDArray[np.float32] = old[index.fill_null(0).to_numpy()]
    unknown = index.is_null().to_numpy()
    if unknown.any():
        found[unknown] = (found[~unknown] if not unknown.all() else old).mean(0)
    return found
