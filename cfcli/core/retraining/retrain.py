"""A night's work: prepare, train, compare with the model in use, publish or refuse."""

import contextlib
import hashlib
import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import as_dict
from cfcli.core.config.train import Refit, TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import PlainConfig
from cfcli.core.errors import ArtifactError, ConfigError, MachineError
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair
from cfcli.core.retraining import gate
from cfcli.core.retraining.gate import Comparison, Policy
from cfcli.core.retraining.night import Night, Status
from cfcli.core.retraining.store import Store
from cfcli.core.runs import train as fitting
from cfcli.core.runs import warm_start
from cfcli.core.runs.run import CHECKPOINT, Run
from cfcli.core.runs.verdict import Findings, Verdict, gate_of, now, write_gate
from cfcli.core.storage import publishing
from cfcli.core.training.epochs import Progress
from cfcli.version import __version__

SPLIT = ("split", "seed", "val_size", "test_size")
MANY_NEW = 0.2  # of the users or items: then no vectors are kept


def retrain(
    sources: Sequence[Source],
    store: Store,
    prepare: PrepareConfig,
    train: TrainConfig,
    policy: Policy,
    *,
    items: Source | None = None,
    users: Source | None = None,
    wait: float = 0,
    accept_shrink: bool = False,
    progress: Progress | None = None,
) -> Night:
    """Train a model on all ratings and publish it in the store if it is as good as the one in use.

    Both are judged by the test rows of tonight that neither was trained on; the ``hash`` split
    holds the same pairs out every night. A run that was trained on these, too, is judged by its
    twin, which was not and from which the next night goes on.

    Args:
        sources: the ratings.
        store: where to publish.
        prepare: how to make the dataset.
        train: how to train.
        policy: when to publish, and what to keep.
        items: titles, genres and other attributes.
        users: attributes, as :func:`cfcli.core.data.prepare.prepare` takes them.
        wait: seconds to wait for another process that works in the store.
        accept_shrink: go on though most of last night's rows or ids are gone, or ratings are on
            another scale.
        progress: hears of every batch and epoch.

    Raises:
        ConfigError: several processes are asked for, another split than ``hash``, or no test rows.
        InputError: the ratings cannot be used, or are far fewer than last night's.
        LockedError: another process works in the store.
        MachineError: no permission, no space.
        GateError: the loss diverged.
        StoppedError: a signal; the next call goes on where this one stopped.
    """
    train.refuse_ranks("retrain")
    if prepare.split != "hash":
        raise ConfigError(
            "retrain needs --split hash: in any other, rows to judge by were trained on the night "
            "before"
        )
    if not prepare.test_size:
        raise ConfigError("test_size: 0 leaves no rows to judge by")
    begin = time.perf_counter()
    usual: Refit = "val" if train.why_no_refit else "all"
    train = replace(train, refit=train.refit or usual)
    with store.locked(wait):
        store.recover()
        dataset, notes = preparation.prepare(
            sources,
            store.data,
            prepare,
            items=items,
            users=users,
            force=True,
            accept_shrink=accept_shrink,
        )
        champion = next(_in_use(store), None)
        work = Retraining(store, prepare, train, policy, dataset, champion, progress)
        night = work.night(notes)
        store.sweep()
        removed = [run.name for run in store.prune(policy.keep)]
    return replace(night, removed=removed, seconds=round(time.perf_counter() - begin, 3))


