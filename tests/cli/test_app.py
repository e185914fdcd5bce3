"""What all commands share: help, exit codes, one-line errors, signals, pipes."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import typer
from shell import CFCLI, on_terminal, run_cfcli, start_cfcli, write_ratings
from typer.testing import CliRunner

from cfcli.cli import options
from cfcli.cli.app import COMMANDS, app
from cfcli.cli.console import Out
from cfcli.cli.output.progress import LINES_EVERY
from cfcli.core.data import prepare as preparation
from cfcli.core.errors import StaleError
from cfcli.core.storage import publishing


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_heavy_library(command: str) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cfcli.cli.app import app\n"
        f"assert CliRunner().invoke(app, [{command!r}, '--help']).exit_code == 0\n"
        "heavy = {'torch', 'pytorch_lightning', 'sklearn', 'polars', 'numpy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_training_by_default_loads_no_library_that_only_gradients_need(project: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cfcli.cli.app import app\n"
        "args = ['train', '--epochs', '2', '--out', 'light', '--no-plots', '-q']\n"
        "assert CliRunner().invoke(app, args).exit_code == 0\n"
        "heavy = {'pytorch_lightning', 'torchmetrics', 'torch._dynamo', 'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def toy(
    name: Annotated[str, typer.Argument(help="Whom to greet.")], json: options.Json = False
) -> None:
    """Greet somebody.

    Creates nothing.

    Examples:
        cfcli toy-command Ann
    """
    Out(json).result(f"hello {name}", {"hello": name})


def test_a_command_is_a_module_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CONTRIBUTING says."""
    module = ModuleType("cfcli.cli.toy_command")
    module.toy_command = toy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "toy-command", "Use it")
    shell = CliRunner()
    assert "Greet somebody." in shell.invoke(app, []).stdout
    assert "\n  cfcli toy-command Ann\n" in shell.invoke(app, ["toy-command", "-h"]).stdout
    assert shell.invoke(app, ["toy-command", "Ann"]).stdout == "hello Ann\n"
    assert shell.invoke(app, ["toy-command", "Ann", "--json"]).stdout == '{"hello": "Ann"}\n'
    assert "did you mean 'toy-command'?" in shell.invoke(app, ["toy-comand"]).output


def test_a_command_loads_no_other() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from cfcli.cli.app import app, COMMANDS\n"
        "assert CliRunner().invoke(app, ['rollback', '--help']).exit_code == 0\n"
        "names = ['cfcli.cli.' + name.replace('-', '_') for name in COMMANDS]\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['cfcli.cli.rollback']\n"


