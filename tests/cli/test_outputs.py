"""Where commands may write, and in which form: all flags that name a file or folder to write."""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from shared import MadeOnce
from shell import run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import COMMANDS, app

QUICK = ("--epochs", "2", "--no-interest", "-q")
BENCH = ("bench", "--sweep", "threads", "--threads", "1", "--sample", "200", "--repeats", "1", "-q")
# A command line for each flag that names what is written; the path comes behind it.
WRITES = {
    ("prepare", "--out"): ("prepare", "ratings.csv", "--force", "-q"),
    ("train", "--out"): ("train", "--no-plots", *QUICK),
    ("evaluate", "--per-row"): ("evaluate", "base", "--ratings", "new.csv", "--no-plots", "-q"),
    ("predict", "--out"): ("predict", "base", "pairs.csv", "-q"),
    ("recommend", "--out"): (
        "recommend", "base", "--users", "users.txt", "--items", "items.txt", "--seen", "new.csv",
        "-q",
    ),
    ("export-embeddings", "--out"): (
        "export-embeddings", "base", "--align-to", "earlier.parquet", "-q",
    ),
    ("report", "--out"): ("report", "base", "-q"),
    ("bench", "--out"): BENCH,
    ("bench", "--plot"): BENCH,
    ("bench", "--write-config"): BENCH,
    ("cross-validate", "--out"): ("cross-validate", "ratings.csv", "--folds", "2", *QUICK),
    ("retrain", "--metrics-file"): (
        "retrain", "ratings.csv", "--store", "S", "--items", "movies.csv", *QUICK,
    ),
}  # fmt: skip
FOLDERS = {("prepare", "--out"), ("train", "--out"), ("cross-validate", "--out")}
# Flags that name what is read, or where nothing is written.
READS = {
    "--data", "--config", "--resume", "--warm-start", "--items", "--users", "--ratings", "--seen",
    "--test-file", "--val-file", "--align-to", "--store", "--title-col",
}  # fmt: skip
SUFFIXES = {"--plot": ".png", "--write-config": ".toml", "--metrics-file": ".prom"}
READS_HERE = {("plan", "--out")}
VICTIMS = (
    "base", "base/run.json", "base/model.safetensors", "base/plots/loss.png", "base/link",
    "data/dataset.json", "data/train.parquet", "S/current", "S/current/model.safetensors",
    "S/current/new.csv", "S/data/train.parquet", "S/data", "S/runs", "S/.lock", "weights.link",
    "base/items.parquet", "base/own.csv", "base/plots/own.html", "base/sub/own.png", "data/own.csv",
    "S/own.csv",
)  # fmt: skip
INPUTS = {
    "evaluate": ("new.csv",),
    "predict": ("pairs.csv",),
    "recommend": ("users.txt", "items.txt", "new.csv"),
    "export-embeddings": ("earlier.parquet",),
    "retrain": ("ratings.csv", "movies.csv"),
    "cross-validate": ("ratings.csv",),
}


def flags() -> Iterator[tuple[str, Any]]:
    """All flags of all commands that may name a file or a folder."""
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.get_command(None, name)
        for flag in command.params:
            if flag.param_type_name != "option":
                continue
            kind = type(getattr(flag, "type", None)).__name__.lower()
            words = f"{flag.metavar or ''} {flag.help or ''}".lower().replace(".", " ").split()
            if "path" in kind or {"file", "dir", "folder", "directory"} & set(words):
                yield name, flag


def test_every_flag_that_names_a_file_is_known() -> None:
    found = {(name, flag.opts[0]) for name, flag in flags() if not flag.is_flag}
    unknown = {each for each in found if each[1] not in READS} - READS_HERE - set(WRITES)
    assert unknown == set(), "add them to WRITES or READS"
    assert set(WRITES) <= found


