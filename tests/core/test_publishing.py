"""Final names are given to whole things only."""

import os
import stat
from pathlib import Path

import pytest

from cfcli.core import publishing
from cfcli.core.errors import LockedError, MachineError


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
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_a_pointer_moves_at_once(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        publishing.point(link, tmp_path / name)
        assert os.readlink(link) == name


def test_errors_of_the_system_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="file"), publishing.file(tmp_path / "file" / "x"):
        pass
    with pytest.raises(MachineError, match="file"), publishing.directory(tmp_path / "file" / "x"):
        pass
