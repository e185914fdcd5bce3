"""The solver ``gibbs``: a sweep of the sampler is a step, some sweeps are an epoch."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.attributes import Encoded
from cfcli.core.data.info import Scale
from cfcli.core.errors import ArtifactError, GateError
from cfcli.core.models import ordinal
from cfcli.core.models.ordinal import OrdinalModel
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.spread import Spread
from cfcli.core.models.times import Seconds, seconds_of
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.pair import Pair
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training import checkpoints, resources
from cfcli.core.training.attributes import features, settle, unknown
from cfcli.core.training.checkpoints import State
from cfcli.core.training.device import choose_device
from cfcli.core.training.epochs import Epoch, History, TracePoint, is_flat, is_settled
from cfcli.core.training.gibbs.sampler import Sampler, table_of
from cfcli.core.training.job import TrainingData, TrainingJob
from cfcli.core.training.plan import sizing
from cfcli.core.training.signals import SignalWatch
from cfcli.core.training.trained import Samples, TrainedModel

BURN_IN, WARM_BURN_IN = 3, 1  # epochs before samples are kept
BURN_IN_SWEEPS = 6  # at least, without a warm start
THIN = 5  # sweeps for each that is kept; at most one epoch
LEAST_GAIN = 3e-3  # of the validation error, with such fewer sweeps
# Of the error, that is worth another epoch where the mean alone gets better. Chosen on validation
# rows: on MovieLens 1M half of 400 sweeps are left out for 0.0007 of RMSE.
LEFT = 3.3e-3
MOST_PAIRS = 20_000  # training pairs that are watched where there are no validation rows
# Validation rows that epochs are judged by; all 5 million of 25 million ratings took a third of the
# time of an epoch. The finished model is judged by all.
MOST_WATCHED = 1_000_000


class Ending(NamedTuple):
    """How the sampling ended.

    Attributes:
        stopped_by: number of the signal that came, or 0.
        is_settled: whether the validation error stopped falling.
    """

    stopped_by: int
    is_settled: bool


class Known(NamedTuple):
    """What is known of users and items.

    Attributes:
        attributes: of users and of items.
        counts: numbers of training ratings of users (U,) and items (I,).
    """

    attributes: Pair[Encoded | None]
    counts: Pair[NDArray[np.int64]]


class GibbsSampling:
    """Bayesian matrix factorisation by Gibbs sampling, see
    :mod:`cfcli.core.training.gibbs.sampler`. The model is the mean of the samples."""

    def fit(self, job: TrainingJob) -> TrainedModel:
        """Draws samples until their mean stops getting better, see
        :meth:`cfcli.core.training.job.Solver.fit`.

        Args:
            job: what to train, and how.

        Raises:
            MachineError: no such device, no space.
            ArtifactError: the checkpoint is damaged, or belongs to another training.
            GateError: the sampling diverged.
        """
        config, rows = job.config, job.summary.n
        device = _choose_device(config)
        history = History(job.progress)
        with _divergence(), machine_errors(job.folder or Path()):
            with resources.fast(config, rows * config.dimension):
                chain = _chain(job, device)
                # All but the workers, so that their number changes nothing of the model.
                torch.set_num_threads(1)
                if job.resume is not None:
                    _resume(job, job.resume, chain, history)
                job.progress.start(device, chain.steps, config.epochs)
                ending = _run(job, chain, history)
            is_done = not ending.stopped_by and len(history.epochs) >= config.epochs
            is_whole = ending.is_settled or is_done
            if is_whole and not job.keeps_checkpoint:
                checkpoints.remove(job.folder)
            elif is_whole and job.checkpoint:
                _save(job, job.checkpoint, chain, history)
            known = Known(job.data.attributes, job.summary.counts)
            time_effects = chain.sampler.time_effects()
            tensors = settle(chain.tensors(), *known)
            smaller = {dim: settle(chain.sampler.tensors(dim), *known) for dim in job.smaller}
            best = chain.judged(history.epochs[-1], tensors)
        posterior = chain.sampler.posterior
        samples = posterior.samples()
        model = TrainedModel(
            tensors=tensors,
            shape=job.shape,
            history=history.epochs,
            best=best,
            device=device,
            batch_size=rows,
            seconds=time.perf_counter() - job.begin,
            stopped_by=ending.stopped_by or None,
            is_whole=is_whole,
            solver="gibbs",
            link="identity",
            noise=posterior.noise / posterior.kept,
            samples=samples,
            ordinal=chain.ordinal_model(tensors, samples, job.data.scale, known),
            times=time_effects.effects if time_effects else None,
            warm_start=job.warm_start.origin if job.warm_start else None,
            trace=history.trace,
        )
        others = {
            dim: replace(
                model, tensors=of, ordinal=chain.ordinal_model(of, samples, job.data.scale, known)
            )
            for dim, of in smaller.items()
        }
        return replace(model, smaller=others)


class Chain:
    """The sampler together with the running mean of its predictions for the validation rows.

    Args:
        table: ratings of the training rows, see
            :func:`cfcli.core.training.gibbs.sampler.table_of`; left standardised.
        val: columns ``user``, ``item``, ``rating`` and perhaps ``timestamp``.
        config: ``dim``, ``sampler_rank``, ``seed``.
        bounds: lowest and highest rating that is predicted.
        device: for the tensors.
        warm_start: the earlier model to begin with, or None to begin at random.
        weights: how much each rating of ``table`` counts, or None where all count the same.
        attributes: of users and of items, see :class:`cfcli.core.training.gibbs.sampler.Sampler`.
        time: of each rating of ``table``, in seconds since 1970, or None where it does not matter.

    Attributes:
        steps: sweeps of an epoch.
        least_gain: share of the validation error that counts as an improvement.
        is_long: whether epochs have as many sweeps as any, and no refit follows.
        burn_in: epochs before samples are kept.
    """

    def __init__(
        self,
        table: csr_matrix,
        val: pl.DataFrame,
        config: TrainConfig,
        bounds: tuple[float, float],
        device: str,
        warm_start: WarmStart | None = None,
        weights: csr_matrix | None = None,
        attributes: Pair[list[Tensor]] | None = None,
        time: Seconds | None = None,
    ) -> None:
        self.dim, self.bounds = config.dimension, bounds
        rank = sizing.sampler_rank(config, table.nnz)
        self.steps = sizing.sweeps_per_epoch(table.nnz, rank)
        # The mean of samples gets better for ever, but by less and less.
        # Before a refit, which draws as many again, what follows on the first fall is left to it.
        is_part = warm_start is not None and warm_start.is_part
        no_refit = config.refit == "none" or (not val.height and not is_part)
        self.is_long = self.steps == sizing.SWEEPS and no_refit
        self.least_gain = 0.0 if self.is_long else LEAST_GAIN
        self.sampler = Sampler(
            table, rank, config.dimension, config.seed, device, weights, attributes, time
        )
        if warm_start is None:
            self.burn_in = max(BURN_IN, math.ceil(BURN_IN_SWEEPS / self.steps))
        else:
            self.sampler.begin_from(warm_start)
            self.burn_in = WARM_BURN_IN
        user, item = (val[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        if not len(user):
            user, item = _some_pairs(table)
        self.val = torch.from_numpy(user).to(device), torch.from_numpy(item).to(device)
        self.val_rating = torch.from_numpy(val["rating"].to_numpy().copy()).to(device)
        every = math.ceil(len(user) / MOST_WATCHED) or 1
        self.watched = slice(None, None, every)
        self.val_sum = torch.zeros(len(user[self.watched]), device=device)
        self.means: list[Tensor] = []
        self.val_time = None
        if time is not None and "timestamp" in val.columns:
            self.val_time = seconds_of(val["timestamp"])

    def sweep(self, epoch: int, step: int) -> float:
        """Draws one sample, and keeps every ``THIN``-th once the chain has burnt in.

        Args:
            epoch: the running one, from 1.
            step: of the epoch, from 1.

        Returns:
            The mean squared error of the training rows by that sample.
        """
        self.sampler.sweep()
        if epoch > self.burn_in and step % min(THIN, self.steps) == 0:
            products = self.sampler.keep()
            for product in products:
                self.val_sum += self._watch(product) / len(products)
        return self.sampler.mse

    def with_validation(self, row: Epoch) -> Epoch:
        """The row with the validation errors of the mean so far, or of the sample before any is
        kept, on at most :data:`MOST_WATCHED` rows; the row itself without validation rows.

        Args:
            row: of the epoch that is over.
        """
        if not len(self.val_rating):
            if self.sampler.posterior.kept:
                self.means.append(self.val_sum / self.sampler.posterior.kept)
            return row
        sampler = self.sampler
        if sampler.posterior.kept:
            offset = self._val_offset(self.watched, is_static=False)
            prediction = self.val_sum / sampler.posterior.kept + offset
        else:
            prediction = self._watch((sampler.users.vectors, sampler.items.vectors))
        return self._with_errors(row, prediction, self.val_rating[self.watched])

    def is_settled(self, history: History, config: TrainConfig) -> bool:
        """Whether more samples would gain little.

        Args:
            history: the epochs so far.
            config: ``min_epochs``, ``patience``.
        """
        errors = history.val_errors
        if is_settled(errors, config.min_epochs, config.patience, self.least_gain):
            return True
        if not self.is_long or len(history.epochs) < config.min_epochs:
            return False
        if errors:
            return is_flat(errors[self.burn_in :], LEFT)
        if len(self.means) < 2:
            return False
        # Without validation rows: as far as the second half of the samples has moved the mean, it
        # is still away from an endless one.
        moved = self.means[-1] - self.means[len(self.means) // 2 - 1]
        return float(moved.square().mean()) < LEFT * history.epochs[-1].train_mse

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The posterior mean as one MF. Ends the sampling."""
        # Room for the decomposition of the products.
        self.sampler.users.blocks = []
        self.sampler.items.blocks = []
        return self.sampler.tensors(self.dim)

    def judged(self, row: Epoch, tensors: dict[str, NDArray[np.float32]]) -> Epoch:
        """The row with the validation errors of the posterior mean; the row itself without
        validation rows.

        Args:
            row: of the last epoch.
            tensors: the posterior mean, as :meth:`tensors` gave it.
        """
        if not len(self.val_rating):
            return row
        user, item = (column.cpu().numpy() for column in self.val)
        predictor = Predictor("mf", tensors, *self.bounds, "identity")
        prediction = torch.from_numpy(
            predictor.predict(user, item, self._val_offset().cpu().numpy())
        )
        return self._with_errors(row, prediction.to(self.val_rating), self.val_rating)

    def ordinal_model(
        self,
        tensors: dict[str, NDArray[np.float32]],
        samples: Samples | None,
        scale: Scale | None,
        known: Known,
    ) -> OrdinalModel | None:
        """The probabilities of the steps of the scale by the validation rows, cold ones, too;
        None where these, the samples or the steps are missing.

        Args:
            tensors: the posterior mean, as :meth:`tensors` gave it.
            samples: of the posterior.
            scale: of the ratings.
            known: of users and items.
        """
        steps = ordinal.steps_of(scale.min, scale.max, scale.step) if scale else None
        if samples is None or steps is None or not len(self.val_rating):
            return None
        every = math.ceil(len(self.val_rating) / ordinal.MOST_ROWS) or 1
        columns = *self.val, self.val_rating
        user, item, rating = (column[::every].cpu().numpy() for column in columns)
        offset = self._val_offset(slice(None, None, every)).cpu().numpy()
        score = Predictor("mf", tensors, -math.inf, math.inf, "identity").predict(
            user, item, offset
        )
        shares = unknown(tensors, *known)
        spread = Spread(samples, known.counts.map(lambda n: n > 0))
        std = spread(user, item, Pair(shares.user[user], shares.item[item]))
        return ordinal.fit(score, std, rating, steps)

    def state(self) -> State:
        """What a checkpoint must hold."""
        return {"sampler": self.sampler.state(), "val_sum": self.val_sum, "means": self.means}

    def load_state(self, state: State) -> None:
        """Goes on from a :meth:`state`.

        Args:
            state: of the checkpoint.

        Raises:
            ArtifactError: it does not belong to this data.
        """
        own = self.sampler.state()
        for side in ("users", "items"):
            if state["sampler"][side]["vectors"].shape != own[side]["vectors"].shape:
                raise ArtifactError(f"damaged: its vectors of {side} are not those of the data")
        self.sampler.load_state(state["sampler"])
        self.val_sum = state["val_sum"].to(self.val_sum)
        self.means = [mean.to(self.val_sum) for mean in state.get("means", [])]

    def _val_offset(self, rows: slice = slice(None), *, is_static: bool = True) -> Tensor:
        """What time adds to some of the validation rows, (M,): on top of the parameters that
        :meth:`tensors` gives, or of the samples, which do not know the newest time."""
        rating = self.val_rating[rows]
        time = self.sampler.time_effects()
        if time is None:
            return torch.zeros_like(rating)
        user, item = (column[rows].cpu().numpy() for column in self.val)
        when = np.full(len(user), np.nan) if self.val_time is None else self.val_time[rows]
        found = time.effects.offset(user, item, when)
        added = found if is_static else found + time.newest[item]
        return torch.from_numpy(added).to(rating)

    def _watch(self, product: tuple[Tensor, Tensor]) -> Tensor:
        """The predictions of a product for the rows that epochs are judged by."""
        user, item = self.val
        return self.sampler.predict(product, user[self.watched], item[self.watched])

    def _with_errors(self, row: Epoch, prediction: Tensor, rating: Tensor) -> Epoch:
        error = prediction.clamp(*self.bounds) - rating
        mse = float(error.square().mean())
        return replace(row, val_mse=mse, val_rmse=mse**0.5, val_mae=float(error.abs().mean()))


