"""Fitting a model on PyTorch Lightning's Trainer. The only module that imports Lightning (it takes seconds)."""

import contextlib
import logging
import math
import shutil
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from cfcli.core.batches import Batches, Rows
from cfcli.core.config import TrainConfig
from cfcli.core.epochs import Epoch, Progress, Silent
from cfcli.core.errors import GateError, InputError, MachineError, StoppedError
from cfcli.core.models import build
from cfcli.core.models.base import Factors, Shape
from cfcli.core.predictor import Link
from cfcli.core.publishing import machine_errors
from cfcli.core.solvers.sampling import Sampling

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class TrainedModel:
    """The parameters of the best epoch and how they came about.

    Attributes:
        tensors: parameters by name, float32; rows of users and items that no training row has are the mean of the
            others, so that a prediction for them falls back on what is known of their partner.
        shape: of the data.
        history: one row per epoch.
        best: the row whose parameters these are.
        device, batch_size, seconds: what was used, and how long the fit took.
        stopped_by: number of the signal that ended it early, or None.
        solver: adam or gibbs.
        link: how a score becomes a rating, see :class:`cfcli.core.predictor.Predictor`.
        noise: variance of a rating around its expectation; for adam, the mean squared error of the training rows.
        samples: what :meth:`cfcli.core.solvers.posterior.Posterior.samples` has, where the solver has some.
    """

    tensors: dict[str, NDArray[np.float32]]
    shape: Shape
    history: list[Epoch]
    best: Epoch
    device: str
    batch_size: int
    seconds: float
    stopped_by: int | None
    solver: str = "adam"
    link: Link = "sigmoid"
    noise: float = 1.0
    samples: dict[str, NDArray[Any]] | None = None


