"""What Lightning's Trainer does beside training: stopping on signals, and checkpoints that can be
trusted."""

import contextlib
import hashlib
import io
import signal
import time
from pathlib import Path
from typing import IO, Any, cast

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from cfcli.core.errors import ArtifactError
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training.distributed import collectives

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGHUP the fit ends after the running batch, on all ranks, whichever
    got it; a second signal kills at once. Lightning's own handler would end a process with exit
    code 0 on SIGTERM, and hang several.

    Args:
        ranks: how many there are. With several, a signal that comes while they find each other
            waits for the training, also in those that are still to be started, which inherit that.
    """

    received = 0  # by any rank
    noted = 0  # by this one
    started = False

    def __init__(self, ranks: int = 1) -> None:
        self.ranks = ranks

    def __enter__(self) -> None:
        # Before Lightning puts its own in their place: those must not come back when the fit is
        # over.
        self._former = {number: signal.getsignal(number) for number in SIGNALS}
        if self.ranks > 1:
            self._install()
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def __exit__(self, *args: object) -> None:
        for number, handler in self._former.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self.started = True
        self._install()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _install(self) -> None:
        for number in SIGNALS:
            with contextlib.suppress(
                ValueError
            ):  # not in the main thread: signals are not ours to take
                signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if self.noted:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.noted = number

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        self.received = collectives.largest(self.noted, trainer.strategy.root_device)
        if self.received:
            trainer.should_stop = True


class Checkpoints(Checkpoint):
    """Saves a checkpoint when an epoch ends that ran to its end, seldom enough to cost a twentieth
    of the time.

    Args:
        path: for it; None on ranks but the first, which writes for all.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.next = path, 0.0

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        begin = time.monotonic()
        due = trainer.strategy.broadcast(begin >= self.next)  # all ranks save together
        if not due or batches < trainer.num_training_batches:
            return
        if self.path is not None:
            with machine_errors(self.path):
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.save(trainer)
        end = time.monotonic()
        self.next = end + 20 * (end - begin)

    def save(self, trainer: lightning.Trainer) -> None:
        """Saves it at ``path``."""
        trainer.save_checkpoint(self.path)  # type: ignore[arg-type]


class _Hashed:
    """A stream to write to, and the sha256 of what was written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.sha256, self.flush = stream, hashlib.sha256(), stream.flush

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.stream.write(data)


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoints, written as all files are and with their sha256 as the last bytes:
    Lightning's own writer goes through $TMPDIR, swallows permission errors and leaves torn
    files."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with publishing.file(Path(path)) as stream:
            hashed = _Hashed(stream)
            try:
                torch.save(checkpoint, cast(IO[bytes], hashed))
            except RuntimeError as error:
                if isinstance(
                    error.__context__, OSError
                ):  # which torch's writer makes an assertion of its own of
                    raise error.__context__ from None
                raise
            stream.write(hashed.sha256.digest())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        with machine_errors(Path(path)):
            manifests.refuse_shared(Path(path).parent)
            manifests.plain_size(Path(path))
            content = Path(path).read_bytes()
        size = hashlib.sha256().digest_size
        if hashlib.sha256(memoryview(content)[:-size]).digest() != content[-size:]:
            raise ArtifactError(f"{path}: damaged: not as it was written")
        return dict(torch.load(io.BytesIO(content[:-size]), map_location="cpu", weights_only=True))
