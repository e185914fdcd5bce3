"""Training a model whose tables are spread over ranks: tensor parallelism under Lightning's
ModelParallelStrategy, and checkpoints that any number of ranks can read.

:mod:`cfcli.core.training.distributed.tables` has the tables themselves.
"""

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn

from cfcli.core.errors import ArtifactError
from cfcli.core.storage import manifests, publishing, trust
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training.callbacks import Checkpoints
from cfcli.core.training.checkpoints import State
from cfcli.core.training.descent import Descent
from cfcli.core.training.distributed.tables import ShardedFactors, is_sharded, part_of, shard

MANIFEST, FORMAT = "checkpoint.json", 1
SENT = 1 << 22  # numbers that a rank sends to the first at once
METADATA = ".metadata"  # the name that torch's writer gives to its list of parts
# What that list may consist of: plain values, nothing that runs code.
PLAIN = {
    "torch": {"Size", "float32", "float64", "int32", "int64"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
}  # fmt: skip


class TensorParallel(ModelParallelStrategy):
    """Lightning's strategy for models that no rank holds whole."""

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=ranks)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> State:
        _check(Path(checkpoint_path))
        return super().load_checkpoint(checkpoint_path, weights_only=True)


class ShardedDescent(Descent):
    """Gradient descent of a model whose tables each rank gets a part of; they are on the meta
    device until then. A second one of each table keeps the best epoch's."""

    def configure_model(self) -> None:
        if isinstance(self.model, ShardedFactors):
            return
        mesh = self.device_mesh["tensor_parallel"]  # type: ignore[index]
        shard(self.model, mesh, self.config.seed)
        # Buffers, so that checkpoints hold them by ranks, too. Their names may have no dots.
        self.kept = nn.Module()
        for name, value in self.model.folded().items():
            self.kept.register_buffer(name.replace(".", "/"), torch.zeros_like(value))

    def keep(self) -> None:
        for name, value in self.model.folded().items():
            self.kept.get_buffer(name.replace(".", "/")).copy_(value)
        self.best = self._kept_tensors()

    def _kept_tensors(self) -> dict[str, Tensor]:
        return {name.replace("/", "."): value for name, value in self.kept.named_buffers()}

    def state(self) -> State:
        return {"best_epoch": self.best_epoch, "generator": torch.get_rng_state()}

    def load_state(self, state: State) -> None:
        self.best = self._kept_tensors()
        self.go_on(state)


class FolderCheckpoints(Checkpoints):
    """Saves each checkpoint, the parts of all ranks, as a folder of its own, and then points to it:
    torch's own writer would overwrite the last one bit by bit."""

    def save(self, trainer: lightning.Trainer) -> None:
        folder = self.path.with_name(f"epoch-{trainer.current_epoch + 1}") if self.path else None
        trainer.save_checkpoint(folder)  # type: ignore[arg-type]
        if self.path is None or folder is None:
            return
        with machine_errors(folder):
            names = sorted(path.name for path in folder.iterdir())
            for name in names:
                publishing.sync(folder / name)
            names.remove(METADATA)  # a hidden file, which a manifest may not list
            content = {"format": FORMAT, "metadata": manifests.sha256(folder / METADATA)}
            manifests.write(folder / MANIFEST, content, manifests.listing(folder, names))
            publishing.point(self.path, folder)
            for other in self.path.parent.glob("epoch-*"):
                if other != folder:
                    shutil.rmtree(other)


class _Plain(pickle.Unpickler):
    """Reads what torch's distributed checkpoints say about themselves, and makes nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _check(path: Path) -> None:
    """Raises an ArtifactError unless a checkpoint is as it was written and, unpickled, runs no
    code."""
    trust.refuse_shared(path.parent)
    content = manifests.read(path / MANIFEST, "checkpoint", FORMAT)
    try:
        if manifests.sha256(path / METADATA) != content.get("metadata"):
            raise ArtifactError(
                f"{path / METADATA}: damaged: its checksum is not the one in {MANIFEST}"
            )
        with (path / METADATA).open("rb") as file:
            _Plain(file).load()
    except (
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        ImportError,
        IndexError,
        OSError,
        ValueError,
    ) as error:
        raise ArtifactError(f"{path}: damaged: not a checkpoint ({error})") from None


def gathered(tensors: dict[str, Tensor], folder: Path | None) -> dict[str, NDArray[np.float32]]:
    """Collects the parts of all ranks on the first one.

    Args:
        tensors: by name; those in parts are asked for by all ranks in the same order.
        folder: where the first rank keeps whole tables, in files without a name; None on the
            others.

    Returns:
        The tensors by name. On ranks but the first, those in parts are left out.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, tensor in tensors.items():
        if not is_sharded(tensor):
            found[name] = tensor.cpu().numpy()
            continue
        part, place = part_of(tensor)
        if folder is None:
            _send(part)
            continue
        with tempfile.TemporaryFile(dir=folder) as file:
            # A full disk is an error here, and would be a crash later.
            os.posix_fallocate(file.fileno(), 0, 4 * tensor.numel())
            table = np.memmap(file, np.float32, "r+", shape=tuple(tensor.shape))
        table[place] = part.cpu().numpy()
        size = len(part)
        for rank in range(1, tensor.device_mesh.size()):
            _receive(table[size * rank : size * (rank + 1)].reshape(-1), rank, part.device)
        found[name] = table
    return found


def _send(part: Tensor) -> None:
    """Sends a part of a table to the first rank, piece by piece."""
    flat = part.reshape(-1)
    for begin in range(0, len(flat), SENT):
        dist.send(flat[begin : begin + SENT].contiguous(), 0)


def _receive(into: NDArray[np.float32], rank: int, device: torch.device) -> None:
    """Fills an array with the part that a rank sends."""
    for begin in range(0, len(into), SENT):
        piece = torch.empty(min(SENT, len(into) - begin), device=device)
        dist.recv(piece, rank)
        into[begin : begin + SENT] = piece.cpu().numpy()