def choose_device(wanted: str) -> str:
    """``auto`` as CUDA, else MPS, else CPU; others as they are.

    Raises:
        MachineError: this machine has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, is_there in there.items() if is_there)
    if not there[wanted]:
        raise MachineError(f"device {wanted}: not on this machine; --device auto takes what is there")
    return wanted


def auto_batch_size(rows: int) -> int:
    """About 250 steps an epoch, as a power of two from 32 to 65,536: small data needs the steps, large data speed."""
    return int(2 ** np.clip(np.round(np.log2(max(rows, 1) / 250)), 5, 16))


def fit(
    train: pl.DataFrame,
    val: pl.DataFrame,
    users: int,
    items: int,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
    *,
    rating_range: tuple[float, float] | None = None,
) -> TrainedModel:
    """Trains a model until the validation error stops falling, and returns its best epoch.

    Args:
        train, val: columns ``user``, ``item``, ``rating``; without validation rows the last epoch is the best.
        users, items: numbers of them.
        folder: for the checkpoints, which are removed at the end.
        rating_range: declared for the data, where the configuration has none; else lowest and highest of ``train``.

    Raises:
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space.
        GateError: the loss diverged.
    """
    begin = time.perf_counter()
    progress = progress or Silent()
    if train.height < 2 or train["user"].n_unique() < 2 or train["item"].n_unique() < 2:
        raise InputError("too little to train on: needs at least 2 users and 2 items with training ratings")
    found = (float(train["rating"].min()), float(train["rating"].max()))  # type: ignore[arg-type]
    low, high = config.rating_range or rating_range or found
    if low >= high:
        raise InputError(f"all training ratings are {low:g}: nothing to learn; set rating_range if that is right")
    mean = float(train["rating"].cast(pl.Float64).mean())  # type: ignore[arg-type]
    shape = Shape(users, items, low, high, config.initial_rating if config.initial_rating is not None else mean)
    solver = config.solver if config.solver != "auto" else "adam" if config.only_adam() else "gibbs"
    module: _Module | Sampling
    batches: Any
    held: Any = None
    if solver == "gibbs":
        # Not every decomposition is there on MPS: only where it is asked for.
        device = choose_device("cpu" if config.device == "auto" and not torch.cuda.is_available() else config.device)
        batch_size = train.height
        module = Sampling(train, val, users, items, config, progress, (low, high), device)
        batches, held = range(module.sweeps), range(1) if val.height else None
    else:
        device = choose_device(config.device)
        batch_size = auto_batch_size(train.height) if config.batch_size == "auto" else config.batch_size
        rows = Rows.of(train, "cpu" if uses_dataloader(config) else device)
        batches = (
            rows.loader(batch_size, config.num_workers)
            if uses_dataloader(config)
            else Batches(rows, batch_size, config.seed)
        )
        held = Batches(Rows.of(val, device), 1 << 16) if val.height else None
        torch.manual_seed(config.seed)
        module = _Module(build(config, shape), config, progress, _untrained(train, users, items, device))
    progress.start(device, len(batches), config.epochs)
    stop = StopOnSignal()
    checkpoint = ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor="val_mse" if held is not None else None,
        save_weights_only=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [stop, *([checkpoint] if solver == "adam" else [])]
    if held is not None:
        callbacks.append(PatienceFrom(config.min_epochs, monitor="val_mse", patience=config.patience))
    with _quiet(), machine_errors(folder):
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=1,
            max_epochs=config.epochs,
            min_epochs=0,  # PatienceFrom sees to it; Lightning's would hold up max_time and signals too
            max_time=timedelta(seconds=limit) if (limit := config.max_seconds()) else None,
            callbacks=callbacks,
            plugins=[DirectCheckpointIO()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            enable_checkpointing=solver == "adam",
        )
        with stop:
            trainer.fit(module, batches, held)
    history = module.history
    if stop.received and not history:
        raise_stopped(stop.received)
    if isinstance(module, Sampling):
        tensors, best = module.result()
        link: Link = "identity"
        posterior = module.sampler.posterior
        noise, samples = posterior.noise / posterior.kept, posterior.samples()
    else:
        samples = None
        scores = [row.val_mse if row.val_mse is not None else row.train_mse for row in history]
        best = history[int(np.argmin(scores))] if held is not None else history[-1]
        link, noise = "sigmoid", best.train_mse
        if checkpoint.best_model_path:
            with machine_errors(folder):
                state = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
                shutil.rmtree(folder)
        else:
            state = module.state_dict()
        tensors = {name.removeprefix("model."): value.cpu().numpy() for name, value in state.items()}
    return TrainedModel(
        tensors=tensors,
        shape=shape,
        history=history,
        best=best,
        device=device,
        batch_size=batch_size,
        seconds=time.perf_counter() - begin,
        stopped_by=stop.received or None,
        solver=solver,
        link=link,
        noise=noise,
        samples=samples,
    )


def uses_dataloader(config: TrainConfig) -> bool:
    """Whether batches come from PyTorch's DataLoader."""
    return config.loader == "dataloader" or config.num_workers > 0


def raise_stopped(number: int) -> None:
    """Raises the error that says which signal ended the work."""
    name = signal.Signals(number).name
    raise StoppedError(f"stopped by {name} before the first epoch ended; nothing was kept", number)


class PatienceFrom(EarlyStopping):
    """Early stopping that starts to count at an epoch: what validation does while the model settles tells little.

    Args:
        first: the first epoch that counts, from 1.
    """

    def __init__(self, first: int, **kwargs: Any) -> None:
        super().__init__(**kwargs, check_on_train_epoch_end=False)
        self.first = first

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch + 1 >= self.first:
            super().on_validation_end(trainer, pl_module)


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGHUP the fit ends after the running batch; a second signal kills at once. Lightning's
    own handler would end the process with exit code 0 on SIGTERM."""

    received = 0

    def __enter__(self) -> None:
        # Before Lightning puts its own in their place: those must not come back when the fit is over.
        self._former = {number: signal.getsignal(number) for number in SIGNALS}

    def __exit__(self, *args: object) -> None:
        for number, handler in self._former.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        for number in SIGNALS:
            with contextlib.suppress(ValueError):  # not in the main thread: signals are not ours to take
                signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        if self.received:
            trainer.should_stop = True


class DirectCheckpointIO(TorchCheckpointIO):
    """Saves where it is told. Lightning's own writes to $TMPDIR first and swallows permission errors."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)


