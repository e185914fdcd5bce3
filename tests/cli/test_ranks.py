"""One training by several processes: the same model as one makes, stopped and lost together."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
from shell import Started, run_cfcli, start_cfcli, write_ratings
from soak import in_a_soak

from cfcli.cli.output.progress import LINES_EVERY

TRAIN = (
    *("train", "--solver", "adam", "--dim", "4", "--no-plots", "--patience", "900"),
    *("--refit", "none"),  # of one process alone
)
ODD = (
    "--batch-size",
    "111",
    "--epochs",
    "2",
)  # whose last batch has one rating: no work for one of two ranks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of one training row more than a multiple of 111 and of one validation
    row, and a run of one process."""
    folder = tmp_path_factory.mktemp("ranks")
    write_ratings(folder / "all.csv", share=0.7)
    ratings = pl.read_csv(folder / "all.csv")
    for name, rows in (
        ("train", ratings[:2332]),
        ("val", ratings[2332:2333]),
        ("test", ratings[2333:]),
    ):
        rows.write_csv(folder / f"{name}.csv")
    given = "--val-file", "val.csv", "--test-file", "test.csv"
    for args in (("prepare", "train.csv", *given), (*TRAIN, *ODD, "--out", "one")):
        done = run_cfcli(*args, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert json.loads((folder / "data" / "dataset.json").read_text())["train"] % 111 == 1
    return folder


def metrics(run: Path) -> np.ndarray:
    return (
        pl.read_csv(run / "metrics.csv")
        .select("epoch", "train_mse", "val_mse", "val_mae")
        .to_numpy()
    )


def test_two_ranks_train_what_one_does(place: Path) -> None:
    done = run_cfcli(*TRAIN, *ODD, "--devices", 2, "--out", "two", cwd=place)
    assert (done.returncode, done.stdout) == (0, "two\n"), done.stderr
    assert (
        done.stderr.count("epoch") == 4
    )  # the first alone speaks: a line of settings, two epochs, the best
    np.testing.assert_allclose(metrics(place / "two"), metrics(place / "one"), rtol=1e-5)
    pairs = "userId,movieId\n" + "".join(
        f"{u},{i}\n" for u in range(1, 50) for i in range(1, 60, 7)
    )
    answers = []
    for run in ("one", "two"):
        assert run_cfcli("verify", run, cwd=place).returncode == 0
        answer = run_cfcli("predict", run, "-", cwd=place, input=pairs)
        answers.append(pl.read_csv(answer.stdout.encode())["prediction"].to_numpy())
    np.testing.assert_allclose(*answers, rtol=1e-5)


def test_two_ranks_train_what_one_does_by_the_rows_of_a_step(place: Path) -> None:
    optimizer = "rowwise-adagrad"
    for ranks in (1, 2):
        flags = ("--optimizer", optimizer, "--devices", ranks, "--out", f"{optimizer}-{ranks}")
        done = run_cfcli(*TRAIN, *ODD, *flags, cwd=place)
        assert done.returncode == 0, done.stderr
        assert f"mf of dimension 4 by adam (optimizer {optimizer}) on cpu" in done.stderr
        assert (
            json.loads((place / f"{optimizer}-{ranks}" / "run.json").read_text())["optimizer"]
            == optimizer
        )
    np.testing.assert_allclose(
        metrics(place / f"{optimizer}-2"), metrics(place / f"{optimizer}-1"), rtol=1e-5
    )


def torchrun(ranks: int, *command: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={ranks}",
        "--standalone",
    ]
    done = subprocess.run(
        [*launcher, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


GRADIENTS = """
import sys, torch
from pathlib import Path
from cfcli.core.training.distributed import ranks
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.training.distributed import collectives as together
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
config = ranks.launched(TrainConfig.of(model="ncf", dim=4, dropout=0.5, epochs=1, batch_size=111))
rank, found = ranks.rank(config), []
summed = together.sum_gradients
def noted(parameters, sparse):
    parameters = list(parameters)
    summed(parameters, sparse)
    found.append(torch.cat([p.grad.flatten() for p in parameters]))
together.sum_gradients = noted
data = Dataset.load(Path("data"))
shape = data.info.users, data.info.items
place = None if rank else Path("checkpoints")
data = TrainingData(data.split("train"), data.split("val"), *shape)
fitted = fit(data, config, place)
parameters = torch.cat([torch.from_numpy(tensor).flatten() for tensor in fitted.tensors.values()])
torch.save([torch.stack(found), parameters], f"{rank}.pt")
"""


def test_gradients_are_the_same_on_all_ranks(place: Path) -> None:
    (place / "gradients.py").write_text(GRADIENTS)
    torchrun(2, "gradients.py", cwd=place)
    import torch

    (gradients, parameters), (others, same) = (
        torch.load(place / f"{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert len(gradients) == 22
    assert gradients.abs().max() > 0
    assert torch.equal(gradients, others)
    assert torch.equal(parameters, same)


ENDED = """
from cfcli.cli.app import main
try:
    main()
finally:
    import torch.distributed
    assert not torch.distributed.is_initialized()
"""


def test_torchrun_starts_the_ranks(place: Path) -> None:
    """They leave the group before they end: threads that still talk abort a process now and then."""
    (place / "ended.py").write_text(ENDED)
    done = torchrun(2, "ended.py", *TRAIN, *ODD, "--out", "torchrun", cwd=place)
    assert done.stdout == "torchrun\n"
    assert (
        json.loads((place / "torchrun" / "run.json").read_text())["config"]["processes"]["devices"]
        == 2
    )
    np.testing.assert_allclose(metrics(place / "torchrun"), metrics(place / "one"), rtol=1e-5)


def test_srun_starts_the_ranks(place: Path) -> None:
    """As far as its environment goes, which is what one sees of it."""
    step = {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
    }
    step |= {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "cfcli",
        "SLURM_NODELIST": "127.0.0.1",
    }
    args = *TRAIN, *ODD, "--out", "srun"
    places = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]
    ranks = [
        start_cfcli(*args, cwd=place, env=step | own, stdout=subprocess.PIPE) for own in places
    ]
    assert [rank.communicate(timeout=60)[0] for rank in ranks] == ["srun\n", ""]
    assert [rank.returncode for rank in ranks] == [0, 0]
    np.testing.assert_allclose(metrics(place / "srun"), metrics(place / "one"), rtol=1e-5)


Process = subprocess.Popen[str] | Started
Begun = Callable[[str], tuple[Process, int]]
LINES = {LINES_EVERY: "0"}
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def begun(place: Path) -> Iterator[Begun]:
    """Starts a training by two ranks without end, and waits for its first epochs: the process and
    the pid of the second."""
    started = []

    def begin(out: str) -> tuple[Process, int]:
        args = *TRAIN, "--epochs", "1000000", "--devices", "2", "--out", out
        first = start_cfcli(*args, cwd=place, env=LINES, **PIPES)
        started.append(first)
        assert first.stderr
        while "epoch   3" not in (line := first.stderr.readline()):
            assert line, "it ended"
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        return first, int(children[0])

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def ends(process: Process, within: float) -> str:
    """What it still says on stderr; all of its group must be gone by then."""
    begin = time.monotonic()
    errors = process.communicate(timeout=within)[1]
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < begin + within:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    return errors


@pytest.mark.parametrize(
    "to", ["group", pytest.param("first", marks=in_a_soak), pytest.param("second", marks=in_a_soak)]
)
def test_a_signal_to_any_rank_stops_all_at_the_same_step(
    to: str, place: Path, begun: Begun
) -> None:
    first, second = begun(f"stopped-{to}")
    if to == "group":
        os.killpg(first.pid, signal.SIGTERM)
    else:
        os.kill(first.pid if to == "first" else second, signal.SIGTERM)
    ends(first, 15)
    assert first.returncode == 143
    run = place / f"stopped-{to}"
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert run_cfcli("evaluate", run.name, "--no-plots", cwd=place).returncode == 0
    if to != "second":
        return
    done = run_cfcli(
        "train", "--resume", run.name, "--epochs", len(metrics(run)) + 2, "--out", "more", cwd=place
    )
    assert done.returncode == 0, done.stderr


def test_a_killed_rank_ends_the_others_and_any_number_goes_on(place: Path, begun: Begun) -> None:
    first, second = begun("lost")
    os.kill(second, signal.SIGKILL)
    error = ends(first, 15)
    assert first.returncode == 4
    assert error.splitlines()[-1] == (
        "error: another process of this training ended: killed, or out of memory?; "
        "'cfcli train --resume lost' goes on from its last checkpoint"
    )
    assert not (place / "lost").exists()
    done = run_cfcli(
        "train", "--resume", "lost", "--epochs", "1", "--out", "short", "--no-plots", cwd=place
    )
    said = re.search(r"below the (\d+) that its checkpoint has", done.stderr)
    assert done.returncode == (2 if said else 0)  # a busy machine saves the first epoch alone
    epochs = (int(said[1]) if said else 1) + 2
    for ranks in (1, 3):
        again = ("--epochs", epochs, "--devices", ranks, "--out", f"on-{ranks}", "--no-plots")
        done = run_cfcli("train", "--resume", "lost", *again, cwd=place)
        assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(metrics(place / "on-1"), metrics(place / "on-3"), rtol=1e-5)
    whole = ("--epochs", epochs, "--out", "whole")
    assert run_cfcli(*TRAIN, *whole, cwd=place).returncode == 0
    np.testing.assert_allclose(metrics(place / "on-3"), metrics(place / "whole"), rtol=1e-4)


@pytest.mark.parametrize(
    ("stopped", "signals", "seconds"),
    [
        ("second", 2, 5),
        # These wait for eight seconds by design.
        pytest.param("second", 1, 15, marks=in_a_soak),
        pytest.param("first", 1, 15, marks=in_a_soak),
    ],
)
def test_a_rank_that_hangs_holds_up_no_signal(
    stopped: str, signals: int, seconds: float, begun: Begun
) -> None:
    first, second = begun(f"hangs-{stopped}-{signals}")
    os.kill(first.pid if stopped == "first" else second, signal.SIGSTOP)
    for _ in range(signals):
        os.killpg(first.pid, signal.SIGTERM)
        time.sleep(0.5)
    ends(first, seconds)
    assert first.returncode == (-9 if stopped == "first" else 143)


@pytest.mark.parametrize("stops", [False, True])
def test_a_first_rank_that_is_killed_leaves_no_other(stops: bool, place: Path) -> None:
    """While the second starts, which may hang."""
    with start_cfcli(*TRAIN, "--devices", "2", "--out", "killed", cwd=place, **PIPES) as first:
        children: list[str] = []
        while not children:
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        if stops:
            time.sleep(3)
            os.kill(int(children[0]), signal.SIGSTOP)
        first.kill()
        ends(first, 15)


def listening(pid: int) -> set[str]:
    """The addresses at which a process waits for connections, as the kernel writes them."""
    links = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    own = {str(link)[8:-1] for link in links if str(link).startswith("socket:")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in own:
                found.add(words[1].partition(":")[0])
    return found


def test_ranks_of_one_machine_listen_on_loopback(begun: Begun) -> None:
    first, second = begun("listens")
    assert listening(first.pid) == listening(second) == {"0100007F"}
    # Where the name of the machine means another address, gloo would take that.
    assert b"GLOO_SOCKET_IFNAME=lo\0" in Path(f"/proc/{second}/environ").read_bytes()


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=in_a_soak)])
def test_a_job_of_slurm_without_srun_starts_its_own_processes(devices: int, place: Path) -> None:
    """As far as the environment of sbatch goes."""
    job = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_NNODES": "1"}
    job |= {"SLURM_JOB_NAME": "night", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"}
    out = f"sbatch-{devices}"
    done = run_cfcli(*TRAIN, *ODD, "--devices", devices, "--out", out, cwd=place, env=job)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert ("SLURM_NTASKS is 4" in done.stderr) == (devices == 1)
    np.testing.assert_allclose(metrics(place / out), metrics(place / "one"), rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--devices", "2", "--solver", "gibbs"), "solver gibbs does not use devices"),
        (("--devices", "0"), "devices: 0 is not from 1 to"),
        (("--devices", "2", "--loader", "dataloader"), "dataloader"),
    ],
)
def test_what_ranks_cannot_do_is_said_at_once(
    flags: tuple[str, ...], says: str, place: Path
) -> None:
    done = run_cfcli("train", *flags, cwd=place)
    assert done.returncode == 2
    assert says in done.stderr


SHARDED = (
    "train",
    "--dim",
    "4",
    "--no-plots",
    "--batch-size",
    "500",
    "--epochs",
    "3",
    "--shard-embeddings",
)


def test_ranks_with_parts_of_the_tables_train_what_one_with_all_does(place: Path) -> None:
    for ranks in (1, 2):
        done = run_cfcli(
            *SHARDED, "--model", "ncf", "--devices", ranks, "--out", f"parts-{ranks}", cwd=place
        )
        assert (done.returncode, done.stdout) == (0, f"parts-{ranks}\n"), done.stderr
    np.testing.assert_allclose(metrics(place / "parts-1"), metrics(place / "parts-2"), rtol=1e-5)
    answers = [
        run_cfcli("evaluate", f"parts-{n}", "--no-plots", "--json", cwd=place).stdout
        for n in (1, 2)
    ]
    one, two = (json.loads(answer)["model"]["mse"] for answer in answers)
    assert one == pytest.approx(two, rel=1e-5)


PARTS = """
import torch
from pathlib import Path
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
from cfcli.core.training.distributed import ranks
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.training.distributed import sharded
config = ranks.launched(TrainConfig.of(dim=4, epochs=1, batch_size=500, shard_embeddings=True))
rank, shapes, learn = ranks.rank(config), [], sharded.ShardedDescent.learn
def shape_of(table):
    return tuple((table.to_local() if hasattr(table, "to_local") else table).shape)
def noted(self, optimizers, batch):
    learn(self, optimizers, batch)
    tables = [*self.model.named_parameters(), *self.kept.named_buffers()]
    shapes.append({name: shape_of(table) for name, table in tables})
    gradients = (table.grad for table in self.model.parameters())
    shapes.append([shape_of(gradient) for gradient in gradients if gradient is not None])
    for group in optimizers[0].state.values():
        shapes.append([shape_of(value) for value in group.values() if value.dim()])
sharded.ShardedDescent.learn = noted
data = Dataset.load(Path("data"))
place = Path("parts") / "checkpoints"
place.parent.mkdir(exist_ok=True)
shape = data.info.users, data.info.items
place = None if rank else place
data = TrainingData(data.split("train"), data.split("val"), *shape)
fitted = fit(data, config, place)
found = {name: tensor.shape for name, tensor in fitted.tensors.items()}
torch.save([shapes, found], f"parts{rank}.pt")
"""


def test_no_rank_has_a_whole_table(place: Path) -> None:
    (place / "parts.py").write_text(PARTS)
    torchrun(3, "parts.py", cwd=place)
    import torch

    info = json.loads((place / "data" / "dataset.json").read_text())
    found = [torch.load(place / f"parts{rank}.pt", weights_only=True) for rank in range(3)]
    for name, n in (("user_embedding", info["users"]), ("item_embedding", info["items"])):
        for table in (f"model.{name}.weight", f"{name}/weight"):
            rows = [shapes[0][table.removeprefix("model.")][0] for shapes, _ in found]
            assert sum(rows) == n
            assert max(rows) == -(-n // 3)
    for shapes, _ in found:
        gradients, *moments = shapes[1:7]
        assert len(moments) == len(gradients)
        assert len(gradients) == 5  # of embeddings, biases, and one bias for all
        assert all(
            rows <= -(-info["users"] // 3) for shape in (gradients, *moments) for rows, *_ in shape
        )
    assert found[0][1]["user_embedding.weight"] == (info["users"], 4)
    assert "user_embedding.weight" not in found[1][1]


def test_parts_of_tables_are_resumed_on_any_number_of_ranks(place: Path) -> None:
    endless = (
        *SHARDED[:-2],
        "999999",
        "--patience",
        "999999",
        "--shard-embeddings",
        "--devices",
        "2",
    )
    first = start_cfcli(*endless, "--out", "halves", cwd=place, env=LINES, **PIPES)
    assert first.stderr
    while "epoch   2" not in (line := first.stderr.readline()):
        assert line, "it ended"
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=15)
    assert first.returncode == 143
    kept = place / "halves" / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == [
        os.readlink(kept / "last.ckpt"),
        "last.ckpt",
    ]
    epochs = int(os.readlink(kept / "last.ckpt").removeprefix("epoch-")) + 2
    for ranks in (1, 3):
        again = ("--epochs", epochs, "--devices", ranks, "--out", f"whole-{ranks}", "--no-plots")
        done = run_cfcli("train", "--resume", "halves", *again, cwd=place)
        assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(metrics(place / "whole-1"), metrics(place / "whole-3"), rtol=1e-5)

    def refused(says: str) -> None:
        done = run_cfcli("train", "--resume", "halves", "--devices", 1, "--out", "none", cwd=place)
        assert done.returncode == 7, done.stderr
        assert says in done.stderr

    harmful = b"cos\nmkdir\n(S'" + os.fsencode(place / "harm") + b"'\ntR."
    (kept / "last.ckpt" / ".metadata").write_bytes(harmful)
    refused(".metadata: damaged: its checksum")
    manifest = kept / "last.ckpt" / "checkpoint.json"
    planted.reseal(manifest, metadata=hashlib.sha256(harmful).hexdigest())
    refused("damaged: not a checkpoint (os.mkdir)")
    assert not (place / "harm").exists()
    (kept / "last.ckpt" / "meta.pt").write_bytes(b"0")
    refused("meta.pt: damaged")


@pytest.mark.parametrize(
    "flags", [("--warm-start", "one"), ("--set", "implicit=true"), ("--solver", "gibbs")]
)
def test_what_parts_of_tables_cannot_do_is_said_at_once(
    flags: tuple[str, ...], place: Path
) -> None:
    done = run_cfcli("train", "--shard-embeddings", *flags, cwd=place)
    assert done.returncode == 2
    assert "shard_embeddings" in done.stderr
