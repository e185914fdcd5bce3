"""Keys by topic, which solver they mean, and files of 0.1."""

import dataclasses
import json
from pathlib import Path

import pytest

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import as_dict, from_dict, resolve, resolve_resumed, to_toml
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError

TOPICS = {"adam", "gibbs", "ncf", "processes"}


def read(text: str, folder: Path, *sets: str, **flags: object) -> tuple[TrainConfig, list[str]]:
    """The configuration of a file, and the notes about it."""
    path = folder / "c.toml"
    path.write_text(text)
    notes: list[str] = []
    config = resolve(
        TrainConfig,
        file=path,
        sets=sets,
        flags=flags,  # type: ignore[arg-type]
        note=notes.append,
    )
    return config, [note.removeprefix(f"{path}: ") for note in notes]


def test_the_name_of_a_key_is_unique_over_all_topics() -> None:
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for topic in TOPICS:
        names += [field.name for field in dataclasses.fields(getattr(TrainConfig(), topic))]
    assert len(names) == len(set(names))
    assert set(names) - TOPICS == set(keys_of(TrainConfig))


def test_the_facts_of_a_key_come_from_its_field() -> None:
    keys = keys_of(TrainConfig)
    assert {key.topic for key in keys.values()} == {"", *TOPICS}
    assert (keys["batch_size"].spelling, keys["link"].spelling) == ("--batch-size", "--set link")
    changeable = {key.name for key in keys.values() if key.facts.may_change}
    assert changeable == {
        "epochs", "min_epochs", "patience", "max_time", "device", "devices", "num_nodes", "threads",
        "interest", "refit",
    }  # fmt: skip
    same = {key.name for key in keys.values() if key.facts.same_for_warm_start}
    assert same == {"model", "dim", "hidden", "biases", "link", "inner_product_weight"}


@pytest.mark.parametrize("name", ["batch_size", "batch-size", "adam.batch_size", "adam.batch-size"])
def test_a_key_is_set_with_or_without_its_topic(name: str) -> None:
    assert resolve(TrainConfig, sets=[f"{name}=512"]).adam.batch_size == 512


def test_keys_are_flat_in_code() -> None:
    config = TrainConfig.of(model="ncf", dim=3, batch_size=512, hidden=(8,), devices=2)
    assert (config.dim, config.adam.batch_size, config.ncf.hidden) == (3, 512, (8,))
    other = config.replace(batch_size="auto", dim=4)
    assert (other.dim, other.adam.batch_size, other.ncf.hidden) == (4, "auto", (8,))
    assert other.values()["devices"] == 2
    with pytest.raises(ConfigError, match="unknown key 'batchsize'; did you mean 'batch_size'"):
        TrainConfig.of(batchsize=3)
    with pytest.raises(ConfigError, match="batch_size: 0 is not from 1 to"):
        config.replace(batch_size=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train.adam]\nhidden = [8]\n", r"\[train.adam\]: 'hidden' belongs to topic 'ncf'"),
        ("[train.adam]\ndim = 8\n", r"\[train.adam\]: 'dim' belongs to no topic"),
        ("[train.adam]\nlinks = 1\n", r"\[train.adam\]: unknown key 'links'; did you mean 'link'"),
        ("[train]\nadam = 3\n", r"'adam' is not a table; write \[train.adam\]"),
        ("[train.adan]\nl2 = 1.0\n", r"unknown key 'adan'; did you mean 'adam'"),
        ("[train.dim]\nl2 = 1.0\n", r"'dim' is not a topic"),
        ("[train]\nl2 = 1.0\n[train.adam]\nl2 = 1.0\n", "l2 is set twice"),
    ],
)
def test_a_wrong_topic_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(text, tmp_path)
    with pytest.raises(ConfigError, match="'hidden' belongs to topic 'ncf'"):
        resolve(TrainConfig, sets=["adam.hidden=8"])


@pytest.mark.parametrize(
    ("setting", "chosen_by"),
    [
        ("batch_size=512", "--batch-size"),
        ("num_workers=1", "--num-workers"),
        ("link=sigmoid", "--set link"),
        ("implicit=false", "--set implicit"),
        ("learning_rate=0.1", "--learning-rate"),
        ("devices=2", "--devices"),
        ("shard_embeddings=true", "--shard-embeddings"),
    ],
)
def test_a_key_of_gradient_descent_chooses_adam(setting: str, chosen_by: str) -> None:
    config = resolve(TrainConfig, sets=[setting])
    assert (config.solver, config.resolved_solver) == ("auto", "adam")
    assert config.chosen_by == chosen_by
    named = config.with_solver_named()
    assert (named.solver, named.chosen_by) == ("adam", "")