@dataclass(frozen=True)
class Retraining:
    """The work of one night, once its dataset is made. Needs the lock of the store.

    Attributes:
        store: where to publish.
        prepare: how the dataset was made.
        train: how to train.
        policy: when to publish, and what to keep.
        dataset: to train on.
        champion: the newest run of those in use and in use before that is whole, with its twin.
        progress: hears of every batch and epoch.
    """

    store: Store
    prepare: PrepareConfig
    train: TrainConfig
    policy: Policy
    dataset: Dataset
    champion: Run | None
    progress: Progress | None

    @cached_property
    def key(self) -> str:
        """Of all that decides what comes out: the same key, the same outcome."""
        parts = [
            self.dataset.info.fingerprint,
            as_dict(self.train),
            self.policy.tolerance,
            self.policy.tolerance_lists,
            self.policy.min_gain_over,
            __version__,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    @cached_property
    def new(self) -> Pair[int]:
        """How many users and items of the dataset the champion does not know."""
        if self.champion is None:
            return self.dataset.info.counts
        rows = warm_start.rows_of(self.champion, self.dataset)
        return rows.map(lambda index: index.null_count())

    def night(self, notes: list[str]) -> Night:
        """Train, judge and publish, unless all is as it was the night before.

        Args:
            notes: on the input.
        """
        previous = self.store.current()
        run = self._newest_with_key()
        verdict = gate_of(run) if run else None
        if run and verdict and self._current_is_whole():
            outcome = "published" if verdict.published else f"refused: {verdict.reason}"
            reason = f"nothing changed since {run.name}, which was {outcome}"
            return self._report("unchanged", run, previous, reason, None, Findings(), notes)
        start = None
        if run is None or verdict:  # else whoever trained it was killed before the verdict
            why = self.why_full()
            start = f"full: {why}" if why else "warm"
            run = self._train(warm=not why)
        decided = self.decide(run)
        status: Status = "refused" if decided.reason else "published"
        return self._report(status, run, previous, decided.reason, start, decided.found, notes)

    def why_full(self) -> str:
        """Why the training is to begin anew, or an empty text."""
        if self.champion is None:
            return "nothing is published yet"
        reason = warm_start.mismatch(self.champion, self.train, self.dataset)
        if reason:
            return f"the run in use {reason}"
        verdict = gate_of(self.champion.path)
        if verdict is None or verdict.split != self._split():
            return "rows are split otherwise"
        before = self.champion.info.warm_start
        generation = before.generation if before else 0
        if generation + 1 >= self.policy.full_every:
            return f"every {self.policy.full_every} trainings"
        for what, n, total in zip(
            ("users", "items"), self.new, self.dataset.info.counts, strict=True
        ):
            if n > MANY_NEW * total:
                return f"{n:,} {what} are new"
        if self.store.runs()[-1].name != self.champion.path.name:
            return "the newest run is not the one in use"
        return ""

    def decide(self, path: Path) -> Comparison:
        """Judge the new run, read back from the disk; record the verdict and act on it.

        Args:
            path: its folder.
        """
        earlier = itertools.islice(_in_use(self.store), 1, min(self.policy.keep, sys.maxsize))
        new = Run.load(path)
        compared = gate.compare(new, self.champion, earlier, self.dataset, self.policy)
        previous = self.store.current()
        verdict = Verdict(
            decided=now(),
            published=not compared.reason,
            reason=compared.reason,
            key=self.key,
            split=self._split(),
            previous=previous.name if previous else None,
            tolerance=self.policy.tolerance,
            tolerance_lists=self.policy.tolerance_lists,
            min_gain_over=self.policy.min_gain_over,
            **vars(compared.found),
        )
        write_gate(path, verdict)
        if verdict.published:
            self.store.publish(path)
        return compared

    def _newest_with_key(self) -> Path | None:
        """The newest run, if it was made from all that there is tonight."""
        runs = self.store.runs()
        return runs[-1] if runs and runs[-1].name.endswith(f"-{self.key}") else None

    def _current_is_whole(self) -> bool:
        """Whether the run in use, if any, is not damaged."""
        current = self.store.current()
        if current is None:
            return self.champion is None
        return self.champion is not None and self.champion.path.name == current.name

    def _train(self, *, warm: bool) -> Path:
        """The new run."""
        config = self.train
        if warm and self.champion:
            dim = self.champion.info.dim if config.dim == "auto" else config.dim
            config = replace(config, warm_start=str(self.champion.path), dim=dim)
        path = self.store.new_path(self.key)
        left = publishing.staging_of(path)
        resume = None
        if (left / CHECKPOINT).exists() and publishing.is_own(left):
            resume = left / CHECKPOINT
        self.store.sweep(spare=left if resume else None)
        self._check_space()
        fitting.train(
            self.dataset, config, path, self.progress, resume=resume, keep=True, whole=True
        )
        return path

    def _check_space(self) -> None:
        """Raises a MachineError where the disk is too full for another run."""
        if self.champion is None:
            return
        files = [path for path in self.champion.path.rglob("*") if path.is_file()]
        needed = 2 * sum(path.stat().st_size for path in files)
        if shutil.disk_usage(self.store.path).free < needed:
            raise MachineError(
                f"{self.store.path}: no space left on device: a run may need {needed >> 20:,} MB"
            )

    def _split(self) -> PlainConfig:
        """The settings that rows are split by."""
        return {name: getattr(self.prepare, name) for name in SPLIT}

    def _report(
        self,
        status: Status,
        run: Path,
        previous: Path | None,
        reason: str,
        start: str | None,
        found: Findings,
        notes: list[str],
    ) -> Night:
        info = self.dataset.info
        return Night(
            status=status,
            published=status == "published",
            run=run,
            previous=previous,
            reason=reason,
            start=start,
            new_users=self.new.user,
            new_items=self.new.item,
            ratings=info.ratings,
            users=info.users,
            items=info.items,
            fingerprint=info.fingerprint,
            rejected=sum(info.rejected.values()),
            notes=notes,
            **vars(found),
        )


def _in_use(store: Store) -> Iterator[Run]:
    """The run in use and then those that were before it, the newest first, as far as they are
    whole; none where nothing is in use."""
    current = store.current()
    if current is None:
        return
    for path in [current, *(run for run in store.published() if run != current)]:
        with contextlib.suppress(ArtifactError):
            run = Run.load(path)
            _ = run.twin  # by which it is judged
            yield run
