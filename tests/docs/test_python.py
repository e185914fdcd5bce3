"""The page about Python works as it stands there, and the API keeps its promises."""

import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest

import cfcli
from cfcli import api

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) > 10
    text = "\n".join(blocks)
    few = text.replace('"sample", out="data"', '"sample", out="data", sample=20_000')
    assert few != text
    (tmp_path / "page.py").write_text(few)
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


PAIRS = {"userId": ["100"], "movieId": ["100"]}
Call = Callable[[cfcli.Run], object]
WRONG_CHOICES: dict[str, tuple[Call, str]] = {
    "Dataset.split(name)": (
        lambda run: cfcli.prepare(dataset_of(run), out=dataset_of(run).parent / "data").split(
            "tset"
        ),
        "name: 'tset' is not one of test, val, train; did you mean 'test'?",
    ),
    "Run.evaluate(split)": (
        lambda run: run.evaluate("tset"),
        "split: 'tset' is not one of test, val, train; did you mean 'test'?",
    ),
    "Run.predict(unknown)": (
        lambda run: run.predict(PAIRS, unknown="xx"),
        "unknown: 'xx' is not one of fallback, nan, skip, error",
    ),
    "Run.recommend(by)": (
        lambda run: run.recommend("100", by="ratings"),
        "by: 'ratings' is not one of list, interest, rating; did you mean 'rating'?",
    ),
    "Run.similar(metric)": (
        lambda run: run.similar("100", metric=None),
        "metric: None is not one of cosine, dot, euclidean",
    ),
    "Run.embeddings(entity)": (
        lambda run: run.embeddings("item"),
        "entity: 'item' is not one of items, users; did you mean 'items'?",
    ),
    "Run.embeddings(layout)": (
        lambda run: run.embeddings(layout=["list"]),
        "layout: a value of type list is not one of columns, list",
    ),
    "Run.embeddings(vectors)": (
        lambda run: run.embeddings(vectors=""),
        "vectors: '' is not one of list, interest, rating",
    ),
    "compare(split)": (
        lambda run: cfcli.compare([run, run], split="Test"),
        "split: 'Test' is not one of test, val, train; did you mean 'test'?",
    ),
}


def dataset_of(run: cfcli.Run) -> Path:
    """The ratings of the run of this module."""
    return run.path.parent / "ratings.csv"


def choices_of_the_api() -> Iterator[str]:
    """All arguments that are a choice, as ``Run.similar(metric)``."""
    for prefix, owner in ("", api), ("Dataset.", api.Dataset), ("Run.", api.Run):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if name.startswith("_") or function.__module__ != api.__name__:
                continue
            for argument in inspect.signature(function).parameters.values():
                if typing.get_origin(argument.annotation) is typing.Literal:
                    yield f"{prefix}{name}({argument.name})"


def test_a_wrong_word_never_passes_for_a_choice(run: cfcli.Run) -> None:
    assert sorted(WRONG_CHOICES) == sorted(choices_of_the_api())
    for name, (call, message) in WRONG_CHOICES.items():
        with pytest.raises(cfcli.ConfigError) as caught:
            call(run)
        assert str(caught.value) == message, name


