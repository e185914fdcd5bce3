"""retrain, rollback, status and verify, as cron and people call them."""

import json
import re
import shutil
from pathlib import Path

import planted
import pytest
from shell import lines, on_terminal, run_cfcli, write_ratings

from cfcli.core.retraining.store import Store
from cfcli.core.storage import manifests

FLAGS = ("--store", "models", "--dim", "4", "--epochs", "6")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``one.csv``, ``two.csv`` (all rows and more) and ``models``, after a night on
    each."""
    folder = tmp_path_factory.mktemp("nightly")
    write_ratings(folder / "two.csv")
    lines = (folder / "two.csv").read_text().splitlines()
    (folder / "one.csv").write_text("\n".join(lines[:-120]) + "\n")
    for name in ("one", "two"):
        done = run_cfcli(
            "retrain", f"{name}.csv", *FLAGS, "--metrics-file", "cfcli.prom", "--json", cwd=folder
        )
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.json").write_text(done.stdout)
        (folder / f"{name}.err").write_text(done.stderr)
    return folder


def test_json_has_the_keys_of_the_contract(place: Path) -> None:
    first, second = (json.loads((place / f"{name}.json").read_text()) for name in ("one", "two"))
    assert first["published"] is second["published"] is True
    assert (first["previous"], second["previous"]) == (None, first["run"])
    assert second["reason"] == ""
    assert second["new_users"] > 0
    assert second["new_items"] == 0
    for part in ("model", "champion"):
        assert second[part]["mse"] == pytest.approx(second[part]["rmse"] ** 2)
    assert (place / "models" / "current").resolve() == (place / second["run"]).resolve()


def test_cron_gets_one_line(place: Path) -> None:
    line = (place / "two.err").read_text()
    assert line.count("\n") == 1
    stamp, name, rest = line.split(" ", 2)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", stamp)
    assert name == "retrain"
    found = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', rest))
    expected = json.loads((place / "two.json").read_text())
    assert found["status"] == "published"
    assert found["run"] == Path(expected["run"]).name
    assert float(found["rmse"]) == pytest.approx(expected["model"]["rmse"], abs=1e-4)
    assert found["start"] == "warm"
    assert found["reason"] == '""'


def test_nothing_changed_is_said_and_is_no_failure(place: Path) -> None:
    done = run_cfcli("retrain", "two.csv", *FLAGS, cwd=place)
    assert done.returncode == 0
    assert "status=unchanged" in done.stderr
    assert "nothing changed since" in done.stderr
    assert done.stdout == json.loads((place / "two.json").read_text())["run"] + "\n"
    quiet = run_cfcli("retrain", "two.csv", *FLAGS, "--quiet", cwd=place)
    assert (quiet.returncode, quiet.stderr, quiet.stdout) == (0, "", done.stdout)


def test_what_reads_a_run_reads_the_current_one(place: Path) -> None:
    (place / "pairs.csv").write_text("userId,movieId\n1,1\n80,60\n")
    done = run_cfcli("predict", "models/current", "pairs.csv", cwd=place)
    assert done.returncode == 0
    assert done.stdout.count(",model") == 2
    done = run_cfcli("evaluate", "models/current", "--json", cwd=place)
    report = json.loads((place / "two.json").read_text())
    assert json.loads(done.stdout)["model"]["mse"] == pytest.approx(report["model"]["mse"])


def test_a_refused_model_is_exit_6_and_changes_nothing(place: Path) -> None:
    before = (place / "models" / "current").resolve()
    args = (
        "retrain",
        "two.csv",
        "--store",
        "models",
        "--solver",
        "adam",
        "--learning-rate",
        "0.000001",
        "--dim",
        "3",
    )
    done = run_cfcli(
        *args,
        "--epochs",
        "1",
        "--min-gain-over",
        "none",
        "--metrics-file",
        "6.prom",
        "--json",
        cwd=place,
    )
    assert done.returncode == 6
    report = json.loads(done.stdout)
    assert (report["published"], report["status"]) == (False, "refused")
    assert done.stderr.count("\n") == 1
    assert "status=refused" in done.stderr
    assert 'reason="RMSE ' in done.stderr
    assert (place / "models" / "current").resolve() == before
    assert 'cfcli_retrain_exit_code{store="models"} 6.0' in (place / "6.prom").read_text()
    done = run_cfcli(*args, "--epochs", "2", "--min-gain-over", "none", "--quiet", cwd=place)
    assert done.returncode == 6
    assert done.stderr.startswith("error: models/runs/")
    assert "not published: RMSE" in done.stderr
    done = run_cfcli(*args[:2], "--store", "new", *args[4:], "--epochs", "1", cwd=place)
    assert (done.returncode, done.stdout) == (6, "")
    assert not (place / "new" / "current").exists()


def test_prometheus_is_told_of_success_and_of_failure(place: Path) -> None:
    text = (place / "cfcli.prom").read_text()
    report = json.loads((place / "two.json").read_text())
    values = dict(re.findall(r'^cfcli_(\w+)\{store="models"\} (\S+)$', text, re.MULTILINE))
    assert float(values["model_rmse"]) == float(values["current_rmse"]) == report["model"]["rmse"]
    assert float(values["retrain_exit_code"]) == 0
    assert float(values["retrain_published"]) == 1
    assert float(values["ratings"]) == report["ratings"]
    assert (
        float(values["retrain_timestamp_seconds"])
        >= float(values["current_created_timestamp_seconds"])
        > 1.6e9
    )
    assert text.count("# TYPE ") == text.count("# HELP ") == len(values)
    (place / "bad.csv").write_text("user,item,rating\n1,1,x\n")
    done = run_cfcli("retrain", "bad.csv", *FLAGS, "--metrics-file", "cfcli3.prom", cwd=place)
    assert done.returncode == 3
    assert done.stderr.startswith("error: bad.csv:2")
    text = (place / "cfcli3.prom").read_text()
    assert 'cfcli_retrain_exit_code{store="models"} 3.0' in text
    assert "cfcli_current_created_timestamp_seconds" in text
    assert "cfcli_model_rmse" not in text
    assert "cfcli_current_rmse" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(
    ("ratings", "more", "code", "words"),
    [
        ("two.csv", ["--tolerance", "9"], 4, "retrain status=published"),
        ("two.csv", ["--solver", "adam", "--learning-rate", "1e-6"], 6, "retrain status=refused"),
        ("bad.csv", [], 3, "error: bad.csv:2"),
    ],
)
def test_metrics_that_cannot_be_written_hide_nothing(
    ratings: str, more: list[str], code: int, words: str, place: Path, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(place, tmp_path / "here", symlinks=True))
    (here / "bad.csv").write_text("user,item,rating\n1,1,x\n")
    flags = (*FLAGS, "--seed", "9", "--metrics-file", "/dev/full", *more)
    done = run_cfcli("retrain", ratings, *flags, cwd=here)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "/dev/full: No space left on device" in done.stderr
    if code == 4:
        new = Store(here / "models").current()
        assert new
        assert done.stdout == f"models/runs/{new.name}\n"
        assert f"run={new.name} " in done.stderr


def test_metrics_that_may_not_be_written_are_refused_first(place: Path) -> None:
    before = sorted((place / "models").rglob("*"))
    for name, code in (("models", 2), ("two.csv/x.prom", 2), ("models/current/x.prom", 2)):
        done = run_cfcli("retrain", "none.csv", *FLAGS, "--metrics-file", name, cwd=place)
        assert done.returncode == code, done.stderr
    assert sorted((place / "models").rglob("*")) == before


@pytest.mark.parametrize("wait", ["nan", "inf", "-1"])
def test_a_time_that_is_none_is_not_waited(wait: str, place: Path) -> None:
    for command in (("retrain", "two.csv"), ("rollback",)):
        done = run_cfcli(*command, "--store", "models", f"--wait={wait}", cwd=place)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--wait: {wait} is no number of seconds" in done.stderr


def test_a_shrunken_input_is_exit_3(place: Path) -> None:
    lines = (place / "two.csv").read_text().splitlines()
    (place / "few.csv").write_text("\n".join(lines[:300]) + "\n")
    done = run_cfcli("retrain", "few.csv", *FLAGS, cwd=place)
    assert done.returncode == 3
    assert "--accept-shrink" in done.stderr


def test_status_shows_each_night_and_its_age_may_be_too_high(place: Path) -> None:
    done = run_cfcli("status", "--store", "models", "--max-age", "36h", cwd=place)
    assert done.returncode == 0
    current = (place / "models" / "current").resolve().name
    assert re.search(rf"models: {current} in use, \d+ (s|min) old", done.stdout)
    assert re.findall(r"^ *(\S+) .*  in use *$", done.stdout, re.MULTILINE) == [current]
    assert "published" in done.stdout
    stale = run_cfcli("status", "--store", "models", "--max-age", "0.001s", "--json", cwd=place)
    assert stale.returncode == 8
    assert json.loads(stale.stdout)["current"] == current
    assert "more than 0 s" in stale.stderr
    env = {"CFCLI_STORE": "models"}
    assert run_cfcli("status", "--quiet", cwd=place, env=env).stdout == ""
    nothing = run_cfcli("status", "--store", "elsewhere", cwd=place)
    assert nothing.returncode == 7
    assert "nothing is published there; 'cfcli retrain RATINGS --store elsewhere'" in nothing.stderr
    assert not (place / "elsewhere").exists()
    assert run_cfcli("status", "--store", "models", "--max-age", "soon", cwd=place).returncode == 2


def test_rollback_and_forth(place: Path) -> None:
    first, second = (
        json.loads((place / f"{name}.json").read_text())["run"] for name in ("one", "two")
    )
    done = run_cfcli("rollback", "--store", "models", cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{first}\n")
    assert f"in use: {Path(first).name}, before: {Path(second).name}" in done.stderr
    done = run_cfcli(
        "rollback", "--store", "models", "--to", Path(second).name, "--json", cwd=place
    )
    assert json.loads(done.stdout) == {"run": second, "previous": first}


def test_two_at_once_are_one_and_exit_5(place: Path) -> None:
    with Store(place / "models").locked():
        for args in (("retrain", "two.csv", *FLAGS), ("rollback", "--store", "models")):
            done = run_cfcli(*args, cwd=place)
            assert done.returncode == 5
            assert re.search(
                r"models: process \d+ is at work there; try later, or wait with --wait", done.stderr
            )
        assert (
            run_cfcli("status", "--store", "models", cwd=place).returncode == 0
        )  # readers need no lock


def test_settings_come_from_both_tables_of_a_file(place: Path) -> None:
    (place / "nightly.toml").write_text(
        "[prepare]\nmax_bad_rows = 1\nseed = 3\n[train]\ndim = 2\nepochs = 5\n"
    )
    (place / "three.csv").write_text((place / "two.csv").read_text() + "1,1,bad,1\n")
    args = ("retrain", "three.csv", "--store", "from-file", "--config", "nightly.toml")
    done = run_cfcli(*args, "--set", "seed=4", "--set", "rating_range=0,6", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rejected"] == 1
    run = json.loads((place / report["run"] / "run.json").read_text())
    assert (run["config"]["dim"], run["config"]["seed"], run["config"]["rating_range"]) == (
        2,
        4,
        [0, 6],
    )
    data = json.loads((place / "from-file" / "data" / "dataset.json").read_text())
    assert data["config"]["seed"] == 4
    done = run_cfcli(*args, "--set", "dimm=4", cwd=place)
    assert done.returncode == 2
    assert "unknown key 'dimm'; did you mean 'dim'?" in done.stderr


def test_verify_reads_to_the_last_byte(place: Path, tmp_path: Path) -> None:
    done = run_cfcli("verify", "models/current", cwd=place)
    assert done.returncode == 0
    digest = manifests.sha256(place / "models" / "current" / "run.json")
    assert done.stdout == f"{digest}\n"
    done = run_cfcli("verify", "models/current", "--expect-sha256", digest, "--json", cwd=place)
    found = json.loads(done.stdout)
    assert (found["kind"], found["sha256"], found["files"]) == (
        "run",
        digest,
        20,
    )  # 10 and those of its twin
    assert (
        run_cfcli("verify", "models/current", "--expect-sha256", "0" * 64, cwd=place).returncode
        == 7
    )
    done = run_cfcli("verify", "models/data", "--json", cwd=place)
    assert json.loads(done.stdout)["kind"] == "dataset"
    assert run_cfcli("verify", "models", cwd=place).returncode == 7


@pytest.mark.parametrize(
    "name", ["run.json", "gate.json", "samples.safetensors", "seen.parquet", "metrics.csv"]
)
def test_verify_names_the_file_that_changed(name: str, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "models" / "current", tmp_path, dirs_exist_ok=True)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    done = run_cfcli("verify", tmp_path, cwd=place)
    assert done.returncode == 7
    assert str(tmp_path / name) in done.stderr
    assert done.stderr.count("\n") == 1


def test_train_may_begin_with_a_run(place: Path) -> None:
    args = (
        "train",
        "--data",
        "models/data",
        "--dim",
        "4",
        "--epochs",
        "2",
        "--warm-start",
        "models/current",
    )
    done = run_cfcli(*args, "--out", "warm", "--quiet", cwd=place)
    assert done.returncode == 0, done.stderr
    info = json.loads((place / "warm" / "run.json").read_text())
    assert info["warm_start"]["run"] == (place / "models" / "current").resolve().name
    assert info["warm_start"]["new_users"] == 0
    done = run_cfcli(*args, "--out", "other", "--model", "ncf", cwd=place)
    assert done.returncode == 2
    assert "has model mf, not ncf; train without it" in done.stderr
    assert not (place / "other").exists()


def test_a_title_cannot_paint_the_log(place: Path, tmp_path: Path) -> None:
    planted.write_csv(tmp_path / "r.csv", planted.checkerboard(20, 12))
    bad = tmp_path / "\x1b[31mred\nstatus=published"
    done = run_cfcli(
        "retrain",
        "r.csv",
        "--store",
        bad.name,
        "--epochs",
        "2",
        "--min-gain-over",
        "none",
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("where", [".", "run", "run/models"])
def test_a_store_needs_a_folder_of_its_own(where: str, place: Path, tmp_path: Path) -> None:
    shutil.copytree((place / "models" / "current").resolve(), tmp_path / "run")
    planted.write_csv(tmp_path / "r.csv", planted.checkerboard(20, 12))
    before = sorted(tmp_path.rglob("*"))
    done = run_cfcli("retrain", "r.csv", "--store", where, "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    said = "belongs to the run" if where == "run/models" else "needs a folder of its own: --store"
    assert said in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_the_names_of_runs_are_shown_whole_on_a_terminal(place: Path) -> None:
    for columns in (60, 80):
        shown = lines(on_terminal("status", "--store", "models", cwd=place, columns=columns))
        assert max(map(len, shown)) <= columns
        for run in Store(place / "models").runs():
            rows = [line for line in shown if line.startswith(f"│ {run.name} │")]
            assert len(rows) == 1
            assert re.search(r"│ (in use|published|refused|rolled back) +│$", rows[0])
