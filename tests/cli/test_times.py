"""Times that a split needs are read, or the command line names the row."""

import subprocess
from pathlib import Path

import pytest
import shell

from cfcli.core.data.dataset import Dataset

N = 40


def run_cfcli(*args: object) -> "subprocess.CompletedProcess[str]":
    return shell.run_cfcli(*args, cwd=Path.cwd())


def write(*times: str) -> Path:
    """Ratings whose times follow one another, over and over."""
    lines = [f"{k % 8},{k // 8},{k % 5},{times[k % len(times)]}\n" for k in range(N)]
    path = Path("r.csv")
    path.write_text("user,item,rating,date\n" + "".join(lines))
    return path


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "flags", [("--split", "time"), ("--split", "user-last"), ("--since", "2019-01-01")]
)
def test_dates_of_two_readings_are_refused_where_they_are_needed(flags: tuple[str, str]) -> None:
    path = write("03/04/2020", "12/11/2020 10:30")
    done = run_cfcli("prepare", path, "--quiet", *flags)
    assert done.returncode == 3
    message = " ".join(done.stderr.split())
    assert "r.csv:2: column 'date': '03/04/2020' is 2020-03-04 (--time-format %m/%d/%Y)" in message
    assert "or 2020-04-03 (--time-format %d/%m/%Y) (+39 more rows)" in message
    assert not Path("data").exists()
    hashed = run_cfcli("prepare", path)
    assert hashed.returncode == 0
    assert "40 dates, such as '03/04/2020', have two readings" in " ".join(hashed.stderr.split())


@pytest.mark.parametrize(("form", "newest"), [("%d/%m/%Y", (5, 3)), ("%m/%d/%Y", (4, 4))])
def test_the_flag_chooses_a_reading(form: str, newest: tuple[int, int]) -> None:
    path = write("03/05/2020", "04/04/2020")
    done = run_cfcli("prepare", path, "--split", "time", "--time-format", form)
    assert done.returncode == 0
    day = Dataset.load(Path("data")).split("test", times=True)["timestamp"][0]
    assert (day.month, day.day) == newest


def test_a_time_that_cannot_be_read_is_named_where_it_is_needed() -> None:
    path = write("25/12/2020", "Jan 1; 2020")
    done = run_cfcli("prepare", path, "--split", "time", "--quiet")
    assert done.returncode == 3
    message = " ".join(done.stderr.split())
    assert (
        "r.csv:3: column 'date': 'Jan 1; 2020' cannot be read as a time (+19 more rows)" in message
    )
    assert "--split time needs the times, see --time-format" in message
    hashed = run_cfcli("prepare", path)
    assert hashed.returncode == 0
    assert "20 ratings have no readable time" in hashed.stderr


def test_each_time_must_fit_the_form_that_is_named() -> None:
    done = run_cfcli("prepare", write("03/04/2020", "", "13/25/2020"), "--time-format", "%d/%m/%Y")
    assert done.returncode == 3
    message = " ".join(done.stderr.split())
    assert "r.csv:4: column 'date': '13/25/2020' does not fit --time-format %d/%m/%Y (+" in message


def test_dates_in_digits_are_dates_to_since() -> None:
    done = run_cfcli("prepare", write("20200101", "20190101"), "--since", "2019-06-01")
    assert done.returncode == 0
    assert Dataset.load(Path("data")).info.ratings == N // 2


def test_an_unknown_form_is_a_mistake_of_the_caller() -> None:
    done = run_cfcli("prepare", write("20200101"), "--time-format", "dd/mm/yyyy")
    assert done.returncode == 2
    assert "'dd/mm/yyyy' is not ISO, s, ms, us or ns" in " ".join(done.stderr.split())