def _some_pairs(table: csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The users and items of some ratings, evenly spaced."""
    place = np.arange(0, table.nnz, math.ceil(table.nnz / MOST_PAIRS))
    user = np.searchsorted(table.indptr, place, side="right") - 1
    return user.astype(np.int64), table.indices[place].astype(np.int64)


def _choose_device(config: TrainConfig) -> str:
    """CUDA or the CPU for ``auto``: not every decomposition is there on MPS."""
    if config.device == "auto" and not torch.cuda.is_available():
        return choose_device("cpu")
    return choose_device(config.device)


def _chain(job: TrainingJob, device: str) -> Chain:
    val = job.data.take_val()
    assert isinstance(val, pl.DataFrame)
    bounds = job.shape.low, job.shape.high
    table, weights, time = _tables(job.data)
    known = features(job.data.attributes, job.summary.counts)
    with resources.sparing(job.config):  # features take several times their size on the way
        return Chain(table, val, job.config, bounds, device, job.warm_start, weights, known, time)


def _tables(data: TrainingData) -> tuple[csr_matrix, csr_matrix | None, Seconds | None]:
    """The training ratings by user and item, their weights where they have some, and the time of
    each where that matters."""
    train = data.take_train()
    assert isinstance(train, pl.DataFrame)
    found = {}
    user, item = train["user"].to_numpy(), train["item"].to_numpy()
    for name in ("rating", "weight"):
        if name in train.columns:
            value = train[name].to_numpy()
            found[name] = table_of(user, item, value, data.users, data.items)
    time = None
    if "timestamp" in train.columns:
        # In the order of the table, whose type of values would round times.
        row = np.arange(len(train), dtype=np.float64)
        order = csr_matrix((row, (user, item)), shape=found["rating"].shape).data.astype(np.int64)
        time = seconds_of(train["timestamp"])[order]
    return found["rating"], found.get("weight"), time


def _resume(job: TrainingJob, path: Path, chain: Chain, history: History) -> None:
    with checkpoints.resuming(path):
        state = checkpoints.restore(checkpoints.read(path), job.identity, history)
        checkpoints.refuse_fewer(job.config.epochs, history)
        chain.load_state(state)


def _run(job: TrainingJob, chain: Chain, history: History) -> Ending:
    """Samples, epoch by epoch, until an end is reached."""
    config = job.config
    limit = config.max_seconds()
    end = math.inf if limit is None else time.monotonic() + limit
    pace = checkpoints.Pace()
    settled = chain.is_settled(history, config)  # a resumed one may be
    with SignalWatch() as signals:
        for epoch in range(len(history.epochs) + 1, config.epochs + 1):
            if settled:
                break
            begin = time.perf_counter()
            drawn: list[TracePoint] = []
            must_stop = False
            while len(drawn) < chain.steps and not must_stop:
                step = len(drawn) + 1
                mse = chain.sweep(epoch, step)
                drawn.append(TracePoint((epoch - 1) * chain.steps + step, mse))
                job.progress.batch(step)
                must_stop = signals.number > 0 or time.monotonic() >= end
            row = chain.with_validation(_row(epoch, drawn))
            history.add(_timed(row, begin, job.summary.n * len(drawn)), drawn)
            is_whole = len(drawn) == chain.steps
            if is_whole and job.checkpoint is not None and pace.is_due():
                with pace.saving():
                    _save(job, job.checkpoint, chain, history)
            settled = is_whole and chain.is_settled(history, config)
            if must_stop or signals.number:
                break
        return Ending(signals.number, settled)


def _save(job: TrainingJob, path: Path, chain: Chain, history: History) -> None:
    checkpoints.make_folder(path)
    content = checkpoints.record(job.identity, history, chain.state())
    checkpoints.write({checkpoints.KEY: content}, path)


def _row(epoch: int, drawn: list[TracePoint]) -> Epoch:
    """An epoch's row, without time and validation errors."""
    mse = sum(point.mse for point in drawn) / len(drawn)
    return Epoch(
        epoch=epoch,
        train_mse=mse,
        train_rmse=mse**0.5,
        val_mse=None,
        val_rmse=None,
        val_mae=None,
        learning_rate=0.0,
        seconds=0.0,
        ratings_per_second=0.0,
    )


def _timed(row: Epoch, begin: float, ratings: int) -> Epoch:
    seconds = time.perf_counter() - begin
    return replace(row, seconds=seconds, ratings_per_second=ratings / seconds)


@contextmanager
def _divergence() -> Iterator[None]:
    """Decompositions fail where numbers are no longer finite."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        reason = str(error).partition("\n")[0]
        raise GateError(f"the training diverged: {reason}") from None
