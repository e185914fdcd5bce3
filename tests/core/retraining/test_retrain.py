"""Night after night: what is trained, what is compared with what, what is published."""

import json
import shutil
from pathlib import Path
from typing import Any

import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, ConfigError, InputError, MachineError, StaleError
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.inputs.sources import Source
from cfcli.core.models.warm_start import WarmStartInfo
from cfcli.core.retraining import retrain as retraining
from cfcli.core.retraining.gate import Policy
from cfcli.core.retraining.store import RolledBack, Store, check_age, hours
from cfcli.core.runs.run import TWIN, Run
from cfcli.core.runs.verdict import Verdict, gate_of, now, read_gate, write_gate
from cfcli.core.storage import publishing
from cfcli.core.storage.schema import to_json

GOOD = TrainConfig.of(solver="adam", learning_rate=0.02, epochs=12, device="cpu")
BAD = TrainConfig.of(
    solver="adam", learning_rate=1e-6, epochs=1, device="cpu", dim=4
)  # not as what is in use: no start
ROWS = planted.checkerboard(40, 24)
FEWER = ROWS.filter(pl.col("user") < 38)
BIASED = ROWS.with_columns(
    rating=pl.when(pl.col("item") % 2 == 0).then(5.0).otherwise(1.0).cast(pl.Float32)
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def night(
    store: Store, rows: pl.DataFrame, train: TrainConfig = GOOD, **keys: Any
) -> dict[str, Any]:
    """One call on these rows."""
    policy = Policy(
        **{name: keys.pop(name) for name in Policy.__dataclass_fields__ if name in keys}
    )
    split = keys.pop("prepare", PrepareConfig(test_size=0.2))
    path = planted.write_csv(store.path.with_name("ratings.csv"), rows)
    return retraining.retrain([Source.of(path)], store, split, train, policy, **keys)


def test_the_first_night_publishes_what_is_better_than_biases(store: Store) -> None:
    report = night(store, ROWS)
    assert report.status == "published"
    assert (report.published, report.previous, report.champion) == (True, None, None)
    assert (report.new_users, report.new_items) == (40, 24)
    assert report.start == "full: nothing is published yet"
    assert report.model.rmse < report.baselines["bias"].rmse
    assert report.n == Dataset.load(store.data).info.test
    current = store.current()
    assert current is not None
    assert current == report.run
    assert current.name.startswith("000001-")
    gate = read_gate(current)
    assert (gate.published, gate.reason, gate.model) == (True, "", report.model)
    assert json.dumps(to_json(report))


def test_a_first_model_that_is_no_better_than_biases_is_kept_but_not_published(
    store: Store,
) -> None:
    report = night(store, BIASED, BAD)
    assert (report.status, report.published) == ("refused", False)
    assert "is not below that of the baseline 'bias'" in report.reason
    assert store.current() is None
    assert [run.name for run in store.runs()] == [Path(report.run).name]
    assert night(store, BIASED, BAD, min_gain_over="none").status == "published"


def test_full_trainings_choose_the_dimension_and_others_keep_it(store: Store) -> None:
    train = TrainConfig.of(dim="auto", epochs=6, device="cpu", interest=False)
    first = night(store, FEWER, train)
    second = night(store, ROWS, train)
    assert (first.published, second.start) == (True, "warm")
    one, other = (Run.load(report.run).info for report in (first, second))
    assert len(one.tried or ()) > 1
    assert other.tried is None
    assert (one.dim, one.config["dim"]) == (other.dim, other.config["dim"])


def test_nothing_changed_nothing_to_do(store: Store) -> None:
    first = night(store, ROWS)
    again = night(store, ROWS)
    assert (again.status, again.published, again.run) == ("unchanged", False, first.run)
    assert "nothing changed since 000001-" in again.reason
    assert (again.new_users, again.new_items) == (0, 0)
    assert len(store.runs()) == 1
    assert night(store, ROWS, BAD).status == "refused"  # other settings
    again = night(store, ROWS, BAD)
    assert again.status == "unchanged"
    assert "which was refused: RMSE" in again.reason
    assert (
        night(store, ROWS, BAD, tolerance=10.0, min_gain_over="none").status == "published"
    )  # another bar


def test_the_next_night_begins_with_the_vectors_in_use(store: Store) -> None:
    first = night(store, FEWER)
    report = night(store, ROWS)
    assert report.status == "published"
    assert report.start == "warm"
    assert (report.new_users, report.new_items) == (2, 0)
    assert report.previous == first.run
    told = Run.load(Path(report.run)).info.warm_start
    assert told == WarmStartInfo(first.run.name, generation=1, new_users=2, new_items=0)


def test_a_worse_model_is_refused_and_the_next_begins_anew(store: Store) -> None:
    first = night(store, FEWER)
    # The same vectors to begin with, spoilt by far too large steps.
    report = night(
        store,
        ROWS,
        TrainConfig.of(solver="adam", learning_rate=3.0, epochs=1, device="cpu"),
        min_gain_over="none",
    )
    assert report.status == "refused"
    assert "% above that of the model in use" in report.reason
    assert report.champion.rmse * 1.01 < report.model.rmse
    assert store.current() == first.run
    assert store.status().refused_since == 1
    report = night(store, ROWS)
    assert (report.status, report.start) == (
        "published",
        "full: the newest run is not the one in use",
    )


def test_both_are_judged_on_rows_that_neither_was_trained_on(store: Store) -> None:
    """Also when the split changes overnight; then tonight's test rows that the champion has seen do
    not count."""
    night(store, ROWS)
    champion = Run.load(store.current() or Path())
    former = Dataset.load(store.data)
    trained = set(zip(*(former.split("train")[name] for name in ("user", "item")), strict=True))
    report = night(store, ROWS, prepare=PrepareConfig(test_size=0.2, seed=7))
    test = Dataset.load(store.data).split("test")
    pairs = list(
        zip(test["user"], test["item"], strict=True)
    )  # the same ids as before, so the same indices
    fair = [k for k, pair in enumerate(pairs) if pair not in trained]
    assert 0 < len(fair) < len(pairs)
    assert report.n == len(fair)
    assert report.start == "full: rows are split otherwise"
    rows = test[fair]
    twin = champion.twin
    assert twin is not None
    predicted = twin.predictor().predict(rows["user"].to_numpy(), rows["item"].to_numpy())
    assert report.champion.mse == pytest.approx(
        ((predicted - rows["rating"].to_numpy()) ** 2).mean(), rel=1e-5
    )


def test_what_is_published_knows_all_ratings(store: Store) -> None:
    report = night(store, ROWS)
    run, data = Run.load(report.run), Dataset.load(store.data)
    assert report.judged == "twin"
    assert run.seen_pairs()["trained"].all()
    assert run.users["n_ratings"].sum() == data.info.ratings
    assert run.twin is not None
    assert run.twin.seen_pairs()["trained"].sum() == data.info.train
    test = data.split("test")
    predicted = run.twin.predictor().predict(test["user"].to_numpy(), test["item"].to_numpy())
    squares = (predicted - test["rating"].to_numpy()) ** 2
    assert report.model.mse == pytest.approx(squares.mean(), rel=1e-5)


@pytest.mark.parametrize("refits", [("val", "all"), ("all", "none"), ("none", "val")])
def test_nights_are_comparable_whatever_is_trained_on_in_the_end(
    refits: tuple[str, str], store: Store
) -> None:
    """Judged is always a model of the training rows alone."""
    for refit, rows in zip(refits, (FEWER, ROWS), strict=True):
        report = night(store, rows, GOOD.replace(refit=refit))
        assert report.status == "published", report.reason
        run = Run.load(report.run)
        assert report.judged == ("run" if refit == "none" else "twin")
        assert set((run.twin or run).fitted_sides) == {"train"}


@pytest.mark.parametrize("outcome", ["published", "refused"])
def test_the_run_in_use_can_be_judged_whatever_became_of_its_dataset(
    outcome: str, store: Store
) -> None:
    first = night(store, ROWS)
    before = evaluate(Run.load(first.run)).evaluation
    again = night(store, ROWS.filter(pl.col("user") > 0), GOOD if outcome == "published" else BAD)
    assert again.status == outcome
    for run in (first.run, again.run):
        found = evaluate(Run.load(run)).evaluation
        assert found.judged == "twin"
    after = evaluate(Run.load(first.run)).evaluation
    assert (after.n, after.model, after.lists) == (before.n, before.model, before.lists)


def test_no_rows_to_judge_by_is_no_reason_to_publish(store: Store) -> None:
    rows = ROWS.filter(pl.col("user") < 8)
    night(store, rows, min_gain_over="none")
    for seed in range(200):  # until there is a test side of which all was trained on
        current = store.current()
        keys = PrepareConfig(test_size=0.01, seed=seed)
        report = night(store, rows, prepare=keys, min_gain_over="none")
        if report.n == 0:
            break
    assert report.status == "refused", seed
    assert report.reason == "no rows to judge by that neither model was trained on"
    assert store.current() == current


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"rows": ROWS, "keys": {"full_every": 2}}, ""),
        ({"rows": ROWS, "keys": {"full_every": 1}}, "every 1 trainings"),
        ({"rows": planted.checkerboard(60, 24), "keys": {}}, "users are new"),
        ({"rows": FEWER, "keys": {"train": BAD}}, "the run in use has dim 5, not 4"),
    ],
)  # fmt: skip
def test_a_full_training_when_too_much_is_new(
    second: dict[str, Any], why: str, store: Store
) -> None:
    night(store, FEWER)
    report = night(store, second["rows"], **second["keys"])
    assert why in report.start
    assert report.start.startswith("full: ") == bool(why)


