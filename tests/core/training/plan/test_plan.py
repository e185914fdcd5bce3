"""What a training needs against what is there: sums by hand, and advice that holds."""

from pathlib import Path
from typing import Any

import planted
import pytest

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import MachineError
from cfcli.core.runs import train as fitting
from cfcli.core.training.plan import advice, machine
from cfcli.core.training.plan.advice import refuse, settled
from cfcli.core.training.plan.machine import Machine, available
from cfcli.core.training.plan.memory import Plan, plan
from cfcli.core.training.plan.sizing import Job

GB = 10**9
ROOMY = Machine(10**18, None, 10**18)
LARGE = Job(
    10_000_000, 1_000_000, 1_000_000, 100_000
)  # in the tables, of dimension 64: 2.86 GB with biases
MANY = Job(10_000, 10_000, 10_000_000_000)


def parts(job: Job = LARGE, **keys: Any) -> dict[str, int]:
    return plan(
        TrainConfig.of(
            **{"solver": "adam", "dim": 64, "implicit": False, "interest": False, **keys}
        ),
        job,
        ROOMY,
    ).parts


def of_tables(**keys: Any) -> float:
    """What is as large as the tables, in tables."""
    found = parts(**keys)
    names = ("tables", "gradients", "optimizer", "best epoch", "validation")
    return sum(found[name] for name in names) / (4 * 11_000_000 * 65)


def test_tables_gradients_state_and_the_best_epoch() -> None:
    assert of_tables() == pytest.approx(5)
    assert of_tables(optimizer="sparse-adam") == pytest.approx(4)
    assert of_tables(optimizer="rowwise-adagrad") == pytest.approx(2 + 1 / 65)
    assert of_tables(implicit=True) == pytest.approx(6)
    assert of_tables(shard_embeddings=True, devices=4) == pytest.approx(
        7 / 4
    )  # one more in Adam's steps
    assert parts(implicit=True)["features"] == 2 * 4 * 11_000_000 * 64


def test_rows_are_shared_by_ranks_or_stay_on_the_disk() -> None:
    one, two, stream = (
        parts(MANY, **keys)["rows"] for keys in ({}, {"devices": 2}, {"loader": "stream"})
    )
    assert one == 160 * GB
    assert two == 100 * GB  # all of them draw the whole order
    assert stream < 0.2 * GB
    assert sum(parts(MANY, loader="stream", batch_size=1 << 16).values()) < GB
    assert (
        parts(MANY, loader="stream", batch_size=10**8)["step"] > 50 * GB
    )  # of a hundredth of the rows


def test_ranks_of_one_machine_add_up() -> None:
    config = TrainConfig.of(solver="adam", dim=64, devices=2, num_nodes=3)
    found = plan(config, LARGE, ROOMY)
    assert found.memory == 2 * sum(found.parts.values())
    on_gpu = plan(config, LARGE, Machine(10**18, 10**18))
    assert on_gpu.device + on_gpu.memory // 2 == sum(on_gpu.parts.values())
    assert on_gpu.device > 9 * GB


def applied(config: TrainConfig, flags: list[str]) -> TrainConfig:
    """The configuration with flags as the command line has them."""
    changes: dict[str, Any] = {}
    words = iter(flags)
    for word in words:
        key, value = word.removeprefix("--").replace("-", "_"), True
        if word == "--set":
            key, _, text = next(words).partition("=")
            value = text == "true"
        elif key != "shard_embeddings":
            text = next(words)
            value = int(text) if text.isdecimal() else text  # type: ignore[assignment]
        changes[key] = value
    return config.replace(**changes)


