"""What commands say to people: progress, verdicts and what comes next."""

import re
import shutil
from pathlib import Path

import pytest
from shell import lines, on_terminal, run_cfcli

import cfcli
from cfcli.cli.console import Out, wrapped
from cfcli.cli.guide.environment import PREFIX, without_effect
from cfcli.cli.output.progress import LINES_EVERY, clock

TRAIN = ("train", "--no-plots", "--epochs", "5", "--no-interest")
EPOCH = re.compile(r"epoch +\d+/\d+ .*")


@pytest.fixture
def place(project: Path, tmp_path: Path) -> Path:
    shutil.copytree(project, tmp_path / "place", symlinks=True)
    return tmp_path / "place"


def test_a_terminal_shows_epochs_time_left_and_the_next_command(place: Path) -> None:
    seen = lines(on_terminal(*TRAIN, "--out", "a", cwd=place, columns=80, errors=True))
    assert max(map(len, seen)) <= 80
    header = seen.index("sampler      train RMSE  val RMSE         time    ratings/s")
    epochs = [line for line in seen if EPOCH.fullmatch(line) and "ratings" not in line]
    rows = [line for line in epochs if line.count(".") >= 3]
    assert [row.split("/")[0].split()[-1] for row in rows] == ["1", "2", "3", "4", "5"]
    assert seen.index(rows[0]) > header
    assert {len(row) for row in rows} == {len(seen[header])}
    assert len(seen[header]) <= 79
    assert any("at most 0:0" in line and "left" in line for line in seen)
    assert re.search(r"\nrating model, dimension 5: val RMSE 0\.\d{4}, MAE", "\n".join(seen))
    assert seen[-2:] == ["next: cfcli evaluate a", ""]
    seen = lines(on_terminal("evaluate", "a", "--no-plots", cwd=place, columns=80, errors=True))
    text = " ".join(seen)
    assert "ratings: better than damped biases, so worth using (MSE -" in text
    assert re.search(r"lists: [a-z ]+ the most rated items[^(]+\(nDCG [+-]0", text)
    assert seen[-2:] == ["next: cfcli recommend a --user 1", ""]
    again = ("prepare", "ratings.csv", "--force")
    assert "next: cfcli train" in lines(on_terminal(*again, cwd=place, errors=True))
    for flag in ("--json", "--quiet"):
        assert "next:" not in on_terminal(*again, flag, cwd=place, errors=True)


def test_a_pipe_gets_the_first_epoch_and_the_last(place: Path) -> None:
    done = run_cfcli(*TRAIN, "--out", "a", cwd=place)
    rows = [line for line in done.stderr.splitlines() if EPOCH.fullmatch(line)]
    assert [row.split("/")[0] for row in rows] == ["epoch   1", "epoch   5"]
    assert "next:" not in done.stderr
    assert "damped biases: val RMSE" in done.stderr
    done = run_cfcli(*TRAIN, "--out", "b", cwd=place, env={LINES_EVERY: "0"})
    assert len([line for line in done.stderr.splitlines() if EPOCH.fullmatch(line)]) == 5


def test_a_training_that_learns_nothing_is_no_better_than_biases(place: Path) -> None:
    args = ("--solver", "adam", "--learning-rate", "1e-9", "--epochs", "1", "--out", "none")
    done = run_cfcli("train", *args, "--no-interest", "--no-plots", cwd=place)
    assert "the rating model is no better, so it is not worth using as it is" in done.stderr


def test_a_file_that_shares_no_id_with_the_run_is_refused_in_these_words(place: Path) -> None:
    (place / "other.csv").write_text("userId,movieId,rating\nann,x,3\nbob,y,4\n")
    said = "none of its users and none of its items are in the run"
    for args in (("evaluate", "base", "--ratings"), ("predict", "base")):
        done = run_cfcli(*args, "other.csv", cwd=place)
        assert (done.returncode, done.stderr.startswith(f"error: other.csv: {said}")) == (3, True)