@pytest.mark.parametrize(
    "setting",
    ["batch_size=auto", "implicit=true", "learning_rate=0.002", "dim=9", "seed=1", "threads=2",
     "sampler_rank=9", "loader=resident"],
)  # fmt: skip
def test_any_other_key_leaves_the_sampler(setting: str) -> None:
    config = resolve(TrainConfig, sets=[setting])
    assert (config.resolved_solver, config.chosen_by) == ("gibbs", "")
    assert config.resolved_optimizer is None


def test_ncf_is_always_trained_by_adam() -> None:
    config = TrainConfig.of(model="ncf", batch_size=512)
    assert (config.resolved_solver, config.chosen_by) == ("adam", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["solver=gibbs", "batch_size=512"], "solver gibbs does not use batch_size"),
        (["solver=gibbs", "devices=2"], "solver gibbs does not use devices"),
        (["solver=gibbs", "model=ncf"], "solver gibbs only trains mf, not ncf"),
        (["solver=adam", "sampler_rank=9"], "solver adam does not use sampler_rank"),
        (
            ["batch_size=512", "sampler_rank=9"],
            r"solver adam \(chosen by --batch-size\) does not use sampler_rank",
        ),
        (["model=ncf", "sampler_rank=9"], "solver adam does not use sampler_rank"),
        (["hidden=8,4"], "hidden: only ncf has hidden layers"),
        (["dropout=0.5", "solver=adam"], "dropout: only ncf has hidden layers"),
        (
            ["shard_embeddings=true", "implicit=true"],
            "shard_embeddings cannot be combined with implicit = true",
        ),
        (["shard_embeddings=true", "warm_start=x"], "cannot be combined with warm_start"),
        (
            ["shard_embeddings=true", "optimizer=sparse-adam"],
            "cannot be combined with optimizer sparse-adam",
        ),
        (["compiled=true"], "unknown key 'compiled'"),
        (["loader=dataloader"], "loader: 'dataloader' is not one of resident, stream"),
    ],
)
def test_keys_that_contradict_each_other(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(TrainConfig, sets=settings)


def test_features_are_used_unless_tables_come_in_parts() -> None:
    assert TrainConfig().uses_features
    assert not TrainConfig.of(shard_embeddings=True).uses_features
    assert not TrainConfig.of(implicit=False).uses_features
    assert TrainConfig.of(implicit=True).uses_features


def test_a_file_names_its_solver(tmp_path: Path) -> None:
    for text in ("[train.adam]\nbatch_size = 512\n", "[train.processes]\ndevices = 2\n"):
        with pytest.raises(ConfigError, match=r'add the line solver = "adam" under \[train\]'):
            read(text, tmp_path)
        config, notes = read('[train]\nsolver = "adam"\n' + text, tmp_path)
        assert (config.resolved_solver, config.chosen_by, notes) == ("adam", "", [])
    assert read("[train.adam]\nl2 = 1.0\n", tmp_path)[0].resolved_solver == "gibbs"  # the default
    assert read('[train]\nmodel = "ncf"\n[train.adam]\nl2 = 2.0\n', tmp_path)[1] == []


def test_the_command_line_may_name_the_solver_of_a_file(tmp_path: Path) -> None:
    text = "[train.adam]\nbatch_size = 512\n"
    assert read(text, tmp_path, solver="adam")[0].adam.batch_size == 512
    assert read(text, tmp_path, "batch_size=64")[0].chosen_by == "--batch-size"
    assert read(text, tmp_path, "batch_size=auto")[0].resolved_solver == "gibbs"
    with pytest.raises(ConfigError, match="solver gibbs does not use batch_size"):
        read(text, tmp_path, solver="gibbs")


def test_workers_without_a_stream_are_noted() -> None:
    for settings, noted in (
        (["num_workers=2"], True),
        (["num_workers=2", "loader=stream"], False),
        (["loader=stream"], False),
    ):
        notes: list[str] = []
        resolve(TrainConfig, sets=settings, note=notes.append)
        assert ["only --loader stream reads with worker" in note for note in notes] == [
            True
        ] * noted


@pytest.mark.parametrize(
    ("text", "keys", "notes"),
    [
        ("dim = 3\nseed = 4\n", {"dim": 3, "resolved_solver": "gibbs"}, []),
        (
            "batch_size = 512\n",
            {"solver": "adam"},
            [
                "settings have topics now: batch_size under [train.adam]",
                'batch_size makes the solver adam: write solver = "adam" under [train]',
            ],
        ),
        (
            'model = "ncf"\nhidden = [8]\nl2 = 2.0\n',
            {"model": "ncf", "solver": "auto"},
            ["settings have topics now: hidden under [train.ncf], l2 under [train.adam]"],
        ),
        (
            'solver = "adam"\nl2 = 2.0\nsampler_rank = 9\n',
            {"solver": "adam"},
            [
                "settings have topics now: l2 under [train.adam], sampler_rank under [train.gibbs]",
                "sampler_rank has no effect on this model and is ignored",
            ],
        ),
        (
            "hidden = [8]\n",
            {"solver": "adam"},
            [
                "settings have topics now: hidden under [train.ncf]",
                'hidden makes the solver adam: write solver = "adam" under [train]',
                "hidden has no effect on this model and is ignored",
            ],
        ),
        (
            "compiled = true\n",
            {"solver": "adam"},
            [
                "ignored, as it no longer exists: compiled = true",
                'compiled makes the solver adam: write solver = "adam" under [train]',
            ],
        ),
        (
            "compiled = false\n",
            {"resolved_solver": "gibbs"},
            ["ignored, as it no longer exists: compiled = false"],
        ),
        (
            'loader = "dataloader"\n',
            {"solver": "adam"},
            [
                "settings have topics now: loader under [train.adam]",
                'ignored, as it no longer exists: loader = "dataloader"',
                'loader makes the solver adam: write solver = "adam" under [train]',
            ],
        ),
        (
            "learning_rate = 0.002\nimplicit = true\nbatch_size = \"auto\"\nhidden = [64, 32]\n",
            {"resolved_solver": "gibbs"},
            [
                "settings have topics now: learning_rate, implicit and batch_size under "
                "[train.adam], hidden under [train.ncf]"
            ],
        ),
    ],
)  # fmt: skip
def test_files_of_0_1_load_with_one_note(
    text: str, keys: dict[str, object], notes: list[str], tmp_path: Path
) -> None:
    config, found = read(f"[train]\n{text}", tmp_path)
    assert found == (["; ".join(notes)] if notes else [])
    assert {name: getattr(config, name) for name in keys} == keys


def test_flags_win_over_files_of_0_1(tmp_path: Path) -> None:
    config, _ = read("[train]\nhidden = [8]\n", tmp_path, model="ncf")
    assert (config.model, config.ncf.hidden) == ("ncf", (8,))
    assert read("[train]\nimplicit = true\n", tmp_path, "shard_embeddings=true")[0].chosen_by
    with pytest.raises(ConfigError, match="solver gibbs does not use batch_size"):
        read("[train]\nbatch_size = 512\n", tmp_path, solver="gibbs")


RUN_OF_0_1 = {
    "model": "mf", "solver": "auto", "dim": 5, "hidden": [64, 32], "dropout": 0.0, "epochs": 40, "min_epochs": 6,
    "patience": 3, "batch_size": "auto", "optimizer": "auto", "learning_rate": None, "l2": 1.0, "link": "identity",
    "implicit": True, "sampler_rank": None, "biases": True, "inner_product_weight": False, "init_scale": None,
    "initial_rating": None, "rating_range": None, "device": "auto", "loader": "resident", "num_workers": 0,
    "devices": 1, "num_nodes": 1, "threads": "auto", "shard_embeddings": False, "compiled": False,
    "warm_start": None, "max_time": None, "seed": 42,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "solver"),
    [
        ({}, "gibbs"),
        ({"sampler_rank": 9}, "gibbs"),
        ({"batch_size": 512, "sampler_rank": 9}, "adam"),
        ({"model": "ncf", "hidden": [8]}, "adam"),
        ({"shard_embeddings": True, "implicit": False}, "adam"),
    ],
)
def test_the_configurations_of_runs_of_0_1_are_read(
    changes: dict[str, object], solver: str
) -> None:
    config = from_dict(TrainConfig, RUN_OF_0_1 | changes)  # type: ignore[arg-type]
    assert config.resolved_solver == solver
    assert from_dict(TrainConfig, json.loads(json.dumps(as_dict(config)))) == config


