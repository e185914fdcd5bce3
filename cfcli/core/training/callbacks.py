"""What Lightning's Trainer does beside training: stopping and checkpoints."""

import signal
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, Timer
from pytorch_lightning.plugins.io import TorchCheckpointIO

from cfcli.core.config.train import TrainConfig
from cfcli.core.training import checkpoints
from cfcli.core.training.checkpoints import State
from cfcli.core.training.distributed import collectives, ranks
from cfcli.core.training.signals import SIGNALS, HardStop, SignalWatch

VAL_ERROR = "val_mse"  # what the module logs for StopWhenSettled


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGHUP the training ends after the running batch, on all ranks,
    whichever got it. Lightning's own handler would end a process with exit code 0 on SIGTERM, and
    hang several.

    Args:
        number: of ranks. With several, a signal that comes while they find each other
            waits for the training. So it does in ranks that are still to be started, which
            inherit that. None waits for ranks that do not answer, see :class:`HardStop`.

    Attributes:
        received: the signal that any rank got, or 0.
        started: whether the training runs.
    """

    def __init__(self, number: int = 1) -> None:
        self.ranks = number
        self.received = 0
        self.started = False
        self.watch = SignalWatch()
        self.hard_stop = HardStop(ranks.end_the_first)

    def __enter__(self) -> "StopOnSignal":
        # Before Lightning sets its own handlers, which must not come back at the end.
        self.watch.remember()
        if self.ranks > 1:
            self.watch.install()
            self.hard_stop.begin()
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        return self

    def __exit__(self, *error: object) -> None:
        self.watch.restore()
        if self.ranks > 1:
            self.hard_stop.end()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self.started = True
        self.watch.install()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: object) -> None:
        self.received = collectives.largest(self.watch.number, trainer.strategy.root_device)
        if self.received:
            trainer.should_stop = self.hard_stop.is_orderly = True


class TimeLimit(Timer):
    """Lightning's limit of time, which is for one go: a training that is resumed has all of it
    again. Lightning would count the time before."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state_dict: State) -> None:
        pass


class StopWhenSettled(EarlyStopping):
    """Lightning's early stopping, which begins to count at ``min_epochs``. The Trainer's own
    ``min_epochs`` would hold up signals and the limit of time, too.

    Args:
        config: ``min_epochs``, ``patience``.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(
            VAL_ERROR,
            patience=config.patience,
            strict=False,  # without validation rows there is no error, and no early stopping
            check_finite=False,  # the module raises an error of ours then
            check_on_train_epoch_end=True,
        )
        self.first = max(config.min_epochs, 1)
        self.wanted_patience = config.patience

    @property
    def is_settled(self) -> bool:
        """Whether the validation error stopped falling."""
        return self.wait_count >= self.patience

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        epoch = trainer.current_epoch + 1
        if epoch == self.first:  # a resumed training may have counted by an earlier one
            self.wait_count = 0
            self.best_score = torch.tensor(torch.inf)
        if epoch >= self.first:
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: State) -> None:
        super().load_state_dict(state_dict)
        self.patience = self.wanted_patience  # which may change on resume


class Checkpoints(Checkpoint):
    """Saves a checkpoint after whole epochs, at the pace of
    :class:`cfcli.core.training.checkpoints.Pace`.

    Args:
        path: for it; None on ranks but the first, which writes for all.
        at_end: whether to save when the training ends, too.
    """

    # Not Lightning's ModelCheckpoint, which saved nothing in five epochs: it waits for
    # ``global_step``, which counts only steps through Lightning's wrappers of the optimizers, and
    # those made a step of 32 ratings 8 to 15 % slower. Its interval is also a fixed one, not a
    # share of the time, and it saves epochs that a signal cut short.

    def __init__(self, path: Path | None, *, at_end: bool = False) -> None:
        self.path = path
        self.at_end = at_end
        self.pace = checkpoints.Pace()
        self.batches = 0  # of the running epoch that are done

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self.batches = 0

    def on_train_batch_end(self, *args: object) -> None:
        self.batches += 1

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        is_due = trainer.strategy.broadcast(self.pace.is_due())  # all ranks save together
        if not is_due or self.batches < trainer.num_training_batches:
            return
        with self.pace.saving():
            if self.path is not None:
                checkpoints.make_folder(self.path)
            self.save(trainer)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if self.at_end and self.path is not None and self.batches == trainer.num_training_batches:
            checkpoints.make_folder(self.path)
            self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Saves it at ``path``.

        Args:
            trainer: that runs the training.
        """
        trainer.save_checkpoint(self.path)  # type: ignore[arg-type]


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoints as files of :mod:`cfcli.core.training.checkpoints`. Lightning's own
    writer goes through $TMPDIR, swallows permission errors and does not sync to the disk."""

    def save_checkpoint(
        self, checkpoint: State, path: str | Path, storage_options: object = None
    ) -> None:
        checkpoints.write(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> State:
        return checkpoints.read(Path(path))
