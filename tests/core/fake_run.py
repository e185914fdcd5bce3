"""Runs with weights that are given, not trained: what is computed from them can be worked by
hand."""

import io
from pathlib import Path

import numpy as np

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.inputs.sources import Source
from cfcli.core.models.base import Shape
from cfcli.core.runs import writing
from cfcli.core.runs.finish import Models
from cfcli.core.runs.run import Run
from cfcli.core.training.epochs import Epoch
from cfcli.core.training.trained import TrainedModel


def text_source(text: str, name: str = "r.csv") -> Source:
    return Source(name, lambda: io.BytesIO(text.encode()))


def make_run(
    folder: Path,
    ratings: str,
    user_vectors: list[list[float]],
    item_vectors: list[list[float]],
    *,
    test: str | None = None,
    titles: str | None = None,
) -> Run:
    """A dataset at ``folder/data`` and, at ``folder/run``, an MF without biases: score = p . q."""
    dataset, _ = preparation.prepare(
        [text_source(ratings)],
        folder / "data",
        PrepareConfig(val_size=0, test_size=0, rating_range=(1.0, 5.0)),
        items=text_source(titles) if titles else None,
        test=text_source(test) if test else None,
    )
    p, q = np.array(user_vectors, np.float32), np.array(item_vectors, np.float32)
    tensors = {
        "user_embedding.weight": p,
        "item_embedding.weight": q,
        "linear.weight": np.ones((1, 1), np.float32),
        "linear.bias": np.zeros(1, np.float32),
    }
    epoch = Epoch(1, 1.0, 1.0, None, None, None, 0.1, 1.0, 1.0)
    model = TrainedModel(
        tensors, Shape(len(p), len(q), 1.0, 5.0, 3.0), [epoch], epoch, "cpu", 32, 1.0, None
    )
    config = TrainConfig.of(dim=p.shape[1], biases=False)
    with writing.create_run(folder / "run", config) as new:
        writing.write_run(new, dataset, config, Models(model, ("train",), "made by hand"))
    return Run.load(folder / "run")