def test_every_third_training_begins_anew(store: Store) -> None:
    starts = []
    for users in range(30, 37):
        rows = ROWS.filter(pl.col("user") < users)
        starts.append(
            night(store, rows, full_every=3, tolerance=1.0, keep=20).start.partition(":")[0]
        )
    assert starts == ["full", "warm", "warm", "full", "warm", "warm", "full"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.head(200), "has 756 ratings, the new input 200"),
        (ROWS.with_columns(pl.col("user") + 40), "of its users are in the new input"),
        (
            ROWS.with_columns(pl.col("rating") * 20),
            "its ratings go from 1 to 5, those of the new input from 20 to 100",
        ),
        (
            ROWS.with_columns(pl.col("rating").replace(1.0, 0.0)),
            "those of the new input from 0 to 5",
        ),
    ],
)
def test_ratings_that_look_broken_are_refused_first(
    rows: pl.DataFrame, message: str, store: Store
) -> None:
    night(store, ROWS)
    before = Dataset.load(store.data).info
    with pytest.raises(InputError, match=rf"{message}.*--accept-shrink") as caught:
        night(store, rows)
    assert "\n" not in str(caught.value)
    assert Dataset.load(store.data).info == before
    assert len(store.runs()) == 1
    assert (
        night(store, rows, accept_shrink=True, min_gain_over="none", tolerance=9.0).status
        == "published"
    )


