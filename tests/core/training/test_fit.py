"""Fitting: what is learned, which epoch is kept, and how a fit ends."""

import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import planted
import polars as pl
import pytest
import torch

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ArtifactError, GateError, InputError, MachineError, StoppedError
from cfcli.core.models.biases import BiasModel
from cfcli.core.models.scoring import Predictor
from cfcli.core.training.device import choose_device
from cfcli.core.training.epochs import Epoch, Silent, is_settled
from cfcli.core.training.fit import fit
from cfcli.core.training.gibbs.sampler import Sampler
from cfcli.core.training.job import TrainingData
from cfcli.core.training.plan.sizing import auto_batch_size
from cfcli.core.training.signals import SIGNALS
from cfcli.core.training.trained import TrainedModel

Fit = Callable[..., TrainedModel]


@pytest.fixture(scope="module")
def sides() -> tuple[pl.DataFrame, pl.DataFrame]:
    return planted.halves(planted.checkerboard())


@pytest.fixture(scope="module")
def noise() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ratings without any structure: what is learned of them is wrong."""
    rows = planted.checkerboard(20, 15)
    rating = np.random.default_rng(5).integers(1, 6, rows.height)
    return planted.halves(planted.frame(rows["user"], rows["item"], rating), 0.4)


@pytest.fixture
def run(tmp_path: Path) -> Fit:
    """Fits on a pair of sides; ``users`` and ``items`` are those of the checkerboard."""

    def run(
        sides: tuple[pl.DataFrame, pl.DataFrame],
        progress: Any = None,
        shape: Any = (40, 24),
        **keys: Any,
    ) -> Any:
        config = TrainConfig.of(**{"device": "cpu", "learning_rate": 0.02, "epochs": 3, **keys})
        return fit(TrainingData(*sides, *shape), config, tmp_path / "checkpoints", progress)

    return run


def mse(model: TrainedModel, kind: str, rows: pl.DataFrame) -> float:
    predictor = Predictor(kind, model.tensors, model.shape.low, model.shape.high, model.link)
    prediction = predictor.predict(rows["user"].to_numpy(), rows["item"].to_numpy())
    return float(((prediction - rows["rating"].to_numpy()) ** 2).mean())


@pytest.mark.parametrize(
    "keys",
    [
        {"model": "mf"}, {"model": "ncf"},
        {"model": "mf", "optimizer": "sparse-adam"}, {"model": "ncf", "optimizer": "sparse-adam"},
        {"model": "mf", "optimizer": "rowwise-adagrad", "learning_rate": 0.1},
        {"model": "ncf", "optimizer": "rowwise-adagrad", "learning_rate": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_tastes_are_found_that_no_bias_can_tell(
    keys: dict[str, Any],
    sides: tuple[pl.DataFrame, pl.DataFrame],
    run: Fit,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here = sorted(os.listdir())
    model = run(sides, **{"epochs": 25, "learning_rate": 0.01, **keys})
    train, val = sides
    bias = BiasModel.fit(
        train["user"].to_numpy(),
        train["item"].to_numpy(),
        train["rating"].cast(pl.Float64).to_numpy(),
        40,
        24,
    )
    baseline = (
        bias.mean + bias.user_bias[val["user"].to_numpy()] + bias.item_bias[val["item"].to_numpy()]
    )
    assert np.sqrt(((baseline - val["rating"].to_numpy()) ** 2).mean()) > 1.8
    assert mse(model, keys["model"], val) ** 0.5 < 0.5
    # What is said of the best epoch is true of the tensors, and nothing is left behind or printed.
    assert mse(model, keys["model"], val) == pytest.approx(model.best.val_mse, abs=1e-4)
    assert model.best.val_rmse == pytest.approx((model.best.val_mse or 0) ** 0.5)
    assert model.best == min(model.history, key=lambda row: row.val_mse or 0)
    assert (model.device, model.batch_size, model.stopped_by) == ("cpu", 32, None)
    assert (model.shape.low, model.shape.high) == (1, 5)
    assert model.shape.start == pytest.approx(train["rating"].mean())
    assert sorted(os.listdir()) == here
    assert capfd.readouterr() == ("", "")


def test_the_best_epoch_is_restored_when_later_ones_are_worse(
    noise: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    model = run(
        noise, shape=(20, 15), epochs=30, min_epochs=9, patience=3, l2=0, learning_rate=0.05
    )
    scores = [row.val_mse or 0 for row in model.history]
    best = int(np.argmin(scores))
    assert scores[-1] > scores[best] + 0.1  # it does overfit
    assert model.best.epoch == best + 1
    assert mse(model, "mf", noise[1]) == pytest.approx(scores[best], abs=1e-4)
    # Nothing counts before epoch 9; from there on the first score is the one to beat.
    counted = 8 + int(np.argmin(scores[8:]))
    assert len(scores) == counted + 1 + 3 < 30
    assert [row.epoch for row in model.history] == list(range(1, len(scores) + 1))


@pytest.mark.parametrize(
    ("errors", "first", "patience", "least", "last"),
    [
        (
            [1, 2, 3, 4, 5, 6, 7, 8],
            4,
            2,
            0,
            6,
        ),  # counting from epoch 4, that is the best, and 6 the last
        ([9, 8, 7, 8, 7, 6, 7, 7, 7], 1, 3, 0, 9),  # an equal one is no better
        ([1, 0.99, 0.98, 0.97], 1, 2, 0, None),
        ([1, 0.98, 0.975, 0.972, 0.9], 1, 2, 0.01, 4),  # a hundredth of 0.98 is what counts
        ([1, 0.98, 0.975, 0.97, 0.965, 0.95], 1, 2, 0.01, None),
    ],
)
def test_patience(
    errors: list[float], first: int, patience: int, least: float, last: int | None
) -> None:
    settled = [is_settled(errors[:n], first, patience, least) for n in range(1, len(errors) + 1)]
    assert (settled.index(True) + 1 if any(settled) else None) == last


@pytest.mark.parametrize(
    "keys", [{}, {"num_workers": 1}, {"model": "ncf", "dropout": 0.5}], ids=str
)
def test_the_seed_alone_decides(
    keys: dict[str, Any],
    sides: tuple[pl.DataFrame, pl.DataFrame],
    run: Fit,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, again, other = (run(sides, seed=seed, epochs=2, **keys).tensors for seed in (1, 1, 2))
    assert capfd.readouterr() == ("", "")
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["user_embedding.weight"], other["user_embedding.weight"])
    assert {array.dtype for array in first.values()} == {np.dtype(np.float32)}


def test_without_validation_rows_the_last_epoch_is_kept(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    train = sides[0]
    model = run((train, train.clear()), epochs=4)
    assert model.best == model.history[-1]
    assert model.best.epoch == 4
    assert (model.best.val_mse, model.best.val_rmse, model.best.val_mae) == (None, None, None)
    after = mse(model, "mf", train)
    assert after < model.best.train_mse < model.history[0].train_mse
    assert (
        model.best.train_mse - after < model.history[0].train_mse - model.best.train_mse
    )  # of the last, not the first


def test_users_and_items_without_training_rows_are_the_mean_of_the_others(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    train, val = sides
    train = train.filter((pl.col("user") != 3) & (pl.col("item") != 5))
    tensors = run((train, val), shape=(42, 24), epochs=2).tensors
    rated = 1 / np.maximum(np.bincount(train["item"], minlength=24), 1)
    for name, cold, weight in (("user", [3, 40, 41], np.ones(42)), ("item", [5], rated)):
        for key in (f"{name}_embedding.weight", f"{name}_bias"):
            others = np.delete(tensors[key], cold, axis=0)
            assert np.ptp(others) > 0.01
            mean = np.average(others, axis=0, weights=np.delete(weight, cold))
            np.testing.assert_allclose(tensors[key][cold], np.stack([mean] * len(cold)), atol=1e-5)


def test_the_best_is_judged_with_the_tensors_that_are_returned(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    """Also where validation rows have users without training rows, whose initial parameters are
    large."""
    train, val = sides
    model = run((train.filter(pl.col("user") >= 20), val), epochs=3, init_scale=1.0, biases=False)
    assert mse(model, "mf", val) == pytest.approx(model.best.val_mse, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            planted.frame([0, 0, 1, 1], [0, 1, 0, 1], [3, 3, 3, 3]),
            "all training ratings are 3: nothing to learn",
        ),
        (planted.frame([0, 0, 0], [0, 1, 2], [1, 2, 3]), "at least 2 users and 2 items"),
        (planted.frame([0, 1, 2], [1, 1, 1], [1, 2, 3]), "at least 2 users and 2 items"),
        (planted.frame([0], [0], [1]), "at least 2 users and 2 items"),
        (planted.frame([], [], []), "at least 2 users and 2 items"),
    ],
)
def test_what_holds_nothing_to_learn_is_refused(rows: pl.DataFrame, message: str, run: Fit) -> None:
    with pytest.raises(InputError, match=message):
        run((rows, rows.clear()), shape=(3, 3))


def test_equal_ratings_may_be_trained_on_with_a_declared_range(run: Fit) -> None:
    rows = planted.frame([0, 0, 1, 1], [0, 1, 0, 1], [3, 3, 3, 3])
    assert run((rows, rows.clear()), shape=(2, 2), epochs=1, rating_range="1,5").shape.high == 5


def test_a_loss_that_diverges_is_refused(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    for data in (sides, (sides[0], sides[0].clear())):
        with pytest.raises(GateError, match=r"diverged in epoch \d+; try a lower --learning-rate"):
            run(data, learning_rate=1e30)


@pytest.mark.parametrize("what", ["alpha", "mse"])
def test_a_sampler_that_leaves_the_numbers_is_refused(
    what: str, sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sampler.sweep

    def broken(self: Sampler) -> None:
        sweep(self)
        setattr(self, what, float("nan"))

    monkeypatch.setattr(Sampler, "sweep", broken)
    with pytest.raises(GateError, match="diverged"):
        run((sides[0], sides[0].clear()), solver="gibbs", learning_rate=None)


@pytest.mark.parametrize(
    ("there", "expected"), [((True, True), "cuda"), ((False, True), "mps"), ((False, False), "cpu")]
)
def test_the_device_is_what_the_machine_has(
    there: tuple[bool, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there[0])
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: there[1])
    assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"
    if not there[0]:
        with pytest.raises(MachineError, match="device cuda: not on this machine"):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (0, 32),
        (1, 32),
        (8000, 64),
        (16_000, 128),
        (100_000, 1024),
        (1_000_000, 8192),
        (20_000_000, 262_144),
    ],
)
def test_automatic_batch_size(rows: int, size: int) -> None:
    assert auto_batch_size(rows) == size


class Watch(Silent):
    """Notes what it is told; does something after a batch or an epoch."""

    def __init__(
        self, batch: Callable[[int], object] = int, epoch: Callable[[Epoch], object] = id
    ) -> None:
        self.do_batch, self.do_epoch = batch, epoch
        self.started: tuple[str, int, int] | None = None
        self.batches: list[int] = []
        self.epochs: list[Epoch] = []

    def start(self, device: str, batches: int, epochs: int) -> None:
        self.started = device, batches, epochs

    def stage(self, text: str) -> None:
        raise AssertionError("there is nothing but epochs")

    def batch(self, done: int) -> None:
        self.batches.append(done)
        self.do_batch(done)

    def epoch(self, row: Epoch) -> None:
        self.epochs.append(row)
        self.do_epoch(row)


def test_progress_is_told_everything(sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit) -> None:
    watch = Watch()
    model = run(sides, watch, epochs=2, batch_size=10)
    n = -(-sides[0].height // 10)
    assert watch.started == ("cpu", n, 2)
    assert watch.batches == [*range(16, n, 16), n] * 2
    assert watch.epochs == model.history
    for row in model.history:
        assert row.ratings_per_second == pytest.approx(sides[0].height / row.seconds)
        assert row.train_rmse == pytest.approx(row.train_mse**0.5)
        assert row.learning_rate == 0.02


@pytest.mark.parametrize("val", [True, False])
def test_the_time_is_kept_also_within_an_epoch(
    val: bool, sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    """Epochs of 2 s or more, of which 6 are the least: half a second is still half a second."""
    train, held = sides
    watch = Watch(batch=lambda done: time.sleep(0.1))
    begin = time.perf_counter()
    model = run(
        (train, held if val else held.clear()),
        watch,
        max_time="0.5s",
        epochs=9,
        min_epochs=6,
        batch_size=2,
    )
    assert time.perf_counter() - begin < 1.8
    assert 3 <= len(watch.batches) <= 7
    assert len(model.history) == 1
    assert model.stopped_by is None


def test_time_that_is_over_before_it_begins_still_gives_a_model(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    model = run(sides, max_time="0.000001s")
    assert len(model.history) == 1
    assert model.best.val_mse == pytest.approx(mse(model, "mf", sides[1]), abs=1e-4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_fit_and_keeps_what_was_learned(
    number: int, sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    watch = Watch(epoch=lambda row: os.kill(os.getpid(), number) if row.epoch == 2 else None)
    model = run(sides, watch, epochs=50)
    assert model.stopped_by == number
    assert 2 <= len(model.history) <= 3
    assert len(watch.batches) <= 2 * watch.started[1] + 1  # type: ignore[index]
    assert model.best.val_mse == min(row.val_mse or 9 for row in model.history)
    assert mse(model, "mf", sides[1]) == pytest.approx(model.best.val_mse, abs=1e-4)
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_a_signal_in_the_first_epoch_ends_it_at_the_running_batch(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    watch = Watch(batch=lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == 48 else None)
    try:
        model = run(sides, watch, epochs=50, batch_size=2)
    except StoppedError as error:
        assert error.exit_code == 143
    else:
        assert model.stopped_by == signal.SIGTERM
    assert len(watch.batches) <= 4


def test_handlers_are_restored_after_an_error_too(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    with pytest.raises(GateError):
        run(sides, learning_rate=1e30)
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_a_fit_in_another_thread_leaves_signals_alone(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(run, sides, epochs=2).result().history) == 2
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_a_full_disk_is_the_machines_error(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "last.ckpt")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(MachineError, match=r"last.ckpt: No space left on device"):
        run(sides, epochs=1)


class Killed(BaseException):
    """As if the process had ended."""


def die_in_epoch(epoch: int) -> Watch:
    seen = [0]

    def batch(done: int) -> None:
        if (
            sum(later <= earlier for earlier, later in itertools.pairwise([*seen, done]))
            == epoch - 1
        ):
            raise Killed
        seen.append(done)

    return Watch(batch=batch)


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"model": "ncf", "dropout": 0.3}, {"solver": "gibbs", "epochs": 9},
        {"optimizer": "sparse-adam"},
        {"optimizer": "rowwise-adagrad"},
    ],
    ids=str,
)  # fmt: skip
def test_a_killed_fit_goes_on_as_if_nothing_had_happened(
    keys: dict[str, Any], sides: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    config = TrainConfig.of(
        **{"device": "cpu", "epochs": 6, "min_epochs": 1, "patience": 9, **keys}
    )

    def ratings(fingerprint: str) -> TrainingData:
        return TrainingData(*sides, 40, 24, fingerprint=fingerprint)

    def go(name: str, config: TrainConfig = config, **more: Any) -> TrainedModel:
        return fit(ratings("this"), config, tmp_path / name, **more)

    whole = go("whole")
    with pytest.raises(Killed):
        go("cut", progress=die_in_epoch(4))
    checkpoint = tmp_path / "cut" / "last.ckpt"
    watch = Watch()
    again = go("cut", resume=checkpoint, progress=watch)
    assert len(again.history) == len(whole.history) == config.epochs
    for name, value in whole.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], value)
    assert again.best.val_mse == whole.best.val_mse
    assert not (tmp_path / "cut").exists()  # what ran to its end needs none

    with pytest.raises(Killed):
        go("cut", progress=die_in_epoch(4))
    longer = go("cut", config.replace(epochs=config.epochs + 1), resume=checkpoint)
    assert len(longer.history) == config.epochs + 1
    with pytest.raises(Killed):
        go("cut", progress=die_in_epoch(4))
    with pytest.raises(ArtifactError, match="another dataset"):
        fit(ratings("that"), config, tmp_path / "other", resume=checkpoint)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"last.ckpt: damaged"):
        go("other", resume=checkpoint)


def test_what_a_limit_of_time_ended_may_go_on(
    sides: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    config = TrainConfig.of(device="cpu", learning_rate=0.02, epochs=50, patience=50, max_time="1s")
    watch = Watch(batch=lambda done: time.sleep(0.01))
    first = fit(TrainingData(*sides, 40, 24), config, tmp_path / "first", watch)
    assert len(first.history) < 50
    config = config.replace(max_time="1h", epochs=len(first.history) + 2)
    checkpoint = tmp_path / "first" / "last.ckpt"
    second = fit(TrainingData(*sides, 40, 24), config, tmp_path / "second", resume=checkpoint)
    assert len(second.history) == config.epochs


def test_patience_may_change_on_resume(
    noise: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"device": "cpu", "l2": 0, "learning_rate": 0.05, "min_epochs": 9}
    patient = TrainConfig.of(**keys, epochs=99, patience=99)
    with pytest.raises(Killed):
        fit(TrainingData(*noise, 20, 15), patient, tmp_path / "cut", die_in_epoch(11))
    model = fit(
        TrainingData(*noise, 20, 15),
        patient.replace(patience=2),
        tmp_path / "cut",
        resume=tmp_path / "cut" / "last.ckpt",
    )
    errors = [row.val_mse or 0 for row in model.history]
    settled = [is_settled(errors[:n], 9, 2) for n in range(1, len(errors) + 1)]
    assert len(errors) == max(settled.index(True) + 1, 11)


def test_ratings_of_any_scale_are_learned_alike(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    """Scaled by 25 (to 25-125), errors scale by 25 and so do inner products."""
    scaled = tuple(side.with_columns(pl.col("rating") * 25) for side in sides)
    small, large = run(sides), run(scaled)
    assert large.best.val_rmse == pytest.approx(25 * (small.best.val_rmse or 0), rel=1e-2)
    np.testing.assert_allclose(
        large.tensors["item_embedding.weight"] / 5,
        small.tensors["item_embedding.weight"],
        atol=5e-3,
    )


def test_l2_holds_the_parameters_back(sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit) -> None:
    lengths = [
        float(np.square(run(sides, l2=l2).tensors["user_embedding.weight"]).sum())
        for l2 in (0, 0.3, 30)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[2] < 0.1 * lengths[0]


def test_the_history_is_plain_numbers(sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit) -> None:
    row = dataclasses.asdict(run(sides, epochs=1).best)
    assert {type(value) for value in row.values()} == {int, float}


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_asked_for_and_are_put_back(
    threads: int, sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit
) -> None:
    before, seen = torch.get_num_threads(), []
    run(
        sides,
        Watch(batch=lambda done: seen.append(torch.get_num_threads())),
        threads=threads,
        epochs=1,
    )
    assert set(seen) == {threads}
    assert torch.get_num_threads() == before


def test_samples_of_many_ratings_end_when_they_gain_little(
    sides: tuple[pl.DataFrame, pl.DataFrame], run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if these were many: fewer sweeps an epoch, and what each adds to the mean is soon next to
    nothing."""
    keys: dict[str, Any] = {"solver": "gibbs", "epochs": 40, "min_epochs": 1, "learning_rate": None}
    monkeypatch.setattr("cfcli.core.training.plan.sizing.SWEPT_RATINGS", sides[0].height // 2)
    monkeypatch.setattr("cfcli.core.training.gibbs.solver.LEAST_GAIN", 0.01)
    watch = Watch()
    model = run(sides, watch, **keys)
    assert watch.started == ("cpu", 4, 40) or watch.started == ("cpu", 5, 40)
    errors = [row.val_mse or 0 for row in model.history]
    assert len(errors) < 40
    assert is_settled(errors, 1, 3, 0.01)
    assert not is_settled(errors[:-1], 1, 3, 0.01)