def test_plain_values_are_nested_as_in_toml() -> None:
    found = as_dict(TrainConfig.of(model="ncf", hidden=(8,), batch_size=512))
    assert found["model"] == "ncf"
    assert found["ncf"] == {"hidden": [8], "dropout": 0.0}
    assert {name for name, value in found.items() if isinstance(value, dict)} == TOPICS
    assert from_dict(PrepareConfig, as_dict(PrepareConfig(top_items=3))) == PrepareConfig(
        top_items=3
    )


def test_a_saved_configuration_loads_without_a_note(tmp_path: Path) -> None:
    for given in (TrainConfig(), TrainConfig.of(batch_size=512), TrainConfig.of(model="ncf")):
        saved = given.with_solver_named()
        assert read(to_toml(saved), tmp_path) == (saved, [])


def test_a_resumed_run_may_change_how_it_ends_alone(tmp_path: Path) -> None:
    begun = tmp_path / "config.toml"
    begun.write_text(to_toml(TrainConfig.of(batch_size=64).with_solver_named()))
    config = resolve_resumed(begun, None, (), {"epochs": 9, "devices": 2, "dim": None})
    assert (config.epochs, config.processes.devices, config.adam.batch_size) == (9, 2, 64)
    with pytest.raises(ConfigError, match="batch_size: cannot change when a run is resumed"):
        resolve_resumed(begun, None, (), {"batch_size": "128"})