def test_right_words_give_what_they_name(run: cfcli.Run) -> None:
    columns = run.info.columns
    assert run.embeddings("items").columns[0] == columns.item
    assert run.embeddings("users").columns[0] == columns.user
    assert run.embeddings("users").height == run.users.height
    assert run.embeddings("items", layout="list").columns == [columns.item, "embedding"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.recommend(n="3"), "n: '3' is not a whole number"),
        (lambda run: run.recommend("100", why=1.0), "why: 1.0 is not a whole number"),
        (lambda run: run.recommend("100", min_ratings=-1), "min_ratings: -1 is below 0"),
        (lambda run: run.recommend("100", diversify="1"), "diversify: '1' is not a number"),
        (lambda run: run.recommend(1.5), "users: give an id or a list of ids, not 1.5"),
        (lambda run: run.similar("100", n="2"), "n: '2' is not a whole number"),
        (lambda run: run.similar("100", n=True), "n: True is not a whole number"),
        (lambda run: run.similar("100", n=0), "n: 0 is below 1"),
        (lambda run: run.similar(["100"]), "item: give one id, not a value of type list"),
        (lambda run: run.similar(title=5), "title: give a text, not 5"),
        (lambda run: run.evaluate(data=5), "data: give a path, not 5"),
        (
            lambda run: run.predict("pairs.csv"),
            "not a table of columns: 'pairs.csv'; read a file with polars.read_csv",
        ),
        (
            lambda run: cfcli.prepare([[1, 2, 3]]),
            "ratings: give a path, a list of paths, or a table with named columns",
        ),
        (
            lambda run: cfcli.prepare([]),
            "ratings: give a path, a list of paths, or a table with named columns",
        ),
        (
            lambda run: cfcli.prepare({"user": [object()], "item": ["1"], "rating": [1]}),
            "the table: column 'user' holds neither texts nor numbers",
        ),
        (lambda run: cfcli.prepare(dataset=5), "dataset: give a name, not 5"),
        (lambda run: cfcli.prepare("r.csv", items=5), "items: give a path, not 5"),
        (lambda run: cfcli.train(5), "data: give a path, not 5"),
        (lambda run: cfcli.load(None), "path: give a path, not None"),
        (
            lambda run: cfcli.compare("runs"),
            "runs: give a list of runs or of their folders, not 'runs'",
        ),
        (lambda run: cfcli.compare([run, 5]), "runs: give a path, not 5"),
    ],
)
def test_values_of_a_wrong_type_are_refused_in_plain_words(
    run: cfcli.Run, call: Call, message: str
) -> None:
    with pytest.raises((cfcli.ConfigError, cfcli.InputError)) as caught:
        call(run)
    assert str(caught.value) == message


def test_numbers_of_numpy_are_numbers(run: cfcli.Run) -> None:
    assert run.similar(np.int64(100), n=np.int64(3)).height == 3
    assert run.recommend(np.int64(100), n=np.int64(1), include_seen=True).height == 1


def test_errors_and_warnings_name_arguments_and_no_flags(run: cfcli.Run, tmp_path: Path) -> None:
    table = {"user": ["1", "2"], "item": ["1", "2"], "rating": [1, 2]}
    data = run.path.parent / "data"
    said = {
        "replace it with force=True, or choose another out=": lambda: cfcli.prepare(
            table, out=data
        ),
        "name it with user_col=": lambda: cfcli.prepare({"a": ["1"], "item": ["1"], "rating": [1]}),
        'split="time" needs a column of times; name it with time_col=': lambda: cfcli.prepare(
            table, out=tmp_path / "data", split="time"
        ),
        "attributes: needs items= or users=": lambda: cfcli.prepare(table, attributes=["age"]),
        'only adam does: leave it out, or choose solver="adam"': lambda: cfcli.train(
            data, solver="gibbs", batch_size=5
        ),
        "choose another out= or remove it": lambda: cfcli.train(data, out=run.path),
        "folds: '1' makes fewer than two folds": lambda: cfcli.cross_validate(data=data, folds=1),
        "give one of ratings, data= and folds=": lambda: cfcli.cross_validate(),
        "fold new users in with ratings=": lambda: run.recommend("nobody"),
        "is not in .*; see unknown=": lambda: run.predict(
            {"userId": ["100"], "movieId": ["none"]}, unknown="error"
        ),
        "give items= to cfcli.prepare": lambda: run.embeddings(titles=True),
        # The columns of a table for a run are called as the run's own: predict has no user_col=.
        "call it 'userId', as the run does$": lambda: run.predict({"movieId": ["100"]}),
    }
    for message, call in said.items():
        with pytest.raises(cfcli.CfcliError, match=message) as caught:
            call()
        assert "--" not in str(caught.value)
    with pytest.warns(UserWarning, match='only loader="stream" reads with worker processes'):
        cfcli.train(data, out=tmp_path / "run", solver="adam", num_workers=1, epochs=1, quiet=True)


def test_ids_that_look_like_flags_stay_as_they_are(run: cfcli.Run) -> None:
    with pytest.raises(cfcli.InputError, match="user '--force' is not in"):
        run.recommend("--force")
