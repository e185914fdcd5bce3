"""What cross-validate and compare print, and that Python says the same."""

import json
import shutil
from pathlib import Path

import pytest
from planted import checkerboard, write_csv
from shell import lines, on_terminal, run_cfcli

import cfcli

FLAGS = ("--folds", "2", "--dim", "2", "--epochs", "2", "--no-interest")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``r.csv`` and ``out``, a cross-validation that is finished."""
    folder = tmp_path_factory.mktemp("cross")
    write_csv(folder / "r.csv", checkerboard())
    done = run_cfcli("cross-validate", "r.csv", *FLAGS, "--out", "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "found.json").write_text(done.stdout)
    (folder / "said").write_text(done.stderr)
    return folder


def test_json_has_the_keys_of_the_contract(place: Path) -> None:
    found = json.loads((place / "found.json").read_text())
    assert found["folds"] == len(found["evaluations"]) == 2
    for errors in (found["model"], *found["baselines"].values()):
        assert list(errors) == ["mse", "rmse", "mae"]
        assert all(list(spread) == ["mean", "std"] for spread in errors.values())
    assert list(found["baselines"]) == ["mean", "user_mean", "item_mean", "bias"]
    assert {"popular", "rating", "list"} <= set(found["lists"])
    assert set(found["lists"]["list"]["liked"]["ndcg"]) == {"mean", "std"}
    assert found["evaluations"][0]["run"] == "out/fold-1/run"


def test_each_fold_is_one_line_and_a_finished_one_is_kept(place: Path) -> None:
    said = (place / "said").read_text().splitlines()
    assert [line.partition(":")[0] for line in said] == ["fold 1/2", "fold 2/2"]
    again = run_cfcli("cross-validate", "r.csv", *FLAGS, "--out", "out", cwd=place)
    assert again.returncode == 0
    assert again.stderr.count("kept from before") == 2
    mean = json.loads((place / "found.json").read_text())["model"]["rmse"]["mean"]
    assert f"{mean:.4f} ± " in again.stdout
    other = run_cfcli("cross-validate", "r.csv", *FLAGS, "--out", "out", "--seed", "1", cwd=place)
    assert other.returncode == 2
    assert other.stderr.startswith("error: out: was begun with seed 42, not 1")


def test_python_says_the_same(place: Path) -> None:
    keys = {"dim": 2, "epochs": 2, "interest": False}
    found = cfcli.cross_validate(place / "r.csv", folds=2, quiet=True, **keys)
    expected = json.loads((place / "found.json").read_text())
    assert found.model.rmse.mean == expected["model"]["rmse"]["mean"]
    with pytest.raises(cfcli.ConfigError, match="did you mean 'dim'"):
        cfcli.cross_validate(place / "r.csv", dims=3)
    with pytest.raises(cfcli.ConfigError, match="since cannot be combined with data"):
        cfcli.cross_validate(data=place / "out" / "fold-1" / "data", since="2020-01-01")


def test_no_table_is_wider_than_80_and_no_name_is_broken(place: Path, tmp_path: Path) -> None:
    again = "cross-validate", "r.csv", *FLAGS, "--out", "out"
    long = tmp_path / ("a-long-name" * 6) / "run"
    shutil.copytree(place / "out" / "fold-1", long.parent)
    for args in (again, ("compare", *["out/fold-1/run"] * 2), ("compare", "out/fold-1/run", long)):
        shown = lines(on_terminal(*args, cwd=place, columns=80))
        rows = [line for line in shown if line[:1] in ("┏", "│")]
        assert rows
        assert max(map(len, rows)) <= 80
        assert "…" not in "".join(shown)
        if args[0] == "compare":
            assert all(any(str(name) in line for line in shown) for name in args[1:])
    assert f"run 2 = {long}:" in " ".join(shown)


def test_compare_says_what_differs(place: Path) -> None:
    run = "out/fold-1/run"
    done = run_cfcli("compare", run, run, "--json", cwd=place)
    first, second = json.loads(done.stdout)["runs"]
    assert "verdict" not in first
    assert second["rmse_difference"] == {"value": 0, "low": 0, "high": 0}
    assert set(second["model"]) == {"mse", "rmse", "mae", "r2"}
    shown = run_cfcli("compare", run, run, cwd=place).stdout
    assert f"{run}: no difference can be told" in shown
    other = run_cfcli("compare", run, "out/fold-2/run", cwd=place)
    assert other.returncode == 7
    assert "its test rows are not those of out/fold-1/run" in other.stderr
    assert cfcli.compare([place / run, place / run]).runs[1].verdict == second["verdict"]