class _Module(lightning.LightningModule):
    def __init__(self, model: Factors, config: TrainConfig, progress: Progress, untrained: dict[str, Tensor]) -> None:
        super().__init__()
        self.untrained = untrained
        self.model, self.config, self.progress = model, config, progress
        self.history: list[Epoch] = []
        self.scale = model.width**-2  # makes loss and l2 the same for ratings of any scale

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: float | None = None
        self.squares = torch.zeros((), device=self.device)
        self.seen = self.val_seen = 0

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        user, item, rating = batch
        prediction, length = self.model(user, item)
        square = (prediction - rating).square()
        self.squares += square.detach().sum()
        self.seen += len(rating)
        loss: Tensor = square.mean() * self.scale
        if self.config.l2:
            loss = loss + self.config.l2 * length.mean()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(batch_idx + 1)

    def on_validation_epoch_start(self) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.settle_untrained()
        self.val_squares = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_absolutes = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_seen = 0

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        user, item, rating = batch
        error = self.model(user, item)[0] - rating
        self.val_squares += error.square().sum()
        self.val_absolutes += error.abs().sum()
        self.val_seen += len(rating)

    def on_validation_epoch_end(self) -> None:
        self.log("val_mse", self.val_squares / self.val_seen)

    def on_train_epoch_end(self) -> None:
        if self.seconds is None:  # nothing was validated
            self.seconds = time.perf_counter() - self.begin
            self.settle_untrained()
        mse = float(self.squares) / max(self.seen, 1)
        val_mse = float(self.val_squares) / self.val_seen if self.val_seen else None
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_mse=mse,
            train_rmse=mse**0.5,
            val_mse=val_mse,
            val_rmse=val_mse**0.5 if val_mse is not None else None,
            val_mae=float(self.val_absolutes) / self.val_seen if val_mse is not None else None,
            learning_rate=self.config.learning_rate,
            seconds=self.seconds,
            ratings_per_second=self.seen / self.seconds,
        )
        self.history.append(row)
        self.progress.epoch(row)
        if not math.isfinite(mse if val_mse is None else val_mse):
            raise GateError(f"the loss diverged in epoch {row.epoch}; try a lower --learning-rate")

    @torch.no_grad()
    def settle_untrained(self) -> None:
        """Gives users and items without a training row the mean of the others, before they are judged or saved."""
        for name, parameter in self.model.named_parameters():
            if (mask := self.untrained.get(name.partition("_")[0])) is not None:
                parameter[mask] = parameter[~mask].mean(0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters: Iterable[Tensor] = (p for p in self.parameters() if p.requires_grad)
        return torch.optim.Adam(parameters, self.config.learning_rate, fused=self.device.type in ("cpu", "cuda"))


def _untrained(train: pl.DataFrame, users: int, items: int, device: str) -> dict[str, Tensor]:
    """Masks of the users (U,) and items (I,) without a training row, where there are any."""
    masks = {}
    for entity, n in (("user", users), ("item", items)):
        mask = np.bincount(train[entity].to_numpy(), minlength=n) == 0
        if mask.any():
            masks[entity] = torch.tensor(mask, device=device)
    return masks


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's banner, hints and warnings: this program says itself what there is to say."""
    log = logging.getLogger("pytorch_lightning")
    fabric = logging.getLogger("lightning_fabric")
    levels = log.level, fabric.level
    log.setLevel(logging.ERROR)
    fabric.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(levels[0])
        fabric.setLevel(levels[1])
