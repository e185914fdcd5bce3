"""Embedding tables spread over ranks by rows: tensor parallelism under Lightning's
ModelParallelStrategy.

All ranks take each step with the same ratings. Each looks for their vectors in its own rows, and
what the others found is added; a gradient is only of the rank's own rows
(:func:`cfcli.core.models.lookup.rows`). For Lightning and for checkpoints that any number of ranks
can read, tables are PyTorch's DTensors.
"""

import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from cfcli.core.errors import ArtifactError
from cfcli.core.models.lookup import is_spread, part_of, rows_of
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training.callbacks import Checkpoints
from cfcli.core.training.descent import Descent

TABLES = ("user_embedding.weight", "item_embedding.weight", "user_bias", "item_bias")
MANIFEST, FORMAT = "checkpoint.json", 1
DRAWN = 1 << 14  # rows at once
SENT = 1 << 22  # numbers at once, from a rank to the first
METADATA = ".metadata"  # what torch's writer calls its list of parts
PLAIN = {
    "torch": {"Size", "float32", "float64", "int32", "int64"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
}  # fmt: skip


class TensorParallel(ModelParallelStrategy):
    """Lightning's strategy for models that no rank holds whole."""

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=ranks)

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        _check(Path(checkpoint_path))
        return super().load_checkpoint(checkpoint_path, weights_only=True)


class ShardedDescent(Descent):
    """Gradient descent of a model whose tables, on the meta device until now, each rank gets a part
    of; with a second one of each, which keeps the best epoch's."""

    def configure_model(self) -> None:
        if is_spread(self.model.user_embedding.weight):
            return
        mesh = self.device_mesh["tensor_parallel"]  # type: ignore[index]
        for k, name in enumerate(TABLES if self.model.biases else TABLES[:2]):
            whole = self.model.get_parameter(name)
            place = rows_of(len(whole), mesh.get_local_rank(), mesh.size())
            part = torch.zeros(len(place), *whole.shape[1:])
            if whole.dim() > 1:
                _draw(part, place, self.model.scale, 2 * self.config.seed + k)
            table = DTensor.from_local(
                part, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride()
            )  # fmt: skip
            owner, _, attribute = name.rpartition(".")
            setattr(self.model.get_submodule(owner), attribute, nn.Parameter(table))
        self.kept = nn.Module()  # buffers, so that checkpoints have them by ranks, too
        for name, value in self.model.folded().items():
            self.kept.register_buffer(name.replace(".", "/"), torch.zeros_like(value))

    def keep(self) -> None:
        for name, value in self.model.folded().items():
            self.kept.get_buffer(name.replace(".", "/")).copy_(value)
        self.best = {name.replace("/", "."): value for name, value in self.kept.named_buffers()}

    def state(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "generator": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best = {name.replace("/", "."): value for name, value in self.kept.named_buffers()}
        self.go_on(state)


def _draw(part: Tensor, place: range, scale: float, seed: int) -> None:
    """Fills the rows ``place`` of a table with normal numbers that are the same for any number of
    ranks."""
    for block in range(place.start // DRAWN, -(-place.stop // DRAWN)):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + block)
        rows = torch.empty(DRAWN, part.shape[1]).normal_(0, scale, generator=generator)
        begin, end = max(place.start, block * DRAWN), min(place.stop, (block + 1) * DRAWN)
        part[begin - place.start : end - place.start] = rows[
            begin - block * DRAWN : end - block * DRAWN
        ]


class FolderCheckpoints(Checkpoints):
    """Saves each checkpoint, parts of all ranks, as a folder of its own, and then points to it:
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
            names.remove(METADATA)  # which a manifest, as a hidden file, may not list
            content = {"format": FORMAT, "metadata": manifests.sha256(folder / METADATA)}
            manifests.write(folder / MANIFEST, content, manifests.listing(folder, names))
            publishing.point(self.path, folder)
            for other in self.path.parent.glob("epoch-*"):
                if other != folder:
                    shutil.rmtree(other)


class _Plain(pickle.Unpickler):
    """Reads what torch's distributed checkpoints say of themselves, and makes nothing but that."""

    def find_class(self, module: str, name: str) -> Any:
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _check(path: Path) -> None:
    """Raises an ArtifactError unless a checkpoint is as it was written and, unpickled, runs no
    code."""
    manifests.refuse_shared(path.parent)
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
    """Tensors of all ranks on the first, where tables lie in files without a name in ``folder``; on
    the others, where that is None, nothing."""
    found = {}
    for name, tensor in tensors.items():
        if not is_spread(tensor):
            found[name] = tensor.cpu().numpy()
            continue
        part, place = part_of(tensor)
        if folder is None:
            _send(part)
            continue
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(
                file.fileno(), 0, 4 * tensor.numel()
            )  # a full disk is an error here, a crash later
            table = np.memmap(file, np.float32, "r+", shape=tuple(tensor.shape))
        table[place] = part.cpu().numpy()
        size = len(part)
        for rank in range(1, tensor.device_mesh.size()):
            _receive(table[size * rank : size * (rank + 1)].reshape(-1), rank, part.device)
        found[name] = table
    return found


def _send(part: Tensor) -> None:
    flat = part.reshape(-1)
    for begin in range(0, len(flat), SENT):
        dist.send(flat[begin : begin + SENT].contiguous(), 0)


def _receive(into: NDArray[np.float32], rank: int, device: torch.device) -> None:
    for begin in range(0, len(into), SENT):
        piece = torch.empty(min(SENT, len(into) - begin), device=device)
        dist.recv(piece, rank)
        into[begin : begin + SENT] = piece.cpu().numpy()
