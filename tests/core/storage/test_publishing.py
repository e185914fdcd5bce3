"""Final names are given to whole things only."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cfcli.core.errors import ArtifactError, ConfigError, LockedError, MachineError
from cfcli.core.storage import manifests, publishing


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    with publishing.directory(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in target.parent.iterdir()] == ["run"]


def test_a_folder_that_fails_leaves_nothing_and_the_former_one(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with publishing.directory(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), publishing.directory(target) as folder:
        (folder / "a").write_text("new")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    with publishing.directory(tmp_path / "run"):
        with pytest.raises(LockedError, match=f"process {os.getpid()} is writing it"):
            publishing.directory(tmp_path / "run").__enter__()
        with publishing.directory(tmp_path / "other"):
            pass
    with publishing.directory(tmp_path / "run"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from cfcli.core.storage import publishing
with publishing.directory(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print("here", flush=True)
    time.sleep(60)
"""


def test_a_writer_in_another_process_is_named_and_cleared_once_it_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target)], stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"here\n"
            with (
                pytest.raises(LockedError, match=f"process {holder.pid} is writing it"),
                publishing.directory(target),
            ):
                pass
            assert (
                tmp_path / ".run.part" / "half"
            ).exists()  # the one who came second removes nothing
        finally:
            holder.kill()
    assert (tmp_path / ".run.part" / "half").exists()
    with publishing.directory(target) as folder:
        (folder / "a").write_text("1")
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".run.part"
    (left / "half").mkdir(parents=True)
    (left / "half" / "file").write_text("x")
    with publishing.directory(tmp_path / "run") as folder:
        assert [p.name for p in folder.iterdir()] == ["pid"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_file_is_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), publishing.file(path) as stream:
        stream.write(b"new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with publishing.file(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    former = os.umask(umask)
    try:
        with publishing.file(tmp_path / "x") as stream:
            stream.write(b"x")
        with publishing.directory(tmp_path / "d") as folder:
            (folder / "y").touch(0o600)
            manifests.write(folder / "m.json", {"format": 1}, manifests.listing(folder, ["y"]))
    finally:
        os.umask(former)
    for path in (tmp_path / "x", tmp_path / "d" / "y", tmp_path / "d" / "m.json"):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o777 & ~umask


def test_the_umask_is_read_without_being_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads would create files by the umask that was set."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells the umask without setting it")
    former = os.umask(0o027)
    try:
        monkeypatch.setattr(publishing.os, "umask", lambda mask: pytest.fail("set"))
        assert publishing.umask() == 0o027
    finally:
        monkeypatch.undo()
        os.umask(former)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with publishing.directory(tmp_path / "link") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "1"