def test_more_of_the_same_is_never_refused(store: Store) -> None:
    night(
        store,
        FEWER.filter(pl.col("rating") > 1).vstack(FEWER.filter(pl.col("rating") == 1).head(100)),
    )
    night(store, ROWS)
    assert len(store.runs()) == 2


def test_old_runs_go_but_never_the_current_one_and_the_one_before(store: Store) -> None:
    removed = []
    for users in range(30, 35):
        report = night(store, ROWS.filter(pl.col("user") < users), keep=2, tolerance=1.0)
        removed += report.removed
        assert not list((store.path / "runs").glob(".*"))
    assert [name[:6] for name in removed] == ["000001", "000002", "000003"]
    assert [run.name[:6] for run in store.runs()] == ["000004", "000005"]
    store.rollback()
    for rows in (ROWS, FEWER):  # two that are refused
        assert night(store, rows, BAD, keep=1).status == "refused"
    names = [run.name[:6] for run in store.runs()]
    assert names == [
        "000004",
        "000007",
    ]  # in use, and the newest; none was published before the one in use
    assert (store.current() or Path()).name[:6] == "000004"


def test_back_to_the_run_before_and_forth_again(store: Store) -> None:
    first, second = (Path(night(store, rows).run) for rows in (FEWER, ROWS))
    assert store.previous() == first
    assert store.rollback() == RolledBack(first, second)
    assert store.current() == first
    assert gate_of(second).reason == f"rolled back to {first.name}"
    with pytest.raises(ArtifactError, match="no earlier run to go back to"):
        store.rollback()
    # What was left is not published again by itself ...
    assert night(store, ROWS).status == "unchanged"
    assert store.current() == first
    # ... but by name.
    assert store.rollback(second.name) == RolledBack(second, first)
    assert store.current() == second
    with pytest.raises(ConfigError, match=rf"no run 'gone'; there are {first.name}, {second.name}"):
        store.rollback("gone")


def test_a_run_that_is_damaged_is_never_published(store: Store) -> None:
    first, second = (Path(night(store, rows).run) for rows in (FEWER, ROWS))
    path = first / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        store.rollback()
    assert store.current() == second


