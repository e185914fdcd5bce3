"""A store: the folder of a model that is trained again and again.

- ``current`` -> ``runs/000012-3fa9c1d2``: what readers use; always whole and verified, replaced in
  one step.
- ``runs``: runs by number. Each has a ``gate.json``: what was decided about it, and why.
- ``data``: the dataset that the newest run was trained on.
- ``.lock``: whoever writes here holds it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cfcli.core.errors import ArtifactError, ConfigError, StaleError
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import Verdict, amend_gate, gate_of
from cfcli.core.storage import publishing, trust
from cfcli.core.storage.schema import inline

NAME = re.compile(r"\d{6,}-\w+")  # of a run; what else lies there is not the store's


@dataclass(frozen=True)
class StoredRun:
    """A run in a store.

    Attributes:
        run: its name.
        verdict: what was decided about it; None where nothing was yet.
    """

    run: str
    verdict: Verdict | None = inline()


@dataclass(frozen=True)
class StoreStatus:
    """What is in use in a store, and what became of its runs.

    Attributes:
        store: its folder.
        current: name of the run that is in use.
        created: when that was trained, in UTC, as ISO 8601 has it.
        age_seconds: since then.
        refused_since: how many runs are newer.
        runs: all runs, the oldest first.
    """

    store: Path
    current: str
    created: str
    age_seconds: int
    refused_since: int
    runs: list[StoredRun]


@dataclass(frozen=True)
class RolledBack:
    """Two runs that changed places.

    Attributes:
        run: that is in use now.
        previous: that was in use before.
    """

    run: Path
    previous: Path


@dataclass(frozen=True)
class Store:
    """A store on disk.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def data(self) -> Path:
        """Where its dataset is."""
        return self.path / "data"

    @contextmanager
    def locked(self, wait: float = 0) -> Iterator[None]:
        """Held by whoever changes anything; see :func:`cfcli.core.storage.publishing.lock`.

        Args:
            wait: seconds to wait for another process.

        Raises:
            ArtifactError: others may change what is in the store.
            ConfigError: its path is not UTF-8.
            LockedError: another process still holds it after ``wait`` seconds.
        """
        publishing.refuse_odd(self.path.resolve())
        with publishing.lock(self.path / ".lock", wait):
            trust.refuse_strangers(self.path / "current", self.path)
            yield

    def runs(self) -> list[Path]:
        """All whole runs, the oldest first: by number, so that a clock that jumps changes
        nothing."""
        found = (self.path / "runs").glob("[0-9]*")
        return sorted(path for path in found if NAME.fullmatch(path.name) and path.is_dir())

    def published(self) -> Iterator[Path]:
        """The runs that were published and not taken back, the newest first."""
        for run in reversed(self.runs()):
            verdict = gate_of(run)
            if verdict and verdict.published:
                yield run

    def current(self) -> Path | None:
        """The run that is in use, by its own name: the pointer may move while it is read. However
        it points there, the path is the one that :meth:`runs` has.

        Raises:
            ArtifactError: something else has the name of the pointer.
        """
        link = self.path / "current"
        publishing.refuse_other(link)
        if not link.is_symlink():
            return None
        target = os.path.realpath(link)
        same = (run for run in self.runs() if os.path.realpath(run) == target)
        return next(same, Path(target))

    def previous(self) -> Path | None:
        """What :meth:`rollback` goes back to: the newest run before the current one that was
        published and not taken back."""
        current = self.current()
        if current is None:
            return None
        return next((run for run in self.published() if run.name < current.name), None)

    def new_path(self, key: str) -> Path:
        """The folder of the next run.

        Args:
            key: of what it is made from; stands behind its number.
        """
        number = max((int(run.name.partition("-")[0]) for run in self.runs()), default=0) + 1
        return self.path / "runs" / f"{number:06}-{key}"

    def sweep(self, spare: Path | None = None) -> None:
        """Remove what killed processes left. Needs the lock.

        Args:
            spare: a folder to leave.
        """
        for folder in (self.path, self.path / "runs", *self.runs()):
            publishing.sweep(folder, spare)

    def publish(self, run: Path) -> None:
        """Make a run the current one, once it is found whole. Needs the lock.

        Args:
            run: its folder.

        Raises:
            ArtifactError: it or its twin is not.
        """
        _ = Run.load(run).twin
        publishing.point(self.path / "current", run)

    def recover(self) -> None:
        """Publish the newest run if whoever was to do so was killed after the verdict."""
        newest = next(reversed(self.runs()), None)
        if newest and newest != self.current() and newest == next(self.published(), None):
            with suppress(ArtifactError):  # what is no longer whole stays where it is
                self.publish(newest)

    def rollback(self, to: str | None = None, wait: float = 0) -> RolledBack:
        """Make the previous run the current one, or any other.

        Args:
            to: its name; it may have been refused. By default the previous run.
            wait: seconds to wait for another process that works in the store.

        Raises:
            ArtifactError: there is none, or it is damaged.
            ConfigError: no run has that name.
            LockedError: another process works in the store.
        """
        if self.current() is None:
            raise ArtifactError(f"{self.path}: nothing is published there")
        with self.locked(wait):
            current = self.current()
            assert current is not None
            if to is None:
                run = self.previous()
                if run is None:
                    raise ArtifactError(f"{self.path}: no earlier run to go back to")
            else:
                named = {run.name: run for run in self.runs()}
                if Path(to).name not in named:
                    raise ConfigError(f"{self.path}: no run '{to}'; there are {', '.join(named)}")
                run = named[Path(to).name]
            _ = Run.load(run).twin
            if run != current:
                # First, so that nobody publishes it again.
                amend_gate(current, published=False, reason=f"rolled back to {run.name}")
                amend_gate(run, published=True, reason=f"in use again, instead of {current.name}")
                publishing.point(self.path / "current", run)
            return RolledBack(run, current)

    def prune(self, keep: int) -> list[Path]:
        """Remove all runs but the newest, the current and the previous one. Needs the lock.

        Args:
            keep: how many of the newest to keep.

        Returns:
            The folders that were removed.
        """
        kept = {*self.runs()[-keep:], self.current(), self.previous()}
        gone = [run for run in self.runs() if run not in kept]
        for run in gone:
            publishing.discard(run)
        return gone

    def status(self) -> StoreStatus:
        """What is in use, how old it is, and what was decided about all runs.

        Raises:
            ArtifactError: nothing is published, or what is is damaged.
        """
        current = self.current()
        if current is None:
            raise ArtifactError(
                f"{self.path}: nothing is published there; "
                f"'cfcli retrain RATINGS --store {self.path}'"
            )
        trust.refuse_strangers(self.path / "current", self.path)
        created = Run.load(current).info.created
        age = datetime.now(UTC) - datetime.fromisoformat(created)
        runs = self.runs()
        return StoreStatus(
            store=self.path,
            current=current.name,
            created=created,
            age_seconds=round(age.total_seconds()),
            refused_since=sum(run.name > current.name for run in runs),
            runs=[StoredRun(run.name, gate_of(run)) for run in runs],
        )


def check_age(status: StoreStatus, limit: float) -> None:
    """Check that the run in use is not too old.

    Args:
        status: of the store.
        limit: the highest age, in seconds.

    Raises:
        StaleError: it is older, or so far ahead of the clock, which was put back then.
    """
    age = status.age_seconds
    if abs(age) > limit:
        how = f"{hours(age)} old" if age > 0 else f"from {hours(-age)} ahead of the clock"
        raise StaleError(f"{status.store}: {status.current} is {how}, more than {hours(limit)}")


def hours(seconds: float) -> str:
    """A time as people say it.

    Args:
        seconds: the time.
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"
