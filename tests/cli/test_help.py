"""The help of all commands: short, whole, and in lines of 80 columns."""

import json
import platform
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from shell import run_cfcli
from typer.testing import CliRunner

import cfcli
from cfcli.cli.app import COMMANDS, app
from cfcli.cli.guide import man

GROUP: Any = typer.main.get_command(app)


def help_of(*args: str, columns: int = 80) -> str:
    done = run_cfcli(*args, cwd=Path(), env={"COLUMNS": str(columns)})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_whole(command: str) -> None:
    brief, whole = help_of(command, "--help"), help_of(command, "--help-all")
    lines = brief.splitlines()
    assert len(lines) <= 60
    assert max(map(len, [*lines, *whole.splitlines()])) <= 80
    examples = brief.partition("\nExamples:\n")[2].partition("\n\n")[0]
    assert examples.startswith(f"  cfcli {command}")
    assert "Creates " in brief
    assert "--json " in brief
    assert "--quiet " in brief
    params = GROUP.get_command(None, command).params
    flags = {opt for p in params for opt in (*p.opts, *p.secondary_opts) if opt[0] == "-"}
    assert flags <= set(re.findall(r"(?:^  |, |/)(--?[a-z][a-z0-9-]*)", whole, re.MULTILINE))
    rare = sum(param.hidden for param in params)
    assert (f"{rare} more option" in brief) == (rare > 0)
    texts = [param.help for param in params]
    assert [text for text in texts if not text.endswith(".")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_no_value_in_the_help_is_broken(command: str) -> None:
    """What stands in brackets, such as a default, and choices are whole on one line."""
    for line in help_of(command, "--help-all").splitlines():
        assert line.count("[") == line.count("]"), line
        assert not re.search(r"\w[|]$|^ *[|]", line), line


@pytest.mark.parametrize("columns", [40, 200])
def test_help_fits_other_terminals(columns: int) -> None:
    text = help_of("status", "--help", columns=columns)
    paragraphs = text.partition("Examples:")[0].splitlines()
    assert max(map(len, paragraphs)) <= min(columns, 100)
    assert "--max-age TIME" in text


def test_root_help_lists_commands_and_exit_codes() -> None:
    text = help_of()
    assert help_of("--help") == help_of("help") == text
    assert len(text.splitlines()) <= 60
    for name in (*COMMANDS, "help"):
        summary = re.search(rf"^  {name}  +(\S.*\.)$", text, re.MULTILINE)
        assert summary, name
        if name in COMMANDS:
            assert help_of(name, "--help").startswith(summary[1])
    codes = text.partition("Exit codes:")[2]
    expected = "0 1 2 3 4 5 6 7 8 128 130 143 141"
    assert re.findall(r"\b\d+\b", codes) == expected.split()


def test_help_is_a_command() -> None:
    assert help_of("help", "train") == help_of("train", "-h") == help_of("train", "--help")
    assert help_of("help", "train", "--help-all") == help_of("train", "--help-all")
    assert help_of("help", "help") == help_of("--help-all") == help_of("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_message_has_words_of_a_library(command: str) -> None:
    for param in GROUP.get_command(None, command).params:
        kind = param.type_descriptor
        if not kind.choices and kind.annotation not in (int, float, int | None, float | None):
            continue
        done = CliRunner().invoke(app, [command, param.opts[0], "@@"])
        assert done.exit_code == 2
        assert re.fullmatch(
            rf"error: {param.opts[0]}: '@@' is not (a whole number|a number|one of .*); see .*\n",
            done.output,
        )


def test_manual_pages_have_every_flag(tmp_path: Path) -> None:
    files = man.write(tmp_path / "man")
    assert [file.name for file in files] == ["cfcli.1", *(f"cfcli-{name}.1" for name in COMMANDS)]
    for name in COMMANDS:
        text = (tmp_path / "man" / f"cfcli-{name}.1").read_text().replace("\\", "")
        flags = {param.opts[0] for param in GROUP.get_command(None, name).params}
        terms = " ".join(re.findall(r"^[.]B (.*)$", text, re.MULTILINE))
        assert [flag for flag in flags if flag[0] == "-" and flag not in terms] == []


def test_version() -> None:
    assert help_of("--version") == f"{cfcli.__version__}\n"
    found = json.loads(help_of("--version", "--json"))
    assert found == json.loads(help_of("--json", "--version"))
    assert (found["cfcli"], found["python"]) == (cfcli.__version__, platform.python_version())
    assert found["polars"] == pl.__version__
    alone = CliRunner().invoke(app, ["--json", "train"])
    assert alone.exit_code == 2
    assert "--json stands behind the command, as in 'cfcli evaluate --json'" in alone.output
    assert {"torch", "pytorch-lightning", "numpy", "scikit-learn"} < set(found)
