"""A store: the folder of a model that is trained again and again, and of the pointer to the run
that is in use.

current -> runs/000012-3fa9c1d2    what readers use; always whole and verified, replaced in one step
runs/                              runs by number; each has a ``gate.json``: what was decided about
it, and why data/                              the dataset that the newest was trained on .lock
who writes here holds it
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cfcli.core.errors import ArtifactError, ConfigError, StaleError
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import amend_gate, gate_of
from cfcli.core.storage import publishing


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

        Raises:
            LockedError: another process still holds it after ``wait`` seconds.
        """
        with publishing.lock(self.path / ".lock", wait):
            yield

    def runs(self) -> list[Path]:
        """All whole runs, the oldest first: by number, so that a clock that jumps changes
        nothing."""
        return sorted(path for path in (self.path / "runs").glob("[0-9]*-*") if path.is_dir())

    def published(self) -> Iterator[Path]:
        """The runs that were published and not taken back, the newest first."""
        return (
            run for run in reversed(self.runs()) if (gate := gate_of(run)) and gate["published"]
        )

    def current(self) -> Path | None:
        """The run that is in use, by its own name: the pointer may move while it is read."""
        link = self.path / "current"
        return self.path / link.readlink() if link.is_symlink() else None

    def previous(self) -> Path | None:
        """What :meth:`rollback` goes back to: the newest run before the current one that was
        published and not taken back."""
        current = self.current()
        return next((run for run in self.published() if current and run.name < current.name), None)

    def new_path(self, key: str) -> Path:
        """The folder of the next run: a number, and ``key``, that of what it is made from."""
        number = max((int(run.name.partition("-")[0]) for run in self.runs()), default=0) + 1
        return self.path / "runs" / f"{number:06}-{key}"

    def sweep(self, spare: Path | None = None) -> None:
        """Clears what killed processes left, but for ``spare``. Needs the lock."""
        for folder in (self.path, self.path / "runs", *self.runs()):
            publishing.sweep(folder, spare)

    def publish(self, run: Path) -> None:
        """Makes a run the current one, once it is found whole. Needs the lock.

        Raises:
            ArtifactError: it is not.
        """
        Run.load(run)
        publishing.point(self.path / "current", run)

    def recover(self) -> None:
        """Publishes the newest run if whoever was to do so was killed between the verdict and the
        deed."""
        newest = next(reversed(self.runs()), None)
        if newest and newest != self.current() and newest == next(self.published(), None):
            with suppress(ArtifactError):  # what is no longer whole stays where it is
                self.publish(newest)

    def rollback(self, to: str | None = None, wait: float = 0) -> tuple[Path, Path]:
        """Makes the previous run the current one, or any other by its name, also one that was
        refused.

        Args:
            wait: seconds to wait for another process that works in the store.

        Returns:
            The run that is in use now, and the one that was.

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
            Run.load(run)
            if run != current:
                # First, so that nobody publishes it again.
                amend_gate(current, published=False, reason=f"rolled back to {run.name}")
                amend_gate(run, published=True, reason=f"in use again, instead of {current.name}")
                publishing.point(self.path / "current", run)
            return run, current

    def prune(self, keep: int) -> list[Path]:
        """Removes all runs but the newest ``keep``, the current and the previous one; returns those
        removed. Needs the lock."""
        kept = {*self.runs()[-keep:], self.current(), self.previous()}
        gone = [run for run in self.runs() if run not in kept]
        for run in gone:
            publishing.discard(run)
        return gone

    def status(self) -> dict[str, Any]:
        """What is in use, how old it is, and what was decided about all runs.

        Raises:
            ArtifactError: nothing is published, or what is is damaged.
        """
        current = self.current()
        if current is None:
            raise ArtifactError(
                f"{self.path}: nothing is published there; 'cfcli retrain RATINGS --store {self.path}'"
            )
        info = Run.load(current).info
        age = (datetime.now(UTC) - datetime.fromisoformat(info["created"])).total_seconds()
        runs = [{"run": run.name, **(gate_of(run) or {})} for run in self.runs()]
        return {
            "store": str(self.path), "current": current.name, "created": info["created"], "age_seconds": round(age),
            "refused_since": sum(run.name > current.name for run in self.runs()), "runs": runs,
        }  # fmt: skip


def check_age(state: dict[str, Any], limit: float) -> None:
    """Raises a StaleError when the run in use, of a :meth:`Store.status`, is older than ``limit``
    seconds."""
    if (age := state["age_seconds"]) > limit:
        raise StaleError(
            f"{state['store']}: {state['current']} is {hours(age)} old, more than {hours(limit)}"
        )


def hours(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"
