"""Check that all files of an artifact match its manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cfcli.core.data import dataset
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.splits import NAMES
from cfcli.core.errors import ArtifactError
from cfcli.core.runs import run as runs
from cfcli.core.runs.run import TWIN, Run
from cfcli.core.runs.verdict import GATE, read_gate
from cfcli.core.storage import manifests
from cfcli.core.storage.manifests import File


@dataclass(frozen=True)
class Verification:
    """An artifact whose files all match its manifest.

    Attributes:
        path: its folder.
        kind: what it is.
        files: how many files its manifest lists.
        bytes: their sizes together.
        sha256: of the manifest.
    """

    path: Path
    kind: Literal["dataset", "run"]
    files: int
    bytes: int
    sha256: str


def verify(path: Path, expected: str | None = None) -> Verification:
    """Read all of a run or a dataset.

    Args:
        path: its folder.
        expected: the SHA-256 of its manifest as it was noted elsewhere. The manifest stands for
            all files.

    Raises:
        ArtifactError: a file does not match the manifest, or the manifest is not the expected one.
    """
    path = path.resolve()
    if (path / dataset.MANIFEST).exists():
        return _verified(path, "dataset", dataset.MANIFEST, _read_dataset(path), expected)
    return _verified(path, "run", runs.MANIFEST, _read_run(path), expected)


def _read_dataset(path: Path) -> dict[str, File]:
    """Reads all of a dataset; returns the files that it lists."""
    found = Dataset.load(path)
    _ = found.users, found.items
    for name in NAMES:
        found.split(name)
    return found.info.files


def _read_run(path: Path) -> dict[str, File]:
    """Reads all of a run and its twin; returns the files that both list."""
    found = Run.load(path)
    if runs.SEEN in found.info.files:
        found.seen_pairs()
    _ = found.interest
    if runs.SAMPLES in found.info.files:
        _ = found.samples
    if (path / GATE).exists():
        read_gate(path)
    files = dict(found.info.files)
    if found.twin is not None:
        twin = {f"{TWIN}/{name}": file for name, file in _read_run(found.twin.path).items()}
        files |= {
            f"{TWIN}/{runs.MANIFEST}": manifests.file_of(found.twin.path / runs.MANIFEST),
            **twin,
        }
    return files


def _verified(
    path: Path,
    kind: Literal["dataset", "run"],
    manifest: str,
    files: dict[str, File],
    expected: str | None,
) -> Verification:
    digest = manifests.sha256(path / manifest)
    if expected and digest != expected.lower():
        raise ArtifactError(f"{path / manifest}: its sha256 is {digest}, not {expected}")
    size = sum(file.bytes for file in files.values())
    return Verification(path, kind, len(files), size, digest)