@pytest.fixture(scope="module")
def place(project: Path, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def fill(folder: Path) -> None:
        shutil.copytree(project, folder, symlinks=True, dirs_exist_ok=True)
        lines = (folder / "ratings.csv").read_text().splitlines()
        (folder / "pairs.csv").write_text("\n".join(x.rsplit(",", 2)[0] for x in lines[:9]) + "\n")
        (folder / "new.csv").write_text("userId,movieId,rating\n1,1,3\n2,1,4\n3,2,5\n")
        (folder / "users.txt").write_text("1\n2\n")
        (folder / "items.txt").write_text("1\n2\n3\n")
        for args in (
            ("export-embeddings", "base", "--out", "earlier.parquet"),
            ("retrain", "ratings.csv", "--store", "S", "--items", "movies.csv", *QUICK),
        ):
            done = run_cfcli(*args, cwd=folder)
            assert done.returncode == 0, done.stderr
        # A file of the run that lies elsewhere, and a link to one that lies in it.
        (folder / "base" / "plots").mkdir(exist_ok=True)
        (folder / "base" / "plots" / "loss.png").write_bytes(b"a picture")
        (folder / "base" / "link").symlink_to("run.json")
        (folder / "weights.link").symlink_to("base/model.safetensors")
        shutil.move(folder / "base" / "items.parquet", folder / "movies.parquet")
        (folder / "base" / "items.parquet").symlink_to("../movies.parquet")

    # A copy for each worker, as commands write who holds a lock.
    made = made_once("outputs", fill)
    own = tmp_path_factory.mktemp("outputs") / "place"
    shutil.copytree(made, own, symlinks=True)
    return own


def state(folder: Path) -> dict[str, str]:
    """What every path below a folder is: its kind, and its target or its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = f"kind {stat.S_IFMT(path.lstat().st_mode)}"
    return found


@pytest.mark.parametrize(("command", "flag"), WRITES)
def test_nothing_of_an_artifact_and_no_input_is_written_over(
    command: str, flag: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = state(place)
    for target in (*VICTIMS, *INPUTS.get(command, ())):
        done = CliRunner().invoke(app, [*WRITES[command, flag], flag, target])
        assert done.exit_code == 2, (target, done.output)
        assert done.stderr.startswith(f"error: {target}: "), done.output
        assert state(place) == before, target
    for artifact in ("base", "data", "S/current"):
        assert run_cfcli("verify", artifact, cwd=place).returncode == 0


def test_both_tables_of_embeddings_keep_off_a_run(place: Path) -> None:
    before = state(place)
    done = run_cfcli("export-embeddings", "base", "--entity", "both", "--out", "base", cwd=place)
    assert done.returncode == 2
    assert "base/items.parquet: belongs to the run " in done.stderr
    done = run_cfcli(
        "export-embeddings", "S/current", "--format", "npy", "--out", "S/data/x.npy", cwd=place
    )
    assert done.returncode == 2
    assert "S/data/x.npy: belongs to the dataset " in done.stderr
    assert state(place) == before


@pytest.mark.parametrize(
    "flag", [("report", "--out"), *((name, flag) for name, flag in WRITES if flag in SUFFIXES)]
)
def test_what_has_one_form_is_not_written_under_the_name_of_another(
    flag: tuple[str, str], place: Path
) -> None:
    before = state(place)
    for name in ("ratings.csv", "new", "-"):
        done = run_cfcli(*WRITES[flag], flag[1], name, cwd=place)
        assert done.returncode == 2, done.stderr
        assert state(place) == before


def test_an_export_does_not_make_a_file_called_dash(place: Path) -> None:
    done = run_cfcli("export-embeddings", "base", "--out", "-", cwd=place)
    assert done.returncode == 2
    assert not (place / "-").exists()


def test_an_input_that_comes_by_stdin_is_not_written_over(place: Path) -> None:
    before = state(place)
    for args in (
        ("predict", "base", "-"),
        ("recommend", "base", "--ratings", "-"),
        ("evaluate", "base", "--ratings", "-"),
    ):
        flag = "--per-row" if args[0] == "evaluate" else "--out"
        with open(place / "new.csv") as stream:
            done = run_cfcli(*args, flag, "new.csv", cwd=place, stdin=stream)
        assert done.returncode == 2, done.stderr
        assert "new.csv: is an input of this command" in done.stderr
    assert state(place) == before


@pytest.mark.parametrize(("command", "flag"), sorted(set(WRITES) - FOLDERS))
def test_a_pipe_is_written_into_and_stays_one(
    command: str, flag: str, place: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    done = run_cfcli(*WRITES[command, flag], flag, pipe, cwd=place)
    assert done.returncode == 0, done.stderr
    reader.join(10)
    assert got[0]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(("command", "flag"), WRITES)
def test_a_device_stays_one(command: str, flag: str, place: Path, tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b"x")
    except OSError:
        pytest.skip("needs the right to make devices, and to use them there")
    done = run_cfcli(*WRITES[command, flag], flag, null, cwd=place)
    assert done.returncode == (2 if (command, flag) in FOLDERS else 0), done.stderr
    assert stat.S_ISCHR(null.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_what_needs_two_files_is_not_written_into_a_pipe(place: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    args = ("export-embeddings", "base", "--format", "npy", "--out", tmp_path / "pipe")
    done = run_cfcli(*args, cwd=place)
    assert done.returncode == 2
    assert "npy writes a second file beside it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(("command", "flag"), sorted(set(WRITES) - FOLDERS))
def test_other_places_are_free(command: str, flag: str, place: Path, tmp_path: Path) -> None:
    """A file of before is replaced; so is one in the folder of a run that is for the user's."""
    suffix = ".html" if command == "report" else SUFFIXES.get(flag, ".csv")
    there = tmp_path / "copy"
    shutil.copytree(place, there, symlinks=True)
    names = [f"own{suffix}", f"base/embeddings/own{suffix}"]
    for name in [*names, "base/report.html"] if command == "report" else names:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_text("before")
        done = run_cfcli(*WRITES[command, flag], flag, name, cwd=there)
        assert done.returncode == 0, done.stderr
        assert (there / name).read_bytes() != b"before"
    assert run_cfcli("verify", "base", cwd=there).returncode == 0


def rows(path: Path) -> pl.DataFrame:
    """A table in the form that the name of its file says."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content, path = gzip.decompress(content), path.with_suffix("")
    if path.suffix == ".zst":
        import pyarrow as pa

        content = pa.CompressedInputStream(io.BytesIO(content), "zstd").read()
        path = path.with_suffix("")
    read = {
        ".csv": pl.read_csv,
        ".tsv": lambda stream: pl.read_csv(stream, separator="\t"),
        ".jsonl": pl.read_ndjson,
        ".parquet": pl.read_parquet,
        ".arrow": pl.read_ipc,
        ".feather": pl.read_ipc,
    }[path.suffix or ".csv"]
    return read(io.BytesIO(content))  # type: ignore[operator, no-any-return]


ROWS = {
    "evaluate": ("evaluate", "base", "--no-lists", "--no-plots", "-q", "--per-row"),
    "predict": ("predict", "base", "pairs.csv", "-q", "--out"),
    "recommend": ("recommend", "base", "--user", "1", "-q", "--out"),
    "export-embeddings": ("export-embeddings", "base", "-q", "--out"),
}


@pytest.mark.parametrize("command", ROWS)
def test_the_name_decides_the_form(command: str, place: Path, tmp_path: Path) -> None:
    texts = [
        f"x.{form}{packed}" for form in ("csv", "tsv", "jsonl") for packed in ("", ".gz", ".zst")
    ]
    found = {}
    for name in (*texts, "x.parquet", "x.arrow", "x.feather", "x.CSV", "x.Jsonl.GZ", "x.PARQUET"):
        done = run_cfcli(*ROWS[command], tmp_path / name, cwd=place)
        assert done.returncode == 0, done.stderr
        (tmp_path / name).rename(tmp_path / name.lower())
        frame = rows(tmp_path / name.lower())
        if "jsonl" in name.lower():
            assert frame.dtypes[0] == pl.String  # the id
        found[name] = (frame.columns, frame.height, frame.to_series(0).cast(pl.String).to_list())
    first = found.pop("x.csv")
    assert first[1] > 0
    for name, other in found.items():
        assert other == first, name


@pytest.mark.parametrize("command", [*ROWS, "bench"])
@pytest.mark.parametrize("name", ["x.xlsx", "x.parquet.gz", "x.gz", "x.CVS"])
def test_a_name_of_no_form_is_refused(command: str, name: str, place: Path, tmp_path: Path) -> None:
    args = (*BENCH, "--out") if command == "bench" else ROWS[command]
    done = run_cfcli(*args, tmp_path / name, cwd=place)
    assert done.returncode == 2
    assert ".parquet, .arrow or .feather" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_suffix_is_csv_or_json_lines(place: Path, tmp_path: Path) -> None:
    args = ("predict", "base", "pairs.csv", "--out")
    assert run_cfcli(*args, tmp_path / "plain", cwd=place).returncode == 0
    assert run_cfcli(*args, tmp_path / "lines", "--json", cwd=place).returncode == 0
    assert run_cfcli(*args, tmp_path / "x.csv", "--json", cwd=place).returncode == 0
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "x.csv").read_bytes()
    assert len(rows(tmp_path / "plain")) == 8
    lines = (tmp_path / "lines").read_text().splitlines()
    assert [json.loads(line)["userId"] for line in lines] == rows(tmp_path / "plain")[
        "userId"
    ].cast(pl.String).to_list()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--format", "parquet", "--out", "e.csv"], "is a name for csv, not for --format parquet"),
        (["--format", "csv", "--out", "e.csv.parquet"], "not for --format csv"),
        (["--format", "npy", "--out", "e.txt"], "is a name for word2vec"),
        (["--format", "projector", "--out", "e.csv"], "not for --format projector"),
        (["--format", "word2vec", "--out", "e.xlsx"], "no form is called '.xlsx'"),
        (["--titles", "--out", "e.npy"], "--titles: npy has no place for them"),
        (["--titles", "--format", "word2vec"], "--titles: word2vec has no place for them"),
        (["--layout", "list", "--out", "e.tsv"], "--layout list: tsv has no lists"),
    ],
)
def test_an_export_that_cannot_be_is_refused(args: list[str], message: str, place: Path) -> None:
    before = state(place)
    done = run_cfcli("export-embeddings", "base", *args, cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
    assert state(place) == before


@pytest.mark.parametrize("name", ["e.csv", "e.tsv", "e.jsonl", "e.parquet", "e.arrow", "e.csv.gz"])
def test_titles_are_in_every_table(name: str, place: Path, tmp_path: Path) -> None:
    done = run_cfcli("export-embeddings", "base", "--titles", "--out", tmp_path / name, cwd=place)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / name).row(0, named=True)["title"] == "Film, number 1 (1999)"


def test_names_of_vectors_alone_decide_too(place: Path, tmp_path: Path) -> None:
    for name in ("e.npy", "e.txt"):
        done = run_cfcli("export-embeddings", "base", "--out", tmp_path / name, cwd=place)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "e.npy").read_bytes().startswith(b"\x93NUMPY")
    assert (tmp_path / "e.txt").read_text().startswith("60 5\n")


def test_dev_stdout_is_stdout(place: Path) -> None:
    plain = run_cfcli("predict", "base", "pairs.csv", cwd=place)
    named = run_cfcli("predict", "base", "pairs.csv", "--out", "/dev/stdout", cwd=place)
    assert plain.returncode == named.returncode == 0, named.stderr
    assert named.stdout == plain.stdout
