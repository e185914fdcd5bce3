"""doctor: what people paste into a bug report."""

import errno
import json
import os
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from shell import run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.retraining.store import Store
from cfcli.core.storage import publishing

CORPUS = Path(__file__).parent.parent / "corpus"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run and a store."""
    for name in ("mf", "store"):
        shutil.copytree(CORPUS / name, tmp_path / name, symlinks=True)
    return tmp_path


def flip(path: Path) -> None:
    """Changes the last byte of a file."""
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_it_tells_of_machine_and_store_and_leaves_nothing_there(place: Path) -> None:
    store = Store(place / "store")
    with store.locked():
        before = sorted(place.rglob("*"))
        done = run_cfcli("doctor", "--store", "store", "--json", cwd=place)
        assert sorted(place.rglob("*")) == before
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["versions"]["polars"] == metadata.version("polars")
    assert found["processors"]["cores"] == os.cpu_count()
    assert 0 < found["memory"]["free_bytes"] <= found["memory"]["total_bytes"]
    files = found["files"]
    assert files["folder"] == "store"
    assert (files["locks"], files["renames"], files["links"]) == (True, True, True)
    current = store.current()
    assert current is not None
    assert (found["store"]["current"], found["store"]["whole"]) == (current.name, True)
    assert found["store"]["refused_since"] == store.status().refused_since
    if Path("/proc/locks").exists():
        assert found["store"]["locked_by"] == f"process {os.getpid()}"
    assert found["problems"] == {}
    free = json.loads(run_cfcli("doctor", "--store", "store", "--json", cwd=place).stdout)
    assert free["store"]["locked_by"] is None


def test_where_nothing_is_yet_nothing_is_wrong(tmp_path: Path) -> None:
    for args in ((), ("--store", "not/there")):
        done = run_cfcli("doctor", *args, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["files"]["folder"] == "."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", [("mf",), ("--store", "store"), ("none",), ()])
def test_a_run_that_is_missing_or_damaged_is_exit_7_after_all_else(
    named: tuple[str, ...], place: Path
) -> None:
    for run in ("mf", "store/current"):
        flip(place / run / "model.safetensors")
    (place / "runs").mkdir()
    (place / "runs" / "latest").symlink_to("../mf")
    done = run_cfcli("doctor", *named, "--json", cwd=place)
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1
    reason = json.loads(done.stderr)["message"]
    assert ("no run there" if named == ("none",) else "model.safetensors: damaged") in reason
    found = json.loads(done.stdout)
    topic = "store" if "store" in named else "run"
    assert found[topic]["whole"] is False
    assert found["problems"] == {f"{topic} whole": reason}
    assert found["files"]["locks"] is True


def test_a_store_is_whole_if_all_its_runs_are(place: Path) -> None:
    store = Store(place / "store")
    other = next(run for run in store.runs() if run != store.current())
    flip(other / "model.safetensors")
    done = run_cfcli("doctor", "--store", "store", cwd=place)
    assert done.returncode == 7
    assert f"{other.name}/model.safetensors: damaged" in done.stderr


def refused(*args: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def ignored(*args: object) -> None:
    """What holds nobody off."""


@pytest.mark.parametrize(
    ("lock", "broken"), [(refused, "locks, renames do not"), (ignored, "locks do not")]
)
def test_a_file_system_without_locks_is_exit_4(
    lock: object, broken: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing.fcntl, "flock", lock)
    done = CliRunner().invoke(app, ["doctor", "--store", str(place / "store")])
    assert done.exit_code == 4
    assert f"store: {broken} work there" in done.output
    assert ("No locks available" in done.output) == (lock is refused)


def test_an_exchange_in_several_steps_is_said_and_is_no_failure(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "RENAME_EXCHANGE", 1 << 30)  # no such flag
    done = CliRunner().invoke(app, ["doctor", str(place / "mf"), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["files"]["one_step_exchange"] is False


def test_it_can_be_pasted_in_public(place: Path) -> None:
    flip(place / "mf" / "model.safetensors")
    (place / "home").symlink_to(place)
    env = {"HOME": f"{place}/home", "TOKEN": "s3cret", "OMP_NUM_THREADS": "3", "COLUMNS": "80"}
    settings = {"CFCLI_DATA": f"{place}/data", "CFCLI_STORE": f"{place}/home/store"}
    done = run_cfcli("doctor", place / "mf", cwd=place / "store", env=env | settings)
    assert done.returncode == 7
    said = done.stdout + done.stderr
    assert str(place) not in said
    assert "s3cret" not in said
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for row in ("CFCLI_STORE ~/store", "OMP_NUM_THREADS 3", "files folder ~/store"):
        assert any(row in found for found in rows), rows
    assert "error: ~/mf/model.safetensors: damaged" in done.stderr


def test_broken_libraries_are_lines_of_the_answer(place: Path) -> None:
    broken = place / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("import os\nos.abort()\n")
    (broken / "polars.py").write_text("raise ImportError('built for another processor')\n")
    path = os.pathsep.join([str(broken), os.environ.get("PYTHONPATH", "")])
    args = ("doctor", "--store", "store", "--json")
    done = run_cfcli(*args, cwd=place, env={"PYTHONPATH": path})
    assert done.returncode == 7  # nobody could tell whether it is whole
    found = json.loads(done.stdout)
    assert "exit code -6" in found["problems"]["torch devices"]
    assert found["problems"]["store whole"] == "ImportError: built for another processor"
    assert found["files"]["locks"] is True
