"""Who wins, and what is refused."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve, to_toml
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError


def test_flags_beat_sets_beat_the_file_beat_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[train]\ndim = 1\nepochs = 1\npatience = 1\n[prepare]\nseed = 9\n")
    config = resolve(
        TrainConfig, file=path, sets=["epochs=2", "patience=2"], flags={"patience": 3, "dim": None}
    )
    assert (config.dim, config.epochs, config.patience, config.min_epochs) == (1, 2, 3, 6)
    assert config.seed == 42
    assert resolve(PrepareConfig, file=path).seed == 9


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig.of(
            model="ncf",
            hidden=(8,),
            batch_size=512,
            initial_rating=3.9,
            rating_range=(0.5, 5.0),
            max_time="5m",
        ),
        PrepareConfig(),
        PrepareConfig(
            user_col='odd "name"\n\\', rating_range=(-10.0, 10.0), top_items=50, split="user-last"
        ),
    ],
)
def test_a_saved_configuration_is_a_configuration(config: Any, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert resolve(type(config), file=tmp_path / "c.toml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\ndims = 3\n", r"c.toml: \[train\]: unknown key 'dims'; did you mean 'dim'\?"),
        ("dim = 3\n", r"c.toml: dim: is in no table; put it under \[train\]$"),
        ("batch_size = 3\n", r"put it under \[train.adam\]$"),
        ("seed = 3\n", r"put it under \[prepare\] or \[train\]$"),
        ("dims = 3\n", "c.toml: unknown key 'dims'; did you mean 'dim'"),
        ("[adam]\nepochs = 3\n", r"c.toml: write \[train.adam\] in place of \[adam\]"),
        ("[trian]\ndim = 3\n", "c.toml: unknown table 'trian'; did you mean 'train'"),
        ("train = 3\n", "'train' is not a table"),
        ("[train\n", "not TOML"),
        (f"x = {'[' * 3000}{']' * 3000}\n", "c.toml: not TOML"),
        ("[train]\ndim = 2.5\n", "dim: 2.5 is not a whole number"),
        ("[train]\nbiases = 1\n", "biases: 1 is not true or false"),
        ("[train]\nhidden = ['a']\n", "hidden: .* is not a list like 64,32"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        resolve(TrainConfig, file=tmp_path / "c.toml")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"none.toml: No such file"):
        resolve(TrainConfig, file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("cls", "setting", "message"),
    [
        (TrainConfig, "dim=0", "dim: 0 is below 1"),
        (TrainConfig, "learning-rate=0", "learning_rate: 0 is not above 0"),
        (TrainConfig, "learning_rate=inf", "learning_rate: inf is not a number"),
        (
            TrainConfig,
            "optimizer=sgd",
            "optimizer: 'sgd' is not one of auto, adam, sparse-adam, rowwise-adagrad",
        ),
        (TrainConfig, "dropout=1", "dropout: 1 is not from 0 to below 1"),
        (TrainConfig, "model=svd", "model: 'svd' is not one of mf, ncf"),
        (TrainConfig, "batch_size=many", "batch_size: 'many' is not a whole number or 'auto'"),
        (TrainConfig, "max_time=soon", "max_time: 'soon' is not a time above 0 like 90s"),
        (TrainConfig, "max_time=0s", "max_time: '0s' is not a time above 0 like 90s"),
        (TrainConfig, "hidden=[8, 0]", "hidden: 0 is below 1"),
        (TrainConfig, "rating_range=[5, 1]", "rating_range: 5 is not below 1"),
        (TrainConfig, "dim", "--set dim: not of the form KEY=VALUE"),
        (PrepareConfig, "val_size=1.5", "val_size: 1.5 is not from 0 to below 1"),
        (PrepareConfig, "val_size=0.95", "leaves no training rows"),
        (PrepareConfig, "max_bad_rows=some", "max_bad_rows: 'some' is neither a count nor a share"),
        (PrepareConfig, "top_items=0", "top_items: 0 is below 1"),
        (PrepareConfig, "max_bad_rows=-1", "max_bad_rows: '-1' is neither a count nor a share"),
        (PrepareConfig, "max_bad_rows=-1%", "max_bad_rows: '-1%' is neither a count nor a share"),
        (PrepareConfig, "max_bad_rows=nan%", "max_bad_rows: 'nan%' is neither a count nor a share"),
        (PrepareConfig, "max_bad_rows=0.5", "max_bad_rows: 0.5 is not a text"),
        (PrepareConfig, "seed=-1", "seed: -1 is not from 0 to 4294967295"),
        (PrepareConfig, "rating_range=1,nan", "rating_range: '1,nan' is not a list like LO,HI"),
        (PrepareConfig, "rating_range=1,2,3", "rating_range: '1,2,3' is not a list like LO,HI"),
        (PrepareConfig, f"val_size={'9' * 400}", "val_size: 9+ is not a number"),
        (PrepareConfig, "spilt=time", "--set: unknown key 'spilt'; did you mean 'split'?"),
        (TrainConfig, "seed=4294967296", "seed: 4294967296 is not from 0 to 4294967295"),
        (TrainConfig, f"dim={'[' * 3000}", r"dim: '\[\[.* is not a whole number"),
        (TrainConfig, "biases=yes", "biases: 'yes' is not true or false"),
    ],
)
def test_values_that_make_no_sense(cls: Any, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(cls, sets=[setting])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("1d", 86400)]
)
def test_times(text: str, seconds: float) -> None:
    assert TrainConfig.of(max_time=text).max_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "rows", "allowed"), [("0", 99, 0), ("7", 99, 7), ("1%", 250, 2), ("0.5%", 1000, 5)]
)
def test_bad_rows_allowed(text: str, rows: int, allowed: int) -> None:
    assert PrepareConfig(max_bad_rows=text).bad_rows_allowed(rows) == allowed


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
RANGES = st.tuples(st.integers(-100, 0), st.integers(1, 100)) | st.tuples(
    st.floats(-9, 0), st.floats(0.5, 9)
)
PREPARE = st.builds(
    PrepareConfig,
    user_col=TEXT,
    top_items=st.none() | st.integers(1),
    since=st.none() | TEXT,
    val_size=st.floats(0, 0.49),
    test_size=st.floats(0, 0.5),
    max_bad_rows=st.sampled_from(["0", "12", "0.1%", "100%"]),
    rating_range=st.none() | RANGES,
    attributes=st.none() | st.just(("age", "zip, code")),
    seed=st.integers(0, 2**32 - 1),
)
TRAIN = st.builds(
    TrainConfig.of,
    solver=st.just("adam"),
    model=st.just("ncf"),
    hidden=st.lists(st.integers(1, 512)),
    batch_size=st.just("auto") | st.integers(1, 2**20),
    learning_rate=st.floats(1e-12, 10),
    biases=st.booleans(),
    initial_rating=st.none() | st.floats(-1e9, 1e9),
)


@settings(max_examples=50, deadline=None)
@given(PREPARE | TRAIN)
def test_any_configuration_survives_the_file(config: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(to_toml(config), encoding="utf-8")
        assert resolve(type(config), file=path) == config


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("since=2024-01-31", "since", "2024-01-31"),  # TOML's own date
        ("max-bad-rows=3", "max_bad_rows", "3"),
        ("max_bad_rows=0.5%", "max_bad_rows", "0.5%"),
        ("rating_range=-10,10", "rating_range", (-10.0, 10.0)),
        ("rating_range=[1, 100]", "rating_range", (1.0, 100.0)),
        ("val_size=0", "val_size", 0.0),
        ("user_col=the user", "user_col", "the user"),
        ("user_col=7", "user_col", "7"),
    ],
)
def test_settings_are_read_as_their_key_wants_them(setting: str, key: str, value: Any) -> None:
    found = getattr(resolve(PrepareConfig, sets=[setting]), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("cls", [PrepareConfig, TrainConfig])
def test_every_key_says_what_it_is(cls: Any) -> None:
    assert all(key.facts.help.endswith(".") for key in keys_of(cls).values())


def test_a_configuration_of_an_earlier_version_still_means_the_sampler() -> None:
    assert (
        TrainConfig.of(learning_rate=2e-3).resolved_solver == "gibbs"
    )  # what earlier versions wrote by default
    assert TrainConfig.of(learning_rate=3e-3).resolved_solver == "adam"