@pytest.mark.parametrize(
    ("keys", "job", "machine", "expected"),
    [
        ({}, LARGE, Machine(13 * GB), ["--optimizer", "sparse-adam"]),
        ({}, LARGE, Machine(8 * GB), ["--optimizer", "rowwise-adagrad"]),
        ({"implicit": True}, LARGE, Machine(8 * GB), ["--optimizer", "rowwise-adagrad", "--set",
        "implicit=false"]),
        ({"batch_size": 1000}, MANY, Machine(GB), ["--loader", "stream"]),
        ({"batch_size": 1 << 30}, MANY, Machine(4 * GB), ["--loader", "stream", "--batch-size",
        "auto"]),
        (
            {"solver": "gibbs", "implicit": True}, MANY, Machine(4 * GB),
            ["--solver", "adam", "--loader", "stream"],
        ),
        ({}, LARGE, Machine(10**18, None, 12 * GB), ["--optimizer", "rowwise-adagrad"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_would_make_it_fit_does(
    keys: dict[str, Any], job: Job, machine: Machine, expected: list[str]
) -> None:
    config = TrainConfig.of(**{"solver": "adam", "dim": 64, "implicit": False, **keys})
    assert plan(config, job, machine).lacking()
    ways = advice.fitting(config, job, machine)
    assert ways[0][0] == expected
    for flags, found in ways:
        again = plan(applied(config, flags), job, machine)
        assert again == found
        assert not again.lacking()


def test_a_small_machine_is_advised_a_smaller_dimension_or_more_machines() -> None:
    config = TrainConfig.of(solver="adam", dim=64, implicit=False)
    ways = [flags for flags, _ in advice.fitting(config, LARGE, Machine(3 * GB))]
    assert [flags[0] for flags in ways] == ["--dim", "--num-nodes"]
    on_gpus = [flags for flags, _ in advice.fitting(config, LARGE, Machine(10**18, 3 * GB))]
    assert on_gpus[-1] == ["--devices", "8", "--shard-embeddings"]
    assert advice.fitting(config, LARGE, Machine(GB // 10)) == []


def test_auto_is_the_first_optimizer_that_fits() -> None:
    config = TrainConfig.of(solver="adam", dim=64, implicit=False)
    chosen = [settled(config, LARGE, Machine(gb * GB)).adam.optimizer for gb in (20, 13, 8, 1)]
    assert chosen == ["auto", "sparse-adam", "rowwise-adagrad", "auto"]
    for keys in ({"devices": 2}, {"optimizer": "adam"}):
        other = config.replace(**keys)
        assert settled(other, LARGE, Machine(8 * GB)) == other


def test_a_control_group_may_leave_less_than_the_machine(tmp_path: Path) -> None:
    two, one = tmp_path / "a" / "b", tmp_path / "memory" / "c"
    for folder, limit, used, pages in (
        (two, "memory.max", "memory.current", "inactive_file"),
        (one, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        folder.mkdir(parents=True)
        (folder / limit).write_text("1000\n")
        (folder / used).write_text("700\n")
        (folder / "memory.stat").write_text(f"anon 5\n{pages} 50\n")
    (two.parent / "memory.max").write_text("max\n")
    (tmp_path / "cgroup").write_text("9:cpu:/c\n4:memory:/c\n0::/a/b\n")
    assert list(machine.left_by_groups(tmp_path / "cgroup", tmp_path)) == [350, 350]
    assert list(machine.left_by_groups(tmp_path / "none", tmp_path)) == []


def test_a_control_group_may_leave_fewer_processors_than_the_machine(tmp_path: Path) -> None:
    two, one = tmp_path / "a" / "b", tmp_path / "cpu" / "c"
    for folder in (two, one):
        folder.mkdir(parents=True)
    (two / "cpu.max").write_text("max 100000\n")
    (two.parent / "cpu.max").write_text("150000 100000\n")
    for name, value in (("quota", 200000), ("period", 50000)):
        (one / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
        (one.parent / f"cpu.cfs_{name}_us").write_text("-1\n")
    (tmp_path / "cgroup").write_text("9:cpu,cpuacct:/c\n4:memory:/c\n0::/a/b\n")
    assert list(machine.processors_by_groups(tmp_path / "cgroup", tmp_path)) == [4, 1.5]
    assert list(machine.processors_by_groups(tmp_path / "none", tmp_path)) == []


def test_this_machine_has_something(tmp_path: Path) -> None:
    found = available(TrainConfig.of(device="cpu"), tmp_path / "runs" / "not-there")
    assert found.disk
    assert found.device is None


def test_train_refuses_what_cannot_fit_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    monkeypatch.setattr(fitting, "available", lambda config, out: Machine(50_000_000))
    monkeypatch.setattr("cfcli.core.runs.train._fit", None)
    with pytest.raises(MachineError, match=r"training needs .* of memory where 50 MB are free"):
        fitting.train(data, TrainConfig(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_takes_and_records_the_optimizer_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    config = TrainConfig.of(solver="adam", epochs=1, device="cpu")
    monkeypatch.setattr(fitting, "available", lambda config, out: Machine(10**9))
    monkeypatch.setattr(
        Plan, "lacking", lambda self, share=1.0: ["memory"] * bool(self.parts["gradients"])
    )
    trained = fitting.train(data, config, tmp_path / "run")
    assert trained
    assert trained.info.optimizer == "sparse-adam"
    assert trained.info.config["adam"]["optimizer"] == "sparse-adam"  # type: ignore[index]
    assert 'optimizer = "sparse-adam"' in (tmp_path / "run" / "config.toml").read_text()


@pytest.mark.parametrize(("solver", "by"), [("adam", 4), ("gibbs", 24)])
def test_a_weight_takes_memory_for_each_training_row(solver: str, by: int) -> None:
    config = TrainConfig.of(solver=solver, refit="none")  # type: ignore[arg-type]
    plain = plan(config, Job(100, 100, 10**6, 10**5), ROOMY).parts["rows"]
    for weighed, job in (
        (config.replace(half_life="9d"), Job(100, 100, 10**6, 10**5)),
        (config, Job(100, 100, 10**6, 10**5, is_weighed=True)),
    ):
        assert plan(weighed, job, ROOMY).parts["rows"] == plain + by * 10**6


def test_what_an_estimate_cannot_tell_for_sure_is_not_refused() -> None:
    config, job = TrainConfig.of(solver="adam", dim=64), Job(10**6, 10**5, 10**7)
    needs = plan(config, job, Machine(None)).memory
    refuse(config, job, Machine(int(0.9 * needs)))
    with pytest.raises(MachineError, match=r"of memory where .* are free; it fits with "):
        refuse(config, job, Machine(int(0.7 * needs)))
    small = Job(50, 50, 100)
    refuse(config, small, Machine(None, disk=0))  # who writes will see
