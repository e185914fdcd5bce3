"""Fitting a model on PyTorch Lightning's Trainer. The only module that imports Lightning (it takes seconds)."""

import contextlib
import ctypes
import gc
import logging
import math
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core import lightly
from cfcli.core.batches import Batches, Rows
from cfcli.core.config import Link, TrainConfig
from cfcli.core.epochs import Epoch, Progress, Silent
from cfcli.core.errors import ArtifactError, GateError, InputError, MachineError, StoppedError
from cfcli.core.models import build, gradients
from cfcli.core.models.base import Factors, Known, Shape
from cfcli.core.models.start import Start
from cfcli.core.publishing import machine_errors
from cfcli.core.solvers.callbacks import CheckpointFiles, Checkpoints, StopOnSignal
from cfcli.core.solvers.gibbs import implicit_features
from cfcli.core.solvers.resuming import Resumable
from cfcli.core.solvers.sampling import Sampling

FEATURES = 64  # of who rated what, for adam: each costs time at every step
CHECKPOINT = "last.ckpt"
STEPS, MANY_RATINGS = 16, 1 << 18  # for each of Lightning's, at most
SMALL_STEP = 1 << 16  # ratings times dimensions


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
        warm_start: of an earlier run, see :class:`cfcli.core.models.start.Start`.
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
    warm_start: dict[str, Any] | None = None


def devices() -> list[str]:
    """Those of this machine, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, is_there in there.items() if is_there]


def choose_device(wanted: str) -> str:
    """``auto`` as CUDA, else MPS, else CPU; others as they are.

    Raises:
        MachineError: this machine has no such device.
    """
    if wanted == "auto":
        return devices()[0]
    if wanted not in devices():
        raise MachineError(f"device {wanted}: not on this machine; --device auto takes what is there")
    return wanted


def auto_batch_size(rows: int) -> int:
    """About 100 steps an epoch, as a power of two from 32 on: Adam moves all parameters at each."""
    return 1 << max(5, round(math.log2(max(rows, 1) / 100)))


def fit(
    train: pl.DataFrame,
    val: pl.DataFrame,
    users: int,
    items: int,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
    *,
    start: Start | None = None,
    resume: Path | None = None,
    fingerprint: str = "",
    rating_range: tuple[float, float] | None = None,
) -> TrainedModel:
    """Trains a model until the validation error stops falling, and returns its best epoch.

    Args:
        train, val: columns ``user``, ``item``, ``rating``; without validation rows the last epoch is the best.
        users, items: numbers of them.
        folder: for the checkpoint, which is removed unless a signal or ``max_time`` ended the fit.
        start: what to begin with, if not at random.
        resume: the checkpoint to go on from, made with the same data and settings; ends and device may differ.
        fingerprint: of the data, which a checkpoint must share.
        rating_range: declared for the data, where the configuration has none; else lowest and highest of ``train``.

    Raises:
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space.
        ArtifactError: a checkpoint that is damaged, or of other data.
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
    solver = config.fitted_by()
    module: _Module | Sampling
    batches: Any
    held: Any = None
    with _fast(config, train.height * config.dim):
        if solver == "gibbs":
            # Not every decomposition is there on MPS: only where it is asked for.
            on_cpu = config.device == "auto" and not torch.cuda.is_available()
            device = choose_device("cpu" if on_cpu else config.device)
            batch_size = train.height
            module = Sampling(train, val, users, items, config, progress, (low, high), device, start)
            batches, held = range(module.steps), range(1) if val.height else None
            del train, val  # which are a third of all memory, where ratings are many
        else:
            device = choose_device(config.device)
            deviation = float(train["rating"].cast(pl.Float64).std(ddof=0))  # type: ignore[arg-type]
            held = Batches(Rows.of(val).to(device), 1 << 16) if val.height else None
            rows = Rows.of(train)
            del train, val
            module = _by_adam(rows, deviation, shape, config, progress, device)
            batches, batch_size = module.batches, module.batch_size
            if start is not None:
                module.model.begin_from({name: torch.from_numpy(value) for name, value in start.tensors.items()})
    progress.start(device, module.steps, config.epochs)
    stop = StopOnSignal()
    module.fingerprint = fingerprint
    with _quiet(), machine_errors(folder), _fast(config, batch_size * config.dim):
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=1,
            max_epochs=config.epochs,
            min_epochs=0,  # the module sees to it; Lightning's would hold up max_time and signals too
            max_time=timedelta(seconds=limit) if (limit := config.max_seconds()) else None,
            callbacks=[stop, Checkpoints(folder / CHECKPOINT)],
            plugins=[CheckpointFiles()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with stop, _told_apart(stop, resume):
            trainer.fit(module, batches, held, ckpt_path=resume, weights_only=True)
    history = module.history
    if stop.received and not history:
        raise_stopped(stop.received)
    if module.settled or (not stop.received and len(history) >= config.epochs):
        shutil.rmtree(folder, ignore_errors=True)
    if isinstance(module, Sampling):
        tensors, best = module.result()
        link: Link = "identity"
        posterior = module.sampler.posterior
        noise, samples = posterior.noise / posterior.kept, posterior.samples()
    else:
        best = history[module.best_epoch - 1]
        link, noise, samples = config.link, best.train_mse, None
        tensors = {name: value.cpu().numpy() for name, value in module.best.items()}
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
        warm_start=start.told if start is not None else None,
    )


