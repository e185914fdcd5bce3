"""The reference is what the code says now, and the keys that it lists are those that are printed."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pages import DOCS, blocks
from shell import run_cfcli
from test_readme import load

from cfcli.core.retraining import prometheus

PAGE = (DOCS / "reference.md").read_text()
# One call of each command that prints one object, in a folder with a dataset and two runs.
CALLS = {
    "prepare": ["prepare", "ratings.csv", "--out", "again"],
    "plan": ["plan"],
    "train": ["train", "--epochs", "2", "--out", "other"],
    "evaluate": ["evaluate", "base", "--no-plots"],
    "compare": ["compare", "base", "other"],
    "export-embeddings": ["export-embeddings", "base", "--out", "vectors.csv"],
    "verify": ["verify", "base"],
    "report": ["report", "base"],
    "retrain": ["retrain", "ratings.csv", "--store", "models", "--epochs", "2"],
    "status": ["status", "--store", "models"],
    "bench": ["bench", "--sweep", "device", "--repeats", "1", "--sample", "100"],
}


def section(command: str) -> str:
    return PAGE.partition(f"\n### cfcli {command}\n")[2].partition("\n### ")[0]


def test_the_page_is_up_to_date() -> None:
    assert load("reference").page() == PAGE, "run: python docs/scripts/reference.py"


def test_keys_of_json_are_those_of_the_page(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    for command, args in CALLS.items():
        done = run_cfcli(*args, "--json", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr
        table = section(command).partition("`--json` prints:")[2]
        listed = set(re.findall(r"^\| `(\w+)` ", table, re.MULTILINE))
        optional = set(re.findall(r"^\| `(\w+)` .*left out where", table, re.MULTILINE))
        printed = set(json.loads(done.stdout))
        assert listed - optional <= printed <= listed, command


def test_metrics_of_the_example_exist() -> None:
    named = re.findall(r"cfcli_(\w+)", (DOCS / "nightly.md").read_text())
    assert len(named) >= 2
    assert set(named) <= set(prometheus.HELP)


@pytest.mark.parametrize("code", range(9))
def test_every_exit_code_is_explained(code: int) -> None:
    assert re.search(rf"^\| {code} \| \w+", PAGE, re.MULTILINE)


def test_the_table_of_sizes_is_what_its_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS / "scale.md"
    code = next(text for text in blocks(page, "python") if "def needs" in text)
    exec(code, {})
    for line in capsys.readouterr().out.splitlines():
        assert line in page.read_text()