def test_a_pointer_moves_at_once(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        publishing.point(link, tmp_path / name)
        assert os.readlink(link) == name


def test_a_pointer_replaces_nothing_but_a_link(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.write_text("mine")
    with pytest.raises(ArtifactError, match="latest: is no link"):
        publishing.point(link, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]
    assert link.read_text() == "mine"


def test_errors_of_the_system_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="file"), publishing.file(tmp_path / "file" / "x"):
        pass
    with pytest.raises(MachineError, match="file"), publishing.directory(tmp_path / "file" / "x"):
        pass


@pytest.mark.parametrize("made", ["folder", "empty", "file", "link"])
def test_what_appears_in_the_place_of_a_target_is_kept_and_so_is_the_new_one(
    made: str, tmp_path: Path
) -> None:
    target, staging = tmp_path / "run", tmp_path / ".run.part"
    with (
        pytest.raises(LockedError, match=f"what is there is kept, and the new one is {staging}"),
        publishing.directory(target) as folder,
    ):
        (folder / "a").write_text("new")
        if made == "file":
            target.write_text("theirs")
        elif made == "link":
            target.symlink_to("nowhere")
        else:
            target.mkdir()
            if made == "folder":
                (target / "a").write_text("theirs")
    assert os.path.lexists(target)
    if made in ("folder", "file"):
        assert (target / "a" if made == "folder" else target).read_text() == "theirs"
    assert {path.name: path.read_text() for path in staging.iterdir()} == {"a": "new"}
    assert not stat.S_IMODE(staging.stat().st_mode) & stat.S_IWOTH


@pytest.mark.parametrize("change", ["replaced", "gone", "added to"])
def test_a_former_folder_that_changes_meanwhile_is_not_replaced(
    change: str, tmp_path: Path
) -> None:
    target = tmp_path / "data"
    with publishing.directory(target) as folder:
        (folder / "a").write_text("old")
    with (
        pytest.raises(LockedError, match="changed while it was written"),
        publishing.directory(target) as folder,
    ):
        (folder / "a").write_text("new")
        if change == "added to":
            (target / "notes").write_text("theirs")
        else:
            shutil.rmtree(target)
        if change == "replaced":
            target.mkdir()
            (target / "a").write_text("theirs")
    there = {path.name: path.read_text() for path in target.glob("*")}
    assert (
        there
        == {
            "replaced": {"a": "theirs"},
            "gone": {},
            "added to": {"a": "old", "notes": "theirs"},
        }[change]
    )
    assert (tmp_path / ".data.part" / "a").read_text() == "new"


@pytest.fixture
def lower_layer(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Numbers of folders that cannot be renamed, as those of a lower layer of overlayfs."""
    numbers: set[int] = set()
    rename = os.rename

    def refusing(one: Path, other: Path) -> None:
        if os.lstat(one).st_ino in numbers:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(one))
        rename(one, other)

    monkeypatch.setattr(publishing, "renamed", lambda *_: False)
    monkeypatch.setattr(publishing.os, "rename", refusing)
    return numbers


def test_a_folder_that_cannot_be_renamed_is_replaced(lower_layer: set[int], tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "a").write_text("old")
    (target / ".note").write_text("kept")
    lower_layer.add(target.stat().st_ino)
    with publishing.directory(target) as folder:
        (folder / "a").write_text("new")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "a": "new",
        ".note": "kept",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_cannot_be_renamed_is_there_again_if_its_successor_cannot_be_either(
    lower_layer: set[int], tmp_path: Path
) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "a").write_text("old")
    lower_layer.add(target.stat().st_ino)
    with pytest.raises(MachineError, match="cross-device"), publishing.directory(target) as folder:
        lower_layer.add(folder.stat().st_ino)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_cannot_be_renamed_is_discarded(
    lower_layer: set[int], tmp_path: Path
) -> None:
    (tmp_path / "run" / "deep").mkdir(parents=True)
    lower_layer.add((tmp_path / "run").stat().st_ino)
    publishing.discard(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_in_a_folder_of_a_group_stays_the_groups(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    former = os.umask(0o002)
    try:
        with publishing.directory(tmp_path / "run") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o2770
        with publishing.lock(tmp_path / ".lock"):
            pass
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o2775
    assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o664


def test_nothing_is_for_all_to_write_to_whatever_the_umask(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        with publishing.directory(tmp_path / "run") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "a").write_text("a")
        with publishing.file(tmp_path / "x") as stream:
            stream.write(b"x")
        with publishing.lock(tmp_path / ".lock"):
            pass
    finally:
        os.umask(former)
    paths = [tmp_path / "run", *tmp_path.rglob("*")]
    assert len(paths) == 6
    assert not [path for path in paths if path.stat().st_mode & stat.S_IWOTH]


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1.0])
def test_a_time_that_is_none_is_not_waited(wait: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--wait: .* is no number of seconds"):
        publishing.lock(tmp_path / ".lock", wait).__enter__()


def test_a_name_that_is_not_utf_8_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a name in UTF-8"):
        publishing.directory(tmp_path / os.fsdecode(b"r\xff")).__enter__()
    assert list(tmp_path.iterdir()) == []