def time_apart(
    train: pl.DataFrame, users: int, items: int, config: TrainConfig, passes: int
) -> tuple[list[float], list[float]]:
    """Seconds of passes over what an epoch of adam consists of: over the loader alone, and over the steps alone, with
    batches that are there already. One of each comes before that is not counted.

    Raises:
        MachineError: no such device.
    """
    device = choose_device(config.device)
    low, high = float(train["rating"].min()), float(train["rating"].max())  # type: ignore[arg-type]
    shape = Shape(users, items, low, high, (low + high) / 2)
    module = _by_adam(Rows.of(train), 1.0, shape, config, Silent(), device).to(device)
    module.on_train_epoch_start()
    optimizer = module.configure_optimizers()
    loader, steps = [], []
    with _quiet(), _fast(config, module.batch_size * config.dim):
        for _ in range(1 + passes):
            times = [time.perf_counter()]
            batches = list(module.batches)
            times.append(time.perf_counter())
            batches = [[column.to(device) for column in batch] for batch in batches]
            times.append(time.perf_counter())
            for batch in batches:
                module.learn(optimizer, batch)
            float(module.squares)  # waits for a device that works beside this
            times.append(time.perf_counter())
            loader.append(times[1] - times[0])
            steps.append(times[3] - times[2])
    return loader[1:], steps[1:]


def uses_dataloader(config: TrainConfig) -> bool:
    """Whether batches come from PyTorch's DataLoader."""
    return config.loader == "dataloader" or config.num_workers > 0


def raise_stopped(number: int) -> None:
    """Raises the error that says which signal ended the work."""
    name = signal.Signals(number).name
    raise StoppedError(f"stopped by {name} before the first epoch ended; nothing was kept", number)


