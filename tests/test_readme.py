"""The README is short, its commands work and its links say what they promise."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from pages import SCRIPTS
from test_architecture import ORDER

from cfcli.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MOST_LINES, MOST_WORDS = 200, 1500


def load(name: str) -> ModuleType:
    """A script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS


def test_the_five_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    """On fewer ratings, for fewer epochs: other numbers, but the same words."""
    session = load("session")
    commands = session.commands(README)
    names = [command.split()[1] for command in commands]
    assert names == ["prepare", "train", "evaluate", "recommend", "similar"]
    shown = dict(re.findall(r"^\$ (cfcli .*)\n((?:(?!\$ |```).*\n)*)", README, re.MULTILINE))
    quick = {"CFCLI_SAMPLE": "10000", "CFCLI_EPOCHS": "6", "OMP_NUM_THREADS": "1"}
    for command in commands:
        printed = session.typed(command, tmp_path, quick)
        missing = words(shown[command]) - words(printed) - MAY_DIFFER
        assert not missing, f"{command}\n{printed}"


MAY_DIFFER = {"better", "worse", "no", "clear", "difference", "the", "with", "most", "using"}


def words(text: str) -> set[str]:
    """The words that a command prints on its own: of tables the heads and the first cells, and no
    titles, which begin with capitals or stand on lines of their own."""
    lines = [line for line in text.splitlines() if not line.startswith("  ")]
    prose = [line.split("│")[1] if line.startswith("│") else line for line in lines]
    return set(re.findall(r"(?<![\w/-])[a-z]{2,}(?![\w/-])", "\n".join(prose)))


def test_it_names_the_script_that_made_its_numbers() -> None:
    scripts = re.findall(r"`python ([\w/]+\.py)`", README)
    assert len(scripts) >= 2
    assert [name for name in scripts if not (ROOT / name).exists()] == []


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\$ make (\w+)", README, re.MULTILINE)
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile


def test_every_command_has_a_section_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert [name for name in COMMANDS if f"\n### cfcli {name}\n" not in reference] == []


def test_every_room_is_named_where_the_layout_is_described() -> None:
    rooms = [path for path in (ROOT / "cfcli" / "core").iterdir() if path.name[0] not in "_."]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in rooms]
    described = re.findall(r"^      ([\w./]+) ", CONTRIBUTING, re.MULTILINE)
    assert sorted(described) == sorted(names)
    order = " ".join(line.strip() for line in CONTRIBUTING.split("\n"))
    assert ORDER in order
    assert "(CONTRIBUTING.md)" in README


def test_files_that_contributing_names_exist() -> None:
    files = re.findall(r"`((?:cfcli|tests)/[\w/]+\.py)`", CONTRIBUTING)
    assert len(files) > 8
    assert [name for name in files if not (ROOT / name).exists()] == []
