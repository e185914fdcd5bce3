"""Artifacts that anyone may change are not trusted, and none are made."""

import os
import stat
from pathlib import Path

import pytest
from artifact_faults import KINDS, MANIFESTS, Use, assert_refused, command, flaw, load, resume
from shell import run_cfcli

from cfcli.core.storage import trust
from cfcli.core.training import checkpoints


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_anyone_may_change_is_not_trusted(
    kind: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(trust.TRUST, raising=False)
    folder = copy / KINDS[kind]
    folder.chmod(0o777)
    assert not flaw(lambda: load(copy, kind), str(folder))
    monkeypatch.setenv(trust.TRUST, "1")
    load(copy, kind)
    monkeypatch.delenv(trust.TRUST)
    for mode in (0o1777, 0o775, 0o700):
        folder.chmod(mode)
        load(copy, kind)


@pytest.mark.parametrize(
    "args", [["evaluate", "mf"], ["train", "--data", "data", "--out", "new"]], ids=str
)
def test_a_command_does_not_trust_what_anyone_may_change(args: list[str], copy: Path) -> None:
    (copy / ("mf" if "mf" in args else "data")).chmod(0o777)
    done = run_cfcli(*args, cwd=copy)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert "chmod o-w" in done.stderr
    if args[0] == "evaluate":
        assert run_cfcli(*args, cwd=copy, env={trust.TRUST: "1"}).returncode == 0


@pytest.mark.parametrize("name", ["run.json", "model.safetensors", "users.parquet"])
def test_a_file_that_anyone_may_change_is_not_trusted(
    name: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(trust.TRUST, raising=False)
    (copy / "mf" / name).chmod(0o666)
    assert not flaw(lambda: load(copy, "mf run"), f"mf/{name}")
    (copy / "mf" / name).chmod(0o664)
    load(copy, "mf run")


@pytest.mark.parametrize("folder", ["stopped", "stopped/checkpoints"])
def test_a_run_that_anyone_may_change_is_not_resumed(folder: str, copy: Path) -> None:
    (copy / folder).chmod(0o777)
    assert_refused(resume(copy), "stopped")


def test_folders_are_not_for_all_to_write_to_whatever_the_umask(
    copy: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those above a dataset or a run neither: who may write there may put another in its place."""
    seen: dict[str, int] = {}
    write = checkpoints.write

    def watched(checkpoint: checkpoints.State, path: Path) -> None:
        write(checkpoint, path)
        for folder in (path.parent, path.parent.parent):
            seen["staging" if folder.name.startswith(".") else folder.name] = stat.S_IMODE(
                folder.stat().st_mode
            )

    monkeypatch.setattr(checkpoints, "write", watched)
    before = set(copy.rglob("*"))
    former = os.umask(0)
    try:
        for args in (
            ["prepare", "ratings.csv", "--out", "made/data"],
            ["train", "--data", "made/data", "--epochs", "2", "-q"],
            [
                "train",
                "--data",
                "made/data",
                "--max-time",
                "0.1s",
                "--epochs",
                "99999",
                "--patience",
                "99999",
                "-q",
            ],
            ["export-embeddings"],
            ["export-embeddings", "--out", "other/deep/items.parquet"],
            ["evaluate", "--per-row", "rows/test.csv", "-q"],
        ):
            code, _, err, error = command(*args)
            assert code == 0, (args, err, error)
    finally:
        os.umask(former)
    assert seen == {"staging": 0o700, "checkpoints": 0o700}
    new = sorted(set(copy.rglob("*")) - before)
    assert {path.name for path in new} >= {
        "runs",
        "made",
        "data",
        "embeddings",
        "checkpoints",
        "deep",
        "rows",
    }
    modes = {path.relative_to(copy): path.lstat().st_mode for path in new if not path.is_symlink()}
    files = {path: stat.S_IMODE(mode) for path, mode in modes.items() if stat.S_ISREG(mode)}
    # A checkpoint lies in a folder of its owner's alone.
    assert {mode for path, mode in files.items() if path.name != "last.ckpt"} == {0o664}
    assert not [
        str(path) for path, mode in modes.items() if stat.S_ISDIR(mode) and mode & stat.S_IWOTH
    ]
