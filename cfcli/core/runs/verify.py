"""Whether an artifact is, to the last byte, what its manifest says."""

from pathlib import Path
from typing import Any

from cfcli.core.data import dataset
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.splits import NAMES
from cfcli.core.errors import ArtifactError
from cfcli.core.runs import run as runs
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import GATE, read_gate
from cfcli.core.storage import manifests


def verify(path: Path, expected: str | None = None) -> dict[str, Any]:
    """Reads all of a run, or of a dataset.

    Args:
        expected: sha256 of its manifest, which stands for all files: integrity against what was
            noted elsewhere.

    Returns:
        ``path``, ``kind``, ``files``, ``bytes``, and the manifest's ``sha256``.

    Raises:
        ArtifactError: anything in it is not as its manifest says, or its manifest is not
            ``expected``.
    """
    path = path.resolve()
    if (path / dataset.MANIFEST).exists():
        kind, manifest = "dataset", path / dataset.MANIFEST
        data = Dataset.load(path)
        info = data.info
        _ = data.users, data.items, [data.split(name) for name in NAMES]
    else:
        kind, manifest = "run", path / runs.MANIFEST
        run = Run.load(path)
        info = run.info
        if runs.SEEN in info["files"]:
            run.seen_pairs()
        if runs.SAMPLES in info["files"]:
            _ = run.samples
        if (path / GATE).exists():
            read_gate(path)
    digest = manifests.sha256(manifest)
    if expected and digest != expected.lower():
        raise ArtifactError(f"{manifest}: its sha256 is {digest}, not {expected}")
    sizes = [entry["bytes"] for entry in info["files"].values()]
    return {
        "path": str(path),
        "kind": kind,
        "files": len(sizes),
        "bytes": sum(sizes),
        "sha256": digest,
    }
