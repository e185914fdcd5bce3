"""Who may change what is read: a model must not be the work of just anyone on the machine."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cfcli.core.errors import ArtifactError
from cfcli.core.storage import publishing

TRUST = "CFCLI_ALLOW_WORLD_WRITABLE"
UNKNOWN = 65534  # the owner that is shown where the system cannot tell: in containers, on NFS


def refuse_shared(path: Path) -> None:
    """Refuse a file or folder whose content may be anyone's.

    Args:
        path: of an artifact, or of a file of one.

    Raises:
        ArtifactError: anyone on this machine may change what is in it.
        OSError: it cannot be looked at.
    """
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _refuse(path, "anyone on this machine may change it", "chmod o-w")


def refuse_strangers(path: Path, store: Path) -> None:
    """Refuse a path into a store if someone else may change where it leads.

    Those who may are root, the user of this process, the owner of the store, and groups. For root,
    who works in folders of others in many a container, also the owners of the folders above.

    Args:
        path: of the store or of something in it.
        store: its folder.

    Raises:
        ArtifactError: a folder on the way may be written by anyone, or belongs to another user.
        MachineError: it cannot be looked at.
    """
    own, places = {0, os.geteuid()}, [store]
    if os.geteuid() == 0:
        places += [*store.absolute().parents, *store.resolve().parents]
    with publishing.machine_errors(path):
        trusted = own | {UNKNOWN} | {place.stat().st_uid for place in places}
        for place in _way(path.absolute()):
            above, owner = place.parent.stat().st_mode, place.lstat().st_uid
            if above & stat.S_IWOTH:  # sticky: who comes first may take a name
                is_strange = owner not in own
            else:
                is_strange = owner not in trusted and not above & stat.S_IWGRP
            if is_strange:
                _refuse(place, f"belongs to user {owner}, who may change it", "chown -h $USER")
            if place.is_dir():
                refuse_shared(place)


def _way(path: Path) -> Iterator[Path]:
    """All folders and links that decide what an absolute path leads to, as far as it does."""
    for place in (*reversed(path.parents), path):
        if not place.exists():
            return
        yield place
        if place.is_symlink():
            yield from _way(place.parent / place.readlink())


def _refuse(path: Path, why: str, command: str) -> None:
    if not os.environ.get(TRUST):
        raise ArtifactError(
            f"{path} (mode {stat.S_IMODE(path.stat().st_mode):04o}): {why}: '{command} {path}' if "
            f"what is in it can be trusted (where that has no effect, set {TRUST}=1)"
        )
