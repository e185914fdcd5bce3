"""Times an epoch of adam inside Lightning's fit, beside the notebook that cfcli grew from, which is
written out below.

Made-up ratings (seeded) of three shapes: the notebook's (157,481 users, 50 items), MovieLens 1M's
and MovieLens 25M's. Each case is a process of its own: seconds of an epoch, median and range of
--repeats after one that is not counted, and the largest resident size. The notebook's way is timed
on fewer ratings, as its speed does not hang on their number.

    python benchmarks/epoch.py --repeats 3
"""

import argparse
import json
import logging
import resource
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import polars as pl

NOTEBOOK = {
    "dim": 5, "biases": False, "inner_product_weight": True, "init_scale": 1.0, "l2": 0.0,
    "link": "sigmoid",
    "implicit": False, "learning_rate": 5e-3,
}  # fmt: skip
LIKE_NOTEBOOK = (157_481, 50, 1_781_184)  # users, items, training ratings
LIKE_1M, LIKE_25M = (6040, 3706, 1_000_000), (162_541, 59_047, 25_000_000)
SAMPLE = 200_000
CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "the notebook's way: DataLoader, batches of 4,096": ((*LIKE_NOTEBOOK[:2], SAMPLE), {}),
    "the notebook's model, cfcli, batches of 4,096": (
        LIKE_NOTEBOOK,
        {**NOTEBOOK, "batch_size": 4096},
    ),
    "the notebook's model, cfcli, --batch-size auto": (LIKE_NOTEBOOK, NOTEBOOK),
    "1M, --dim 64": (LIKE_1M, {"dim": 64}),
    "1M, --dim 64, implicit=false": (LIKE_1M, {"dim": 64, "implicit": False}),
    "1M, --model ncf --dim 32": (LIKE_1M, {"model": "ncf", "dim": 32}),
    "25M, --dim 64": (LIKE_25M, {"dim": 64}),
}


def make(users: int, items: int, rows: int) -> pl.DataFrame:
    """Ratings from 1 to 5 of random pairs, few items being rated by many."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": random.integers(0, users, rows, dtype=np.uint32),
            "item": (random.random(rows) ** 2 * items).astype(np.uint32),
            "rating": random.integers(1, 6, rows).astype(np.float32),
        }
    )


def notebook(users: int, items: int, rows: int, epochs: int) -> list[float]:
    """Seconds of the notebook's epochs: per-sample loading, a logged loss at every step, Adam as it
    comes."""
    import pytorch_lightning as lightning
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.movie, self.linear = (
                nn.Embedding(users, 5),
                nn.Embedding(items, 5),
                nn.Linear(1, 1),
            )
            self.seconds: list[float] = []

        def training_step(self, batch: Any, index: int) -> Any:
            user, movie, rating = batch
            product = (self.user(user) * self.movie(movie)).sum(1, keepdim=True)
            loss = nn.functional.mse_loss(torch.sigmoid(self.linear(product))[:, 0] * 4 + 1, rating)
            self.log("train_loss", loss)
            return loss

        def on_train_epoch_start(self) -> None:
            self.begin = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.seconds.append(time.perf_counter() - self.begin)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=5e-3)

    frame, module = make(users, items, rows), Module()
    columns = (
        torch.tensor(frame[name].to_numpy().astype(kind))
        for name, kind in zip(frame.columns, "qqf", strict=True)
    )
    loader = DataLoader(TensorDataset(*columns), batch_size=4096, shuffle=True)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    trainer = lightning.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, loader)
    return module.seconds


def cfcli(users: int, items: int, rows: int, epochs: int, settings: dict[str, Any]) -> list[float]:
    """Seconds of its epochs."""
    from cfcli.core.config.train import TrainConfig
    from cfcli.core.training.fit import fit
    from cfcli.core.training.job import TrainingData

    config = TrainConfig.of(solver="adam", epochs=epochs, device="cpu", **settings)
    with tempfile.TemporaryDirectory() as folder:
        empty = make(users, items, 1).clear()
        data = TrainingData(make(users, items, rows), empty, users, items)
        fitted = fit(data, config, Path(folder))
    return [row.seconds for row in fitted.history]


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        shape, settings = CASES[args.case]
        epochs = args.repeats + 1
        seconds = cfcli(*shape, epochs, settings) if settings else notebook(*shape, epochs)
        peak = measuring.megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(json.dumps({"seconds": seconds[1:], "peak": peak}))
        return
    measuring.print_head(
        "epoch", "ratings", "s", "range", "million ratings/s", "times the notebook's", "peak MB"
    )
    before = 0.0
    for case, ((_, _, rows), _settings) in CASES.items():
        command = [sys.executable, __file__, "--case", case, "--repeats", args.repeats]
        found = json.loads(measuring.run(*command).output)
        seconds = found["seconds"]
        speed = rows / statistics.median(seconds) / 1e6
        before = before or speed
        cells = [
            case,
            f"{rows:,}",
            f"{statistics.median(seconds):.2f}",
            f"{min(seconds):.2f} to {max(seconds):.2f}",
            f"{speed:.2f}",
            f"{speed / before:.0f}",
            f"{found['peak']:,.0f}",
        ]
        measuring.print_row(cells)


if __name__ == "__main__":
    main()