@pytest.mark.parametrize(
    ("flag", "content", "said"),
    [
        ("--users", "1|Toy Story (1995)|01-Jan-1995||http://x" + "|0" * 19, "give it as --items"),
        ("--items", "1|24|M|technician|85711", "give it as --users"),
        ("--users", "1,24,M", "its first line is no header ('1', '24', 'M' ...)"),
        ("--items", "1,24,M", "its first line is no header ('1', '24', 'M' ...)"),
    ],
)
def test_files_of_users_and_items_without_a_header(
    flag: str, content: str, said: str, place: Path
) -> None:
    (place / "file").write_text(content + "\n" + content + "\n")
    done = run_cfcli("prepare", "ratings.csv", flag, "file", "--force", cwd=place)
    assert done.returncode == 3
    assert said in done.stderr
    assert "matrix" not in done.stderr


def test_a_path_in_an_error_is_the_one_that_was_asked_for(place: Path) -> None:
    done = run_cfcli("export-embeddings", "base", "--out", "/proc/x.csv", cwd=place)
    assert done.stderr == "error: /proc/x.csv: No such file or directory\n"


def test_environment_variables_without_effect_are_told_with_the_nearest_name(place: Path) -> None:
    given = {"CFCLI_DIMM": "3", "CFCLI_THREADS": "1", "CFCLI_DIM": "4", "CFCLI_XYZ": "1"}
    done = run_cfcli("verify", "base", cwd=place, env=given)
    assert done.returncode == 0
    text = "note: the environment variable"
    assert done.stderr.splitlines()[:3] == [
        f"{text} CFCLI_DIMM has no effect; did you mean CFCLI_DIM?",
        f"{text} CFCLI_THREADS has no effect; set it by --set threads=VALUE or in a file for "
        "--config",
        f"{text} CFCLI_XYZ has no effect, and no setting has that name",
    ]
    assert run_cfcli("verify", "base", "--quiet", cwd=place, env=given).stderr == ""


def test_a_folder_that_was_made_for_a_file_is_told(place: Path) -> None:
    args = "recommend", "base", "--user", "1", "--out", "mdoels/a/b.csv"
    done = run_cfcli(*args, cwd=place)
    assert done.stderr.splitlines()[-1] == "note: made the folder mdoels/a, which was not there"
    assert "made" not in run_cfcli(*args, cwd=place).stderr
    assert run_cfcli(*args[:-1], "other/b.csv", "--quiet", cwd=place).stderr == ""


def test_no_variable_that_the_code_reads_is_called_one_without_effect() -> None:
    files = Path(cfcli.__file__).parent.rglob("*.py")
    names = {
        name for file in files for name in re.findall(r'[$"](CFCLI_[A-Z_]+)', file.read_text())
    }
    assert len(names) > 6
    assert without_effect(dict.fromkeys(names - {PREFIX}, "")) == []


def test_lists_on_a_terminal_say_what_the_score_is_and_give_reasons_by_title(place: Path) -> None:
    args = "recommend", "base", "--user", "1", "-n", "2"
    shown = lines(on_terminal(*args, cwd=place, columns=80))
    assert shown[-2] == "score: interest, predicted rating and popularity together; it has no unit"
    shown = lines(on_terminal(*args, "--by", "rating", cwd=place, columns=80))
    assert shown[-2] == "score: the predicted rating before it is brought to the scale, 0.5 to 5"
    shown = lines(on_terminal(*args, "--why", "2", cwd=place, columns=80))
    assert sum("┃ title, and because of " in line for line in shown) == 1
    assert sum("│ - Film, number " in line for line in shown) == 4
    shown = lines(on_terminal(*args, "--why", "2", cwd=place, columns=120))
    assert any("title" in line and "because" in line for line in shown)


def test_what_looks_like_an_emoji_or_markup_stays_as_it_is(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Out().note(":heart: [red]")
    assert capsys.readouterr().err == "note: :heart: [red]\n"


def test_times_are_short() -> None:
    assert [clock(seconds) for seconds in (0, 7, 750, 3750)] == ["0:00", "0:07", "12:30", "1:02:30"]


def test_lines_break_between_words_and_not_inside_a_command() -> None:
    text = "runs/a: stopped early; go on with 'cfcli train --resume runs/a --max-time 20m' or not"
    assert wrapped(text, 40).split("\n") == [
        "runs/a: stopped early; go on with",
        "'cfcli train --resume runs/a --max-time 20m'",
        "or not",
    ]
