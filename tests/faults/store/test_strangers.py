"""Nobody serves what a stranger may have put there; the members of a group share a store."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell import run_cfcli
from store_faults import NIGHTS, assert_recovers, fill, number_of, python, run

from cfcli.core.errors import ArtifactError
from cfcli.core.retraining.store import Store
from cfcli.core.runs.run import Run
from cfcli.core.storage import trust

ME, EVE, MATE, GROUP = 12001, 12002, 12003, 13000  # who need not exist
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def store(made: list[Path], tmp_path: Path) -> Store:
    """A store at ``above/store``, in which two runs were published."""
    store = Store(tmp_path / "above" / "store")
    fill(store, made, True, True)
    (store.path / ".lock").touch()
    return store


def uses(store: Store) -> list[Callable[[], object]]:
    """What works in a store, and what serves a run of it."""

    def lock() -> None:
        with store.locked():
            pass

    run = store.runs()[-1]
    return [lock, store.status, lambda: Run.load(store.path / "current"), lambda: Run.load(run)]


def assert_served(store: Store) -> None:
    for use in uses(store):
        use()


def assert_all_refuse(store: Store, place: Path, why: str) -> None:
    for use in uses(store):
        with pytest.raises(ArtifactError) as error:
            use()
        assert str(error.value).startswith(f"{place} (mode ")
        assert why in str(error.value)
        assert trust.TRUST in str(error.value)


@pytest.mark.parametrize("place", ["..", ".", "runs"])
def test_a_folder_on_the_way_that_anyone_may_write_to_is_refused(
    place: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.path.parent if place == ".." else store.path / place
    folder.chmod(0o777)
    assert_all_refuse(store, folder, "anyone on this machine may change it: 'chmod o-w")
    monkeypatch.setenv(trust.TRUST, "1")
    assert_served(store)
    monkeypatch.delenv(trust.TRUST)
    for mode in (0o1777, 0o775):
        folder.chmod(mode)
        assert_served(store)


def test_a_link_on_the_way_is_followed(store: Store, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (open_to_all / "store").symlink_to(store.path)
    (tmp_path / "link").symlink_to("open/store")
    open_to_all.chmod(0o777)
    linked = Store(tmp_path / "link")
    assert_all_refuse(linked, open_to_all, "anyone on this machine may change it")
    assert_served(store)


def test_a_run_of_no_store_may_lie_anywhere(made: list[Path], tmp_path: Path) -> None:
    """As in a container, where a folder of 0777 is nobody else's."""
    run = Path(shutil.copytree(made[0] / "run", tmp_path / "open" / "run"))
    run.parent.chmod(0o777)
    Run.load(run)


def test_a_command_refuses_in_one_line(store: Store) -> None:
    store.path.chmod(0o777)
    for args in (["status", "--store", "store"], ["verify", "store/current"]):
        done = run_cfcli(*args, cwd=store.path.parent)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
        assert f"error: {store.path} (mode 0777): anyone" in done.stderr
        assert run_cfcli(*args, cwd=store.path.parent, env={trust.TRUST: "1"}).returncode == 0


@pytest.fixture
def as_me(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were not root's."""
    monkeypatch.setattr(trust.os, "geteuid", lambda: ME)


@needs_root
@pytest.mark.usefixtures("as_me")
@pytest.mark.parametrize("owner", [EVE, ME])
def test_a_folder_above_of_another_user_is_refused(owner: int, store: Store) -> None:
    above = store.path.parent
    os.chown(above, owner, 0)
    if owner == ME:
        assert_served(store)
    else:
        assert_all_refuse(store, above, f"belongs to user {EVE}")


@needs_root
def test_root_may_work_in_a_folder_of_another_user(store: Store) -> None:
    """As in a container that a user's folder is mounted in."""
    os.chown(store.path.parent, EVE, 0)
    assert_served(store)
    home = store.path.parent.parent / "home"
    home.mkdir()
    (home / "link").symlink_to(store.path)
    os.chown(home, MATE, 0)
    assert_served(Store(home / "link"))
    os.chown(store.path / "runs", EVE, 0)
    assert_served(store)
    os.chown(store.path / "runs", ME, 0)
    assert_all_refuse(store, store.path / "runs", f"belongs to user {ME}")


@needs_root
@pytest.mark.usefixtures("as_me")
def test_in_a_sticky_folder_only_ones_own_store_is_served(store: Store) -> None:
    store.path.parent.chmod(0o1777)
    os.chown(store.path, ME, 0)
    assert_served(store)
    os.chown(store.path, EVE, 0)
    assert_all_refuse(store, store.path, f"belongs to user {EVE}")


@needs_root
@pytest.mark.usefixtures("as_me")
def test_the_store_of_another_user_can_be_read_where_nobody_else_may_write(store: Store) -> None:
    """As by who serves what a nightly job of another user makes."""
    for path in (store.path, *store.path.rglob("*")):
        os.lchown(path, MATE, 0)
    assert_served(store)
    os.lchown(store.path / "current", EVE, 0)
    with pytest.raises(ArtifactError, match=f"belongs to user {EVE}"):
        Run.load(store.path / "current")


@needs_root
def test_a_link_to_the_run_of_a_stranger_is_refused(
    made: list[Path], store: Store, tmp_path: Path
) -> None:
    theirs = Path(shutil.copytree(made[0] / "run", tmp_path / "theirs"))
    os.chown(theirs, EVE, 0)
    (store.path / "current").unlink()
    (store.path / "current").symlink_to(theirs)
    for use in uses(store)[:3]:
        with pytest.raises(ArtifactError, match=f"belongs to user {EVE}"):
            use()


# The process becomes another user once it has imported all it needs, which that user may not read.
BECOME = """
import os, sys
from pathlib import Path
from cfcli.core.runs.run import Run

user, *sys.argv[1:] = sys.argv[1:]
Run.load(Path(sys.argv[-1]) / "run")
os.umask(0o002)
os.setgroups([13000])
os.setegid(int(user))
os.seteuid(int(user))
"""
KILLED = """
from cfcli.core.retraining.store import Store
from cfcli.core.storage import publishing
store = Store(Path(sys.argv[1]))
with store.locked(), publishing.directory(store.new_path("killed")) as folder:
    (folder / "deep").mkdir(mode=publishing.private_mode(folder))
    (folder / "deep" / "file").touch()
    os._exit(0)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a group."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name) / "shared"
        folder.mkdir()
        os.chown(folder, MATE, GROUP)
        folder.chmod(0o2775)
        yield folder


@needs_root
def test_members_of_a_group_take_turns(made: list[Path], shared: Path) -> None:
    copies = [Path(shutil.copytree(path, shared.parent / path.name)) for path in made]
    store = Store(shared / "store")

    def works(user: int, code: str, *args: object) -> None:
        done: subprocess.CompletedProcess[str] = run(
            python(BECOME + code, user, store.path, *args, *copies)
        )
        assert done.returncode == 0, done.stderr

    for night, user in enumerate((MATE, ME, MATE, ME), start=1):
        works(user, NIGHTS, 1, 1, 0)  # which also removes a run of the other
        assert number_of(store.current()) == night
        assert {run.stat().st_gid for run in store.path.rglob("*")} == {GROUP}
    works(MATE, KILLED)
    assert list((store.path / "runs").glob(".*.part"))
    works(ME, NIGHTS, 1, 1, 0)
    assert not list((store.path / "runs").glob(".*"))
    assert assert_recovers(store) == 5
