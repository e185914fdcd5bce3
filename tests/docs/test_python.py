"""The page about Python works as it stands there, and the API keeps its promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import planted
import polars as pl
import pytest

import cfcli

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) > 10
    (tmp_path / "page.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "page.py"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "films.png").stat().st_size > 10_000
    assert re.search(r"RMSE 0\.\d{4}, damped biases 0\.\d{4}", done.stdout)
    assert "no such id" in done.stdout


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, cfcli; print(sorted({'numpy', 'polars', 'torch', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_promised_name_is_there_and_no_other() -> None:
    for name in cfcli.__all__:
        assert getattr(cfcli, name) is not None
    with pytest.raises(AttributeError, match="'cfcli' has no attribute 'fit'"):
        cfcli.fit  # noqa: B018


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cfcli.Run:
    """A small run on a checkerboard of tastes."""
    folder = tmp_path_factory.mktemp("api")
    rows = planted.checkerboard()
    ratings = planted.write_csv(folder / "ratings.csv", rows)
    data = cfcli.prepare(ratings, out=folder / "data")
    return cfcli.train(data, out=str(folder / "run"), dim=3, epochs=6, quiet=True)


def test_a_table_in_memory_makes_the_same_dataset_as_its_file(tmp_path: Path) -> None:
    rows = planted.checkerboard()
    path = planted.write_csv(tmp_path / "ratings.csv", rows)
    of_file = cfcli.prepare(path, out=tmp_path / "file")
    frame = pl.read_csv(path)
    tables = {"polars": frame, "pandas": frame.to_pandas(), "dict": frame.to_dict(as_series=False)}
    for name, table in tables.items():
        made = cfcli.prepare(table, out=tmp_path / name)
        assert made.split("train").equals(of_file.split("train")), name
        assert made.items.equals(of_file.items), name


def test_predictions_take_tables_of_all_kinds_and_ids_as_texts_or_numbers(run: cfcli.Run) -> None:
    pairs = pl.DataFrame({"userId": ["100", "99", "7"], "movieId": ["100", "99", "98"]})
    expected = run.predict(pairs)
    assert expected.columns == ["userId", "movieId", "prediction", "source"]
    assert expected["source"].to_list() == ["model", "model", "item_bias"]
    numbers = pairs.cast(pl.Int64)
    for table in (numbers, numbers.to_pandas(), pairs.to_dict(as_series=False)):
        found = run.predict(table)
        assert found["prediction"].to_list() == expected["prediction"].to_list()
    with pytest.raises(cfcli.InputError, match="no column for the item"):
        run.predict({"userId": ["100"]})


def test_recommendations_are_of_the_users_taste(run: cfcli.Run) -> None:
    found = run.recommend(["100", 99], n=2, include_seen=True)
    assert found["userId"].to_list() == [100, 100, 99, 99] or found["userId"].to_list() == [
        "100",
        "100",
        "99",
        "99",
    ]
    assert all(int(item) % 2 == 0 for item in found["movieId"])
    with pytest.raises(cfcli.InputError, match="'nobody'"):
        run.recommend("nobody")


def test_a_new_user_is_folded_in(run: cfcli.Run) -> None:
    mine = {"userId": ["me"] * 3, "movieId": ["99", "97", "100"], "rating": [5.0, 5.0, 1.0]}
    found = run.recommend(ratings=mine, n=3)
    assert {str(user) for user in found["userId"]} == {"me"}
    assert all(int(item) % 2 == 1 for item in found["movieId"])


def test_neighbours_share_the_taste(run: cfcli.Run) -> None:
    assert all(int(item) % 2 == 0 for item in run.similar(100, n=3)["movieId"])
    with pytest.raises(cfcli.ConfigError, match="title="):
        run.similar()


def test_what_the_command_line_says_python_says_too(run: cfcli.Run) -> None:
    from shell import run_cfcli

    done = run_cfcli("evaluate", run.path, "--no-plots", "--json", cwd=run.path.parent)
    import json

    assert json.loads(done.stdout)["model"]["rmse"] == run.evaluate().rating.rmse
    assert cfcli.load(str(run.path)).info == run.info


def test_unknown_keys_name_the_nearest(run: cfcli.Run, tmp_path: Path) -> None:
    with pytest.raises(cfcli.ConfigError, match="did you mean 'dim'"):
        cfcli.train(run.path.parent / "data", out=tmp_path / "run", dims=3)
