"""Old runs go, but never the current one and the one before, also where a removal fails."""

import signal
from pathlib import Path

import pytest
from soak import Count, Trials, Tried
from store_faults import (
    FAULTS,
    assert_recovers,
    assert_whole,
    fill,
    injected,
    needs_strace,
    number_of,
    python,
    whens,
)

from cfcli.core.retraining.store import Store
from cfcli.core.storage import publishing


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
def test_removing_runs_fails_in_the_middle(
    fault: str, made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    trials = Trials()
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from cfcli.core.retraining.store import Store\nStore(Path(sys.argv[1])).prune(1)"
    )
    for when in whens(count, few=[5]):
        store = Store(tmp_path / f"{when}")
        fill(store, made, True, True, True, True, False)
        kept = store.runs()[2:]
        done, is_reached = injected(
            python(code, store.path), tmp_path / "log", ("unlinkat", fault, when)
        )
        if not is_reached:
            assert done.returncode == 0, done.stderr
            break
        with trials.one(f"unlinkat {when}, {fault}"):
            assert done.returncode == (-signal.SIGKILL if fault == "signal=KILL" else 1)
            assert "MachineError" in done.stderr or fault == "signal=KILL"
            assert [
                path
                for path in (store.path / "runs").iterdir()
                if path.name.startswith(publishing.TRASH)
            ]
            assert set(kept) <= set(store.runs())
            assert (store.current(), store.previous()) == (kept[1], kept[0])
            assert assert_recovers(store) == 4
            store.prune(1)
            assert store.runs() == kept
    trials.end(
        tried,
        "F24",
        "a removal of old runs fails or is killed: current or previous gone, half a run left",
    )


def test_what_is_kept_are_the_newest_the_current_and_the_one_before(
    made: list[Path], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    fill(store, made, True, False, True, False, False, False)
    assert [path.name[:6] for path in store.prune(2)] == ["000002", "000004"]
    assert [path.name[:6] for path in store.prune(1)] == ["000005"]
    assert [path.name[:6] for path in store.runs()] == ["000001", "000003", "000006"]
    back = store.rollback()
    assert (back.run.name[:6], back.previous.name[:6]) == ("000001", "000003")
    assert store.prune(1)
    assert assert_whole(store) == 1


@pytest.mark.parametrize("spelling", ["store", "./store", "../here/store", "absolute", "link"])
def test_however_a_store_is_spelled_its_current_run_is_kept(
    spelling: str, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    fill(Store(Path("store")), made, True, True, False, False)
    (here / "link").symlink_to("store")
    store = Store(here / "store" if spelling == "absolute" else Path(spelling))
    assert number_of(store.previous()) == 1
    store.prune(1)
    assert assert_whole(Store(here / "store"), 2) == 2
    assert [number_of(run) for run in store.runs()] == [1, 2, 4]
    assert store.current() in [*store.runs()]


@pytest.mark.parametrize("kind", ["absolute", "of a link", "by a link to the store", "runs moved"])
def test_however_current_points_to_a_run_it_is_kept(
    kind: str, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store"))
    fill(store, made, True, True, False, False)
    current = store.path / "current"
    run = store.runs()[1].absolute()
    if kind == "of a link":
        Path("other").symlink_to(run)
        run = tmp_path / "other"
    elif kind == "by a link to the store":
        Path("other").symlink_to("store")
        run = tmp_path / "other" / "runs" / run.name
    elif kind == "runs moved":
        (store.path / "runs").rename("moved")
        (store.path / "runs").symlink_to(tmp_path / "moved")
    current.unlink()
    current.symlink_to(run)
    assert store.current() == store.runs()[1]
    assert number_of(store.previous()) == 1
    status = store.status()
    assert (status.current, status.refused_since) == (store.runs()[1].name, 2)
    assert [number_of(path) for path in store.prune(1)] == [3]
    assert assert_whole(store) == 2
    back = store.rollback()
    assert (number_of(back.run), number_of(back.previous)) == (1, 2)
    assert back.previous in store.runs()
    assert store.rollback(back.previous.name).previous == back.run
    assert assert_whole(store) == 2


def test_what_is_no_run_of_the_store_is_left_alone(made: list[Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fill(store, made, True, True, True)
    others = [store.path / "runs" / name for name in ("20x-backup", f"{store.runs()[0].name}.bak")]
    for path in others:
        path.mkdir()
    assert [number_of(run) for run in store.runs()] == [1, 2, 3]
    assert store.new_path("key").name == "000004-key"
    store.prune(1)
    assert all(path.is_dir() for path in others)