@pytest.mark.parametrize(
    ("code", "args", "message"),
    [
        (2, ["evalaute"], "no such command 'evalaute'; did you mean 'evaluate'?"),
        (2, ["fit"], "no such command 'fit'; did you mean 'train'?"),
        (2, ["cv"], "no such command 'cv'; did you mean 'cross-validate'?"),
        (2, ["help", "trian"], "no such command 'trian'; did you mean 'train'?"),
        (2, ["xyz"], "no such command 'xyz'; see 'cfcli --help'"),
        (2, ["train", "--dims", "3"], "no such option: --dims; did you mean --dim?"),
        (2, ["train", "--lr", "3"], "no such option: --lr; did you mean --learning-rate?"),
        (2, ["train", "--learning_rate", "3"], "did you mean --learning-rate?"),
        (2, ["train", "--factors", "3"], "no such option: --factors; did you mean --dim?"),
        (2, ["evaluate", "--epochs", "3"], "no such option: --epochs (it is one of 'cfcli train')"),
        (2, ["evaluate", "--k", "3"], "no such option: --k; did you mean --top?"),
        (2, ["train", "--init-scale", "3"], "has no flag; write --set init_scale=VALUE"),
        (2, ["train", "--xyz"], "no such option: --xyz; see 'cfcli train --help'"),
        (2, ["train", "--model", "svd"], "model: 'svd' is not one of mf, ncf"),
        (
            2,
            ["train", "--device", "cdua"],
            "'cdua' is not one of auto, cpu, cuda, mps; did you mean",
        ),
        (2, ["train", "--l2", "much"], "l2: 'much' is not a number"),
        (2, ["train", "--epochs", "-3"], "epochs: -3 is below 1"),
        (2, ["train", "--data"], "option '--data' needs a value; see 'cfcli train --help'"),
        (2, ["train", "extra"], "unexpected arguments (extra); see 'cfcli train --help'"),
        (2, ["evaluate", "--top", "0"], "--top: 0 is below 1"),
        (2, ["evaluate", "--top", "x"], "--top: 'x' is not a whole number"),
        (
            2,
            ["evaluate", "--split", "tets"],
            "'tets' is not one of test, val, train; did you mean 'te",
        ),
        (2, ["recommend", "--diversify", "2"], "--diversify: 2 is above 1"),
        (2, ["rollback", "--store", "s", "--wait", "x"], "--wait: 'x' is not a number"),
        (2, ["similar", "-1"], "no such option: -1 (ids that begin with - stand behind --)"),
        (
            2,
            ["train", "--set", "learning_rat=1"],
            "unknown key 'learning_rat'; did you mean 'learning_rate'?",
        ),
        (2, ["train", "--dim", "0"], "dim: 0 is below 1"),
        (2, ["prepare"], "give RATINGS files or --dataset NAME"),
        (2, ["prepare", "--dataset", "ml-1n"], "did you mean 'ml-1m'"),
        (
            2,
            ["train", "--warm-start", "base", "--dim", "auto"],
            "cannot be combined with warm_start",
        ),
        (2, ["bench", "--sweep", "batchsize"], "did you mean 'batch-size'?"),
        (2, ["evaluate", "--per-row", "x.txt"], "the name may end in .csv, .tsv or .jsonl"),
        (3, ["prepare", "bad.csv"], "bad.csv:3: column 'rating': 'abc' is not a number"),
        (3, ["prepare", "empty.csv"], "empty.csv: is empty"),
        (4, ["prepare", "none.csv"], "none.csv: No such file or directory"),
        (4, ["train", "--config", "none.toml"], "none.toml: No such file or directory"),
        (7, ["train"], "data: no dataset there; make one with 'cfcli prepare"),
        (7, ["evaluate"], "no run there; make one with 'cfcli train'"),
        (7, ["export-embeddings", "elsewhere"], "elsewhere: no run there"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_a_code(
    code: int, args: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("user,item,rating\n1,1,3\n1,2,abc\n")
    (tmp_path / "empty.csv").touch()
    before = sorted(tmp_path.rglob("*"))
    done = run_cfcli(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


class Panic(BaseException):
    """As those of Polars, which are no subclass of Exception."""


@pytest.fixture(params=[RuntimeError, OSError, KeyError, Panic])
def planted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[str]:
    """A command line with a bug in it."""

    def broken(*args: object, **kwargs: object) -> None:
        raise request.param("it [bold]\nbroke")

    monkeypatch.setattr(preparation, "prepare", broken)
    monkeypatch.delenv("CFCLI_DEBUG", raising=False)
    return ["prepare", "x.csv", "--out", str(tmp_path / "d")]


def test_a_bug_is_exit_1_in_one_line_with_its_place(planted: list[str]) -> None:
    result = CliRunner().invoke(app, planted)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        r"error: this is a bug in cfcli: [A-Za-z]+: '?it \[bold\](\\n| )broke'? "
        r"\(cfcli/cli/prepare\.py:\d+\); please report it, with what the same command prints under "
        r"CFCLI_DEBUG=1 and what 'cfcli doctor' prints\n",
        result.stderr,
    )


def test_the_traceback_of_a_bug_is_there_for_who_wants_it(planted: list[str]) -> None:
    result = CliRunner().invoke(app, planted, env={"CFCLI_DEBUG": "1"})
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.splitlines()[-1].startswith("error: this is a bug in cfcli: ")
    result = CliRunner().invoke(app, [*planted, "--json"])
    said = json.loads(result.stderr)
    assert (result.exit_code, said["code"], said["kind"]) == (1, 1, "bug")
    assert said["message"].startswith("this is a bug in cfcli: ")
    assert said["traceback"].startswith("Traceback (most recent call last)")


def test_too_little_memory_is_exit_4(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def greedy(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(preparation, "prepare", greedy)
    result = CliRunner().invoke(app, ["prepare", "x.csv", "--out", str(tmp_path / "d")])
    assert result.exit_code == 4
    assert result.output == "error: not enough memory on this machine for so many rows\n"


def test_a_limit_that_libraries_hang_on_is_exit_4(project: Path) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 << 20, 1500 << 20))

    done = run_cfcli("train", "--out", "little", cwd=project, preexec_fn=little)
    assert done.returncode == 4
    assert "leaves this process 1,500 MB of addresses" in done.stderr
    assert not (project / "little").exists()


def test_a_limit_that_no_library_works_with_is_exit_4_at_once(tmp_path: Path) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))

    done = run_cfcli("prepare", "none.csv", cwd=tmp_path, preexec_fn=little)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "leaves 700 MB of addresses; cfcli needs at least 1,024" in done.stderr


def test_stale_is_exit_8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stale(*args: object, **kwargs: object) -> None:
        raise StaleError("the model is 40 h old")

    monkeypatch.setattr(preparation, "prepare", stale)
    result = CliRunner().invoke(app, ["prepare", "x.csv", "--out", str(tmp_path / "d")])
    assert result.exit_code == 8
    assert "error: the model is 40 h old" in result.output


def test_a_locked_output_is_exit_5_and_names_the_process(tmp_path: Path) -> None:
    write_ratings(tmp_path / "r.csv")
    with publishing.directory(tmp_path / "data"):
        done = run_cfcli("prepare", "r.csv", cwd=tmp_path)
        assert done.returncode == 5
        assert f"process {os.getpid()} is writing it" in done.stderr
    assert run_cfcli("prepare", "r.csv", "--out", "other", cwd=tmp_path).returncode == 0


def test_a_missed_bar_is_exit_6_and_the_result_still_printed(project: Path) -> None:
    done = run_cfcli("evaluate", "base", "--max-mse", "0.0001", "--json", cwd=project)
    assert done.returncode == 6
    assert json.loads(done.stdout)["model"]["mse"] > 0.0001
    assert "is above --max-mse 0.0001" in done.stderr


STORE = "--store store"
INTO_A_PIPE = {
    "prepare": "ratings.csv --out piped",
    "plan": "",
    "train": "--epochs 2 --no-plots --out piped-run",
    "evaluate": "base --no-plots",
    "cross-validate": "ratings.csv --folds 2 --epochs 2 --no-interest",
    "compare": "base base",
    "bench": "--sweep threads --threads 1 --repeats 1",
    "predict": "base ratings.csv",
    "recommend": "base --all",
    "similar": "base 1",
    "export-embeddings": "base",
    "report": "base",
    "retrain": f"ratings.csv {STORE} --epochs 3 --tolerance 9",
    "rollback": STORE,
    "status": STORE,
    "verify": "base",
    "doctor": "base",
}


@pytest.fixture(scope="module")
def stored(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a store of two runs."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("piped") / "project"))
    for dim in (2, 3):
        flags = "--dim", dim, "--epochs", 3, "--tolerance", 9
        done = run_cfcli("retrain", "ratings.csv", *STORE.split(), *flags, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def run_script(*args: str, cwd: Path, stdout: int) -> "subprocess.CompletedProcess[str]":
    """Runs the installed console script itself, to Python's own end."""
    return subprocess.run([CFCLI, *args], cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True)


def into_closed_pipe(*args: str, cwd: Path, run: Any = run_cfcli) -> tuple[int, str]:
    """The exit code, and what is said on stderr."""
    read, write = os.pipe()
    os.close(read)
    done = run(*args, cwd=cwd, stdout=write)
    os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_pipe_ends_in_silence_with_141(command: str, stored: Path) -> None:
    code, said = into_closed_pipe(command, *INTO_A_PIPE[command].split(), cwd=stored)
    assert code == 141, said
    assert not re.search("error|Traceback|Exception", said), said
    assert into_closed_pipe(command, "--help", cwd=stored) == (141, "")


@pytest.mark.parametrize("args", [[], ["--help"], ["--version"], ["evaluate", "base", "--json"]])
def test_so_do_help_version_and_json(args: list[str], project: Path) -> None:
    assert into_closed_pipe(*args, cwd=project, run=run_script) == (141, "")


def test_a_closed_stderr_is_141_too(project: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run_cfcli("train", "--out", tmp_path / "run", cwd=project, stderr=write)
    os.close(write)
    assert (done.returncode, done.stdout) == (141, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "GOMP_SPINCOUNT = '1000'"),
        ({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
        ({"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY = 'ACTIVE'"),
    ],
)
def test_threads_that_wait_do_not_spin_for_long(
    given: dict[str, str], expected: str, project: Path, tmp_path: Path
) -> None:
    """But for what the user set; libgomp says so when it is loaded."""
    env = {"OMP_DISPLAY_ENV": "verbose"} | given
    args = "train", "--epochs", 1, "--out", tmp_path / "run", "--no-plots", "--quiet"
    done = run_cfcli(*args, cwd=project, env=env)
    if "GOMP_" not in done.stderr:
        pytest.skip("needs libgomp, which PyTorch uses on Linux")
    assert expected in done.stderr
    assert ("SPINCOUNT = '1000'" in done.stderr) == (not given)


def test_the_library_leaves_threads_alone() -> None:
    code = "import cfcli.api, os; print([n for n in os.environ if n.startswith(('GOMP', 'OMP'))])"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
def test_a_full_stdout_is_exit_4(project: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [CFCLI, "evaluate", "base"], cwd=project, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_exit_4(project: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = run_cfcli("prepare", project / "ratings.csv", "--out", tmp_path / "data", cwd=project)
    assert done.returncode == 4
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize(
    ("number", "latest"),
    [
        (signal.SIGINT, "there is no runs/latest yet"),
        (signal.SIGTERM, "runs/latest still is runs/older"),
    ],
)
def test_a_signal_stops_training_keeps_the_best_epoch_and_says_which_run_is_which(
    number: signal.Signals, latest: str, project: Path, tmp_path: Path
) -> None:
    if "older" in latest:
        (tmp_path / "runs" / "older").mkdir(parents=True)
        (tmp_path / "runs" / "latest").symlink_to("older")
    args = "train", "--epochs", "100000", "--patience", "100000", "--data", project / "data"
    with start_cfcli(
        *args, cwd=tmp_path, env={LINES_EVERY: "0"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        while "epoch " not in process.stderr.readline():
            pass
        process.send_signal(number)
        begin = time.monotonic()
        stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == 128 + number
    run = stdout.strip()
    assert first == f"training {run}\n"
    ends = f"stopped by {number.name}; the best epoch so far was kept"
    assert f"note: {run}: {ends}; go on with 'cfcli train --resume {run}'\n" in stderr
    named = f"to use the stopped run, name it, as in 'cfcli evaluate {run}'"
    assert f"note: {latest}; {named}\n" in stderr
    assert json.loads((tmp_path / run / "run.json").read_text())["status"] == "stopped"
    assert run_cfcli("evaluate", run, cwd=tmp_path).returncode == 0


def test_ids_and_titles_cannot_paint_the_terminal(tmp_path: Path) -> None:
    write_ratings(tmp_path / "r.csv", users=20, items=6, share=0.9)
    bad = "\x1b[31mred [bold]film[/] \u202egnp"
    (tmp_path / "m.csv").write_text(f"movieId,title\n1,{bad}\n2,plain [/nope]\n")
    assert run_cfcli("prepare", "r.csv", "--items", "m.csv", cwd=tmp_path).returncode == 0
    assert run_cfcli("train", "--epochs", "2", "--quiet", cwd=tmp_path).returncode == 0
    shown = on_terminal("similar", "runs/latest", "1", cwd=tmp_path)
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31mred [bold]film[/] \\u202egnp" in shown
    assert "plain [/nope]" in shown


def test_a_locale_that_knows_no_letters_is_no_error(project: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TERM": "dumb"}
    done = run_cfcli("evaluate", "base", cwd=project, env=env)
    assert done.returncode == 0
    assert "damped biases" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ("evaluate", "base", "--max-mse", "nan"),
        ("evaluate", "base", "--liked", "inf"),
        ("train", "--batch-size", "9" * 20),
        ("train", "--num-nodes", "9" * 20),
        ("train", "--set", f"threads={'9' * 20}"),
    ],
)
def test_numbers_that_nobody_can_count_to_are_refused(args: tuple[str, ...], project: Path) -> None:
    done = run_cfcli(*args, cwd=project)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: [a-z_-]+: \w+ is not .*\n", done.stderr)


@pytest.mark.parametrize(
    "args",
    [("verify", "loop"), ("retrain", "r.csv", "--store", "loop"), ("train", "--resume", "loop")],
)
def test_a_link_that_leads_to_itself_is_one_line(args: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    write_ratings(tmp_path / "r.csv", users=4, items=4, share=0.9)
    done = run_cfcli(*args, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert re.fullmatch(r"error: .*/loop.*\n", done.stderr)
