"""A night's work: prepare, train, compare with the model in use, publish or refuse."""

import contextlib
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cfcli
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import as_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, ConfigError, MachineError
from cfcli.core.inputs.sources import Source
from cfcli.core.retraining import gate
from cfcli.core.retraining.gate import Policy
from cfcli.core.retraining.store import Store
from cfcli.core.runs import train as fitting
from cfcli.core.runs import warm_start
from cfcli.core.runs.run import CHECKPOINT, Run
from cfcli.core.runs.verdict import gate_of, write_gate
from cfcli.core.storage import publishing
from cfcli.core.training.epochs import Progress

SPLIT = ("split", "seed", "val_size", "test_size")
MANY_NEW = 0.2  # of the users or items: then nothing is kept


def retrain(
    sources: Sequence[Source],
    store: Store,
    prepare: PrepareConfig,
    train: TrainConfig,
    policy: Policy,
    *,
    items: Source | None = None,
    wait: float = 0,
    accept_shrink: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains a model on ratings and publishes it in the store if it is as good as the one in use.

    Both are judged by the test rows of tonight that neither was trained on; the ``hash`` split
    holds the same pairs out every night.

    Args:
        items: titles and genres.
        wait: seconds to wait for another process that works in the store.
        accept_shrink: go on though most of last night's rows or ids are gone, or ratings are on
            another scale.

    Returns:
        ``status`` (published, refused or unchanged), ``published``, ``run``, ``previous``,
        ``reason``, ``model``, ``champion``, ``new_users``, ``new_items`` and more.

    Raises:
        InputError: the ratings cannot be used, or are far fewer than last night's.
        LockedError: another process works in the store.
        MachineError: no permission, no space.
        GateError: the loss diverged.
        StoppedError: a signal; the next call goes on where this one stopped.
    """
    train.refuse_ranks("retrain")
    if prepare.split != "hash":
        raise ConfigError(
            "retrain needs --split hash: in any other, rows to judge by were trained on the night before"
        )
    if not prepare.test_size:
        raise ConfigError("test_size: 0 leaves no rows to judge by")
    begin = time.perf_counter()
    with store.locked(wait):
        store.recover()
        dataset, notes = preparation.prepare(
            sources, store.data, prepare, items=items, force=True, accept_shrink=accept_shrink
        )
        key = _key(dataset, train, policy)
        current, champion = store.current(), next(_in_use(store), None)
        new = _new(champion, dataset)
        report: dict[str, Any] = {
            "status": "unchanged", "published": False, "run": None, "previous": current, "reason": "",
            "model": None, "champion": None, "start": None,
            **{f"new_{name}s": n for name, n in new.items()},
            **{name: dataset.info[name] for name in ("ratings", "users", "items", "fingerprint")},
            "rejected": sum(dataset.info["rejected"].values()), "notes": notes,
        }  # fmt: skip
        run = next((run for run in store.runs()[-1:] if run.name.endswith(f"-{key}")), None)
        verdict = gate_of(run) if run else None
        is_whole = (champion.path.name if champion else None) == (current.name if current else None)
        if run and verdict and is_whole:
            outcome = "published" if verdict["published"] else f"refused: {verdict['reason']}"
            report |= {
                "run": run,
                "reason": f"nothing changed since {run.name}, which was {outcome}",
            }
        else:
            if not run or verdict:  # else whoever trained it was killed before the verdict
                run, report["start"] = _train(
                    store, key, dataset, prepare, train, policy, champion, new, progress
                )
            report |= {"run": run} | _decide(store, run, key, champion, dataset, prepare, policy)
        store.sweep()
        report["removed"] = [run.name for run in store.prune(policy.keep)]
    paths = {name: str(report[name]) if report[name] else None for name in ("run", "previous")}
    return report | paths | {"seconds": round(time.perf_counter() - begin, 3)}


def _key(dataset: Dataset, train: TrainConfig, policy: Policy) -> str:
    """Of all that decides what comes out: the same key, the same outcome."""
    parts = [
        dataset.info["fingerprint"],
        as_dict(train),
        policy.tolerance,
        policy.min_gain_over,
        cfcli.__version__,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _in_use(store: Store) -> Iterator[Run]:
    """The run in use and then those that were before it, the newest first, as far as they are
    whole; none where nothing is in use."""
    if current := store.current():
        for path in [current, *(run for run in store.published() if run != current)]:
            with contextlib.suppress(ArtifactError):
                yield Run.load(path)


def _new(champion: Run | None, dataset: Dataset) -> dict[str, int]:
    """How many users and items of the dataset the champion does not know."""
    if champion is None:
        return {name: dataset.info[f"{name}s"] for name in ("user", "item")}
    return {
        name: index.null_count() for name, index in warm_start.rows_of(champion, dataset).items()
    }


def _train(
    store: Store, key: str, dataset: Dataset, prepare: PrepareConfig, train: TrainConfig, policy: Policy,
    champion: Run | None, new: dict[str, int], progress: Progress | None,
) -> tuple[Path, str]:  # fmt: skip
    """The new run, and how it began."""
    why = _why_full(store, dataset, prepare, train, policy, champion, new)
    if champion and not why:
        train = train.replace(warm_start=str(champion.path))
    path = store.new_path(key)
    left = publishing.staging_of(path)
    resume = left / CHECKPOINT if (left / CHECKPOINT).exists() else None
    store.sweep(spare=left)
    if champion and shutil.disk_usage(store.path).free < (needed := 2 * _size(champion.path)):
        raise MachineError(
            f"{store.path}: no space left on device: a run may need {needed >> 20:,} MB"
        )
    fitting.train(dataset, train, path, progress, resume=resume, keep=True, whole=True)
    return path, f"full: {why}" if why else "warm"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _why_full(
    store: Store, dataset: Dataset, prepare: PrepareConfig, train: TrainConfig, policy: Policy, champion: Run | None,
    new: dict[str, int],
) -> str:  # fmt: skip
    """Why the training is to begin anew, or an empty text."""
    if champion is None:
        return "nothing is published yet"
    if reason := warm_start.mismatch(champion, train):
        return f"the run in use {reason}"
    former = gate_of(champion.path) or {}
    if former.get("split") != _split(prepare):
        return "rows are split otherwise"
    if (champion.info["warm_start"] or {"generation": 0})["generation"] + 1 >= policy.full_every:
        return f"every {policy.full_every} trainings"
    for name, n in new.items():
        if n > MANY_NEW * dataset.info[f"{name}s"]:
            return f"{n:,} {name}s are new"
    if store.runs()[-1].name != champion.path.name:
        return "the newest run is not the one in use"
    return ""


def _split(prepare: PrepareConfig) -> dict[str, Any]:
    return {name: getattr(prepare, name) for name in SPLIT}


def _decide(
    store: Store,
    path: Path,
    key: str,
    champion: Run | None,
    dataset: Dataset,
    prepare: PrepareConfig,
    policy: Policy,
) -> dict[str, Any]:
    """Judges the new run, read back from the disk; records the verdict and acts on it."""
    earlier = itertools.islice(_in_use(store), 1, policy.keep)
    reason, found = gate.compare(Run.load(path), champion, earlier, dataset, policy)
    verdict = {"published": not reason, "reason": reason}
    previous = store.current()
    write_gate(
        path, **verdict, key=key, split=_split(prepare), previous=previous.name if previous else None,
        tolerance=policy.tolerance, min_gain_over=policy.min_gain_over, **found,
    )  # fmt: skip
    if not reason:
        store.publish(path)
    return verdict | found | {"status": "refused" if reason else "published"}