def test_a_damaged_model_in_use_is_replaced(store: Store) -> None:
    """And the one before it is what the new one is compared with."""
    first, second = (Path(night(store, rows).run) for rows in (FEWER, ROWS.head(740)))
    (second / "users.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"users\.parquet"):
        store.status()
    report = night(store, ROWS)
    assert report.status == "published"
    assert (
        report.champion.coverage < report.model.coverage == 1
    )  # it does not know the newest users
    assert report.previous == second
    assert first in store.runs()


def test_a_model_in_use_without_its_twin_is_replaced(store: Store) -> None:
    first, second = (Path(night(store, rows).run) for rows in (FEWER, ROWS.head(740)))
    shutil.rmtree(second / TWIN)
    with pytest.raises(ArtifactError, match=r"twin: missing, though .*run\.json names it; copy"):
        _ = Run.load(second).twin
    report = night(store, ROWS)
    assert (report.status, report.previous) == ("published", second)
    assert report.champion.coverage < 1  # the first run was what the new one is compared with
    assert first in store.runs()


def test_what_is_no_pointer_is_found_before_the_training(store: Store) -> None:
    """As a copy of a store has it that was made by ``cp -rL``."""
    run = Path(night(store, FEWER).run)
    current = store.path / "current"
    current.unlink()
    shutil.copytree(run, current)
    for work in (lambda: night(store, ROWS), store.status, store.rollback):
        with pytest.raises(ArtifactError, match="current: is no link"):
            work()
    assert store.runs() == [run]
    assert (current / "run.json").exists()


def test_as_many_runs_are_kept_as_one_likes(store: Store) -> None:
    assert night(store, FEWER, keep=10**30).published
    assert night(store, ROWS, keep=10**30).published
    assert len(store.runs()) == 2


@pytest.mark.parametrize("when", ["before the verdict", "before the pointer"])
def test_a_night_that_was_killed_is_finished_by_the_next(
    when: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: object, **kwargs: object) -> None:
        raise Killed

    first = night(store, FEWER)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if when == "before the verdict":
            patch.setattr(retraining.Retraining, "decide", killed)
        else:
            patch.setattr(publishing, "point", killed)
        night(store, ROWS)
    assert store.current() == first.run
    assert len(store.runs()) == 2
    report = night(store, ROWS)
    assert report.status == ("published" if when == "before the verdict" else "unchanged")
    assert len(store.runs()) == 2  # nothing was trained again
    assert store.current() == store.runs()[-1]


def test_what_was_refused_is_not_published_by_the_next_night(store: Store) -> None:
    first = night(store, FEWER)
    night(store, ROWS, BAD)
    assert night(store, ROWS, BAD).status == "unchanged"
    assert store.current() == first.run


def test_a_full_disk_is_found_before_the_training(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(store, FEWER)
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(retraining.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(MachineError, match="no space left"):
        night(store, ROWS)
    assert len(store.runs()) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prepare": PrepareConfig(split="random")}, "retrain needs --split hash"),
        ({"prepare": PrepareConfig(test_size=0)}, "leaves no rows to judge by"),
        ({"train": TrainConfig.of(devices=2)}, "retrain uses one process"),
        ({"keep": 0}, "--keep: 0 is below 1"),
        ({"tolerance": -0.1}, "--tolerance: -0.1 is below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, Any], message: str, store: Store) -> None:
    with pytest.raises(ConfigError, match=message):
        night(store, ROWS, **keys)
    assert not store.path.exists()


def test_the_age_of_what_is_in_use(store: Store) -> None:
    with pytest.raises(ArtifactError, match="nothing is published there"):
        store.status()
    report = night(store, ROWS)
    state = store.status()
    assert state.current == Path(report.run).name
    assert 0 <= state.age_seconds < 60
    check_age(state, 60)
    planted.reseal(Path(report.run) / "run.json", created="2020-01-01T00:00:00+00:00")
    with pytest.raises(StaleError, match=r"is \d+\.\d h old, more than 36\.0 h"):
        check_age(store.status(), 36 * 3600)
    planted.reseal(Path(report.run) / "run.json", created="2999-01-01T00:00:00+00:00")
    with pytest.raises(
        StaleError, match=r"is from \d+\.\d h ahead of the clock, more than 36\.0 h"
    ):
        check_age(store.status(), 36 * 3600)
    for odd in ("yesterday", "2020-01-01T00:00:00"):  # without an offset
        planted.reseal(Path(report.run) / "run.json", created=odd)
        with pytest.raises(ArtifactError, match=f"damaged: 'created' is '{odd}', not a time"):
            store.status()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (1e5, "27.8 h")],
)
def test_ages_for_people(seconds: float, text: str) -> None:
    assert hours(seconds) == text


def test_what_is_no_store_is_not_made_one(store: Store) -> None:
    with pytest.raises(ArtifactError, match="nothing is published there"):
        store.rollback()
    assert not store.path.exists()


def test_a_damaged_verdict_is_said_and_stops_nobody(store: Store) -> None:
    first, second = (Path(night(store, rows).run) for rows in (FEWER, ROWS))
    write_gate(first, Verdict(decided=now(), published="yes", reason="", key=""))  # type: ignore[arg-type]
    (second / "gate.json").write_text("{")
    assert [to_json(row)["reason"] for row in store.status().runs] == [
        f"{first / 'gate.json'}: damaged: 'published' is 'yes'",
        f"{second / 'gate.json'}: damaged: not a verdict's manifest",
    ]
    with pytest.raises(ArtifactError, match=r"gate\.json: damaged"):
        read_gate(second)
    assert night(store, FEWER).status == "published"


def test_a_night_takes_attributes_as_prepare_does(store: Store) -> None:
    users = planted.write_csv(store.path.with_name("users.csv"), ROWS)
    with pytest.raises(ConfigError, match="--attributes movieId,rating"):
        night(store, ROWS, users=Source.of(users))
