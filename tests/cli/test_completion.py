"""Completion in bash, zsh and fish: what the shell gets for a command line that is being typed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shell import CFCLI
from typer.testing import CliRunner

from cfcli.cli.app import COMMANDS, app
from cfcli.cli.guide import completion
from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.inputs import movielens


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs, a dataset, and a store with one run."""
    for name in ("runs/20260101-mf", "runs/20260102-ncf", "data", "elsewhere", "models/runs/night"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/latest").symlink_to("20260102-ncf")
    (tmp_path / "models/current").symlink_to("runs/night")
    (tmp_path / "data/dataset.json").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(shell: str, words: str, place: str) -> list[str]:
    """The lines that a shell gets."""
    env = {"_CFCLI_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": place}
    done = CliRunner().invoke(app, [], env=env)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def completed(line: str) -> set[str]:
    """Bash's candidates for the last word of a line, whose words are parted by one blank."""
    words = line.split(" ")
    return {each.partition(",")[2] for each in asked("bash", line, str(len(words) - 1))}


KEYS = {table: {f"{name}=" for name in keys_of(table)} for table in (PrepareConfig, TrainConfig)}
RUNS = {"runs/latest", "runs/20260101-mf", "runs/20260102-ncf", "models/current"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cfcli ", {*COMMANDS, "help"}),
        ("cfcli tr", {"train"}),
        ("cfcli help r", {"recommend", "retrain", "rollback", "report"}),
        ("cfcli --s", {"--show-completion"}),
        ("cfcli --install-completion ", {"bash", "zsh", "fish"}),
        ("cfcli train --mod", {"--model"}),
        ("cfcli train --no-", {"--no-plots", "--no-interest"}),
        ("cfcli train --warm", {"--warm-start"}),  # a rare one
        ("cfcli train --model ", {"mf", "ncf"}),
        ("cfcli train --model = n", {"ncf"}),  # as bash cuts --model=n
        ("cfcli train --dim a", {"auto"}),
        ("cfcli train --set ", KEYS[TrainConfig]),
        ("cfcli prepare --set ", KEYS[PrepareConfig]),
        ("cfcli retrain --set ", KEYS[PrepareConfig] | KEYS[TrainConfig]),
        ("cfcli train --set link = s", {"sigmoid"}),
        ("cfcli train --set biases = ", {"true", "false"}),
        ("cfcli train --data ", {"data"}),
        ("cfcli train --resume runs/2", {"runs/20260101-mf", "runs/20260102-ncf"}),
        ("cfcli evaluate ", RUNS),
        ("cfcli evaluate --split test ", RUNS),
        ("cfcli evaluate --split t", {"test", "train"}),
        ("cfcli compare runs/latest runs/20260101", {"runs/20260101-mf"}),
        ("cfcli prepare --dataset ml-1", {"ml-100k", "ml-1m", "ml-10m"}),
        ("cfcli status --store ", {"models"}),
        ("cfcli rollback --store models --to ", {"night"}),
        ("cfcli trian --mod", set()),
        ("cfcli recommend --xyz", set()),
    ],
)
def test_bash_gets_what_may_stand_there(line: str, expected: set[str], folder: Path) -> None:
    assert completed(line) - {"--help"} == expected


def test_rare_flags_wait_until_their_name_is_begun() -> None:
    assert "--warm-start" not in completed("cfcli train --")
    assert {"--dim", "--help", "--help-all"} <= completed("cfcli train --")


def test_the_shell_completes_names_of_files(folder: Path) -> None:
    assert asked("bash", "cfcli prepare rat", "2") == ["file,rat"]
    assert asked("bash", "cfcli evaluate else", "2") == ["dir,else"]
    assert asked("bash", "cfcli recommend --users ", "3") == ["file,"]


def test_zsh_and_fish_get_a_sentence_too(folder: Path) -> None:
    text = "Train a model on a dataset."
    assert asked("zsh", "cfcli tra", "1") == ["plain", "train", text]
    assert asked("zsh", "cfcli train --model n", "3") == ["plain", "ncf", "_"]
    assert asked("fish", "cfcli tra", "tra") == [f"plain,train\t{text}"]
    assert asked("fish", "cfcli train --set link=s", "link=s") == ["plain,link=sigmoid"]
    assert asked("fish", "cfcli train --model ", "") == ["plain,mf", "plain,ncf"]


def test_the_data_sets_are_those_that_can_be_downloaded() -> None:
    assert list(completion.DATASETS) == ["sample", *movielens.DATASETS]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script(folder: Path) -> None:
    script = CliRunner().invoke(app, ["--show-completion", "bash"]).stdout
    ask = 'COMP_WORDS=(cfcli train --mod); COMP_CWORD=2; _cfcli_completion cfcli; echo "$COMPREPLY"'
    command = ["bash", "--norc", "-c", f'PATH="{CFCLI.parent}:$PATH"\n{script}\n{ask}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("--model\n", "")


@pytest.mark.parametrize(
    ("shell", "name", "startup"),
    [
        ("bash", ".local/share/cfcli/completion.bash", ".bashrc"),
        ("zsh", ".local/share/cfcli/completion.zsh", ".zshrc"),
        ("fish", ".config/fish/completions/cfcli.fish", None),
    ],
)
def test_installing_twice_is_installing_once(
    shell: str, name: str, startup: str | None, tmp_path: Path
) -> None:
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": None, "XDG_CONFIG_HOME": None}
    if startup:
        (tmp_path / startup).write_text("alias ll='ls -l'\n")
    for _ in range(2):
        done = CliRunner().invoke(app, ["--install-completion", shell], env=env)
        assert done.exit_code == 0, done.output
    assert done.stdout.startswith(str(tmp_path / name))
    assert (tmp_path / name).read_text() == completion.SCRIPTS[shell]
    if startup:
        lines = (tmp_path / startup).read_text().splitlines()
        assert lines[0] == "alias ll='ls -l'"
        assert sum(name in line for line in lines) == 1


def test_another_shell_is_refused() -> None:
    done = CliRunner().invoke(app, ["--show-completion", "csh"])
    assert done.exit_code == 2
    assert done.output == "error: 'csh' is not one of bash, zsh, fish\n"
    done = CliRunner().invoke(app, [], env={"_CFCLI_COMPLETE": "csh_source"})
    assert done.exit_code == 2


def test_a_completion_loads_no_library() -> None:
    code = (
        "import os, sys\nfrom cfcli.cli.app import app\n"
        "os.environ |= dict(_CFCLI_COMPLETE='zsh_complete', COMP_WORDS='cfcli ', COMP_CWORD='1')\n"
        "try:\n    app([])\nexcept SystemExit:\n    pass\n"
        "heavy = {'rich', 'pydantic', 'numpy', 'polars', 'torch', 'sklearn', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")
