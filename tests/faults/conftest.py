"""How often faults are tried, and a table at the end of a soak that says what came of it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from shared import MadeOnce
from shell import run_cfcli, write_ratings
from soak import SOAK, Count, Tried

pytest.register_assert_rewrite("artifact_faults", "machine_faults", "store_faults")

KEY = "tried"  # of a test's properties, which also xdist brings home


@pytest.fixture(scope="session")
def count() -> Count:
    """How often to try: ``count(ci, soak)``."""
    return lambda ci, soak: soak if SOAK else ci


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    """Notes for the table: ``tried(fault, what, number tried, number lost)``."""

    def note(fault: str, what: str, number: int, lost: int) -> None:
        assert number > 0
        record_property(KEY, (fault, what, number, lost))

    return note


@pytest.fixture(scope="session")
def ready(made_once: MadeOnce) -> Path:
    """A folder with ``ratings.csv`` and ``pairs.csv``, and with ``data`` and the run ``mf``, which
    has samples, made by the console script."""
    return made_once("ready", fill_ready)


def fill_ready(folder: Path) -> None:
    write_ratings(folder / "ratings.csv")
    (folder / "pairs.csv").write_text(
        "userId,movieId\n" + "".join(f"{1 + k % 80},{1 + k % 60}\n" for k in range(240))
    )
    for command in ("prepare ratings.csv", "train --epochs 60 --patience 60 --out mf"):
        done = run_cfcli(*command.split(), cwd=folder)
        assert done.returncode == 0, done.stderr


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total: dict[tuple[str, str], Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for key, value in report.user_properties:
                if key == KEY:
                    fault, what, tried, lost = value
                    total.setdefault((fault, what), Counter()).update(tried=tried, lost=lost)
    if not SOAK or not total:
        return
    width = max(len(what) for _, what in total)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':<5} | {'what':<{width}} | {'tried':>7} | {'lost':>5}")
    for (fault, what), n in sorted(
        total.items(), key=lambda pair: (pair[0][0][0], int(pair[0][0][1:]), pair[0][1])
    ):
        terminalreporter.write_line(
            f"{fault:<5} | {what:<{width}} | {n['tried']:>7,} | {n['lost']:>5,}"
        )