class _Module(Resumable):
    def __init__(self, model: Factors, config: TrainConfig, progress: Progress, batches: Any, batch_size: int) -> None:
        super().__init__(config, progress)
        self.automatic_optimization = False
        self.model, self.batches, self.batch_size = model, batches, batch_size
        self.steps = -(-len(batches.rows) // batch_size) if isinstance(batches, Batches) else len(batches)
        self.loss = gradients.loss
        if config.compiled:
            lightly.remove("torch._dynamo")
            self.loss = torch.compile(gradients.loss)
        self.best: dict[str, Tensor] = {}  # what the run will keep, as of the best epoch
        self.best_epoch = 0

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "generator": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        shapes = {name: value.shape for name, value in self.model.folded().items()}
        if {name: value.shape for name, value in self.best.items()} != shapes:
            raise ArtifactError("damaged: its best parameters are not those of the model")
        if not 1 <= self.best_epoch <= len(self.history) or not all(v.isfinite().all() for v in self.best.values()):
            raise ArtifactError("damaged: its best epoch is none")
        torch.set_rng_state(state["generator"])
        if isinstance(self.batches, Batches):
            self.batches.epoch = len(self.history)

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: float | None = None
        self.squares = torch.zeros((), device=self.device)
        self.seen = self.val_seen = 0

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        self.learn(self.optimizers(use_pl_optimizer=False), batch)

    def learn(self, optimizer: Any, batch: Sequence[Tensor]) -> None:
        """Some steps: Lightning takes half as long over a batch as a step of a small model does."""
        squares = torch.zeros((), device=self.device)
        by_hand = self.device.type == "cpu" and not self.config.compiled
        for user, item, rating in zip(*(torch.split(column, self.batch_size) for column in batch), strict=True):
            if by_hand:
                squares += gradients.backward(self.model, user, item, rating, self.config.l2)
            else:
                optimizer.zero_grad()
                loss, found = self.loss(self.model, user, item, rating, self.config.l2)
                loss.backward()  # type: ignore[no-untyped-call]
                squares += found
            optimizer.step()
        self.squares += squares
        self.seen += len(batch[2])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(-(-self.seen // self.batch_size))

    def on_validation_epoch_start(self) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.model.settle_untrained()
        self.tables = self.model.embeddings()
        self.val_squares = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_absolutes = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_seen = 0

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        user, item, rating = batch
        error = self.model.predict(self.tables, user, item) - rating
        self.val_squares += error.square().sum()
        self.val_absolutes += error.abs().sum()
        self.val_seen += len(rating)

    def on_train_epoch_end(self) -> None:
        if self.seconds is None:  # nothing was validated
            self.seconds = time.perf_counter() - self.begin
            self.model.settle_untrained()
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
        self.finish(row)
        if not self.best or val_mse is None or val_mse < (self.history[self.best_epoch - 1].val_mse or 0):
            self.best, self.best_epoch = self.model.folded(), row.epoch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters: Iterable[Tensor] = (p for p in self.parameters() if p.requires_grad)
        return torch.optim.Adam(parameters, self.config.learning_rate, fused=self.device.type in ("cpu", "cuda"))


def _by_adam(
    rows: Rows, deviation: float, shape: Shape, config: TrainConfig, progress: Progress, device: str
) -> _Module:
    if config.compiled and device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise MachineError("compiled: no C++ compiler (g++) on this machine; install one, or leave it out")
    batch_size = auto_batch_size(len(rows)) if config.batch_size == "auto" else config.batch_size
    known = _known(rows, deviation, shape, config)
    batches: Any
    if uses_dataloader(config):
        batches = rows.loader(batch_size, config.num_workers)
    else:
        batches = Batches(rows.to(device), batch_size * max(1, min(STEPS, MANY_RATINGS // batch_size)), config.seed)
    torch.manual_seed(config.seed)
    return _Module(build(config, shape, known), config, progress, batches, batch_size)


def _known(rows: Rows, deviation: float, shape: Shape, config: TrainConfig) -> Known:
    """What the training rows tell the model before any training."""
    features = None
    if config.implicit:
        pairs = np.ones(len(rows), np.float32), (rows.user.numpy(), rows.item.numpy())
        features = implicit_features(csr_matrix(pairs, shape=(shape.users, shape.items)), config.seed, FEATURES)[:2]
    degrees = torch.bincount(rows.user, minlength=shape.users), torch.bincount(rows.item, minlength=shape.items)
    return Known(deviation or 1.0, degrees, features)


@contextlib.contextmanager
def _told_apart(stop: StopOnSignal, resume: Path | None) -> Iterator[None]:
    """What fails before the training starts is the fault of the checkpoint, if there is one; a decomposition that fails
    later is that of numbers that are no longer finite."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise GateError(f"the training diverged: {(str(error).splitlines() or [''])[0]}") from None
    except MachineError:
        raise
    except Exception as error:
        if not resume or stop.started:
            raise
        why = str(error) if isinstance(error, ArtifactError) else f"damaged: no checkpoint ({type(error).__name__})"
        raise ArtifactError(f"{resume}: {why.removeprefix(f'{resume}: ')}; train again without --resume") from None


@contextlib.contextmanager
def _fast(config: TrainConfig, entries: int) -> Iterator[None]:
    """With the processor set up for training by steps that each work on so many ``entries`` of vectors."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        # Keeps large blocks that are freed, for the next step: glibc would return them to the kernel, and to get them
        # again costs as much as the step itself.
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
    # Weights of dead units, and Adam's means of their gradients, shrink until arithmetic on them is 100 times slower.
    torch.set_flush_denormal(True)
    before = torch.get_num_threads()
    # On small steps two threads win little, and lose much where other processes want the processors, too.
    small = config.threads == "auto" and entries < SMALL_STEP
    torch.set_num_threads(1 if small else before if config.threads == "auto" else config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def free() -> None:
    """Gives back what a fit that is over still holds: Lightning's Trainer and the module name each other."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


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
