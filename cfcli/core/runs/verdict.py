"""What was decided about a run, kept beside it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cfcli.core.errors import ArtifactError
from cfcli.core.storage import manifests
from cfcli.core.storage.schema import check

FORMAT = 1
GATE = "gate.json"
SCHEMA = {"published": bool, "reason": str, "key": str, "decided": str}


def gate_of(run: Path) -> dict[str, Any] | None:
    """What was decided about a run, None where nothing was yet; a damaged record says that it
    is."""
    if not (run / GATE).exists():
        return None
    try:
        return read_gate(run)
    except ArtifactError as error:
        return {"published": False, "reason": str(error), "key": "", "decided": ""}


def read_gate(run: Path) -> dict[str, Any]:
    """What was decided about a run.

    Raises:
        ArtifactError: nothing was, or the record is damaged.
    """
    content = manifests.read(run / GATE, "verdict", FORMAT)
    check(run / GATE, content, SCHEMA)
    return content


def write_gate(run: Path, **content: Any) -> None:
    """Records what was decided about a run."""
    manifests.write(run / GATE, {"format": FORMAT, "decided": now()} | content, {})


def amend_gate(run: Path, **changes: Any) -> None:
    write_gate(run, **{"key": "", **(gate_of(run) or {}), **changes, "decided": now()})


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
