"""A stopped training whose checkpoint or settings are another's or damaged is not resumed."""

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
import pytest
import torch
from artifact_faults import NAN, assert_refused, resume, with_sum

from cfcli.core.data.dataset import Dataset
from cfcli.core.runs import run as runs


def test_what_was_stopped_is_resumed_if_it_is_whole(copy: Path) -> None:
    assert resume(copy)[0] == 0


def test_a_damaged_checkpoint_is_not_resumed(copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    content = bytearray(path.read_bytes())
    content[99] ^= 1
    path.write_bytes(content)
    assert_refused(resume(copy), "last.ckpt")
    assert not (copy / "new").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 42", "seed = 43"),
        ("l2 = 1.0", "l2 = 9.0"),
        ("dim = 5", "dim = 7"),
        ("dim = 5", "dim"),
    ],
)
def test_a_stopped_run_is_not_resumed_with_other_settings_than_it_had(
    old: str, new: str, copy: Path
) -> None:
    path = copy / "stopped" / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert_refused(resume(copy), "config.toml")


@pytest.mark.parametrize(
    "keys", [{"seed": 7}, {"l2": 3.0}, {"dim": 7}, {"model": "ncf"}, {"solver": "gibbs"}], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(keys: dict[str, Any], copy: Path) -> None:
    keys = {"max_time": "0.3s", "epochs": 10**6, "patience": 10**6, **keys}
    planted.run(Dataset.load(copy / "data"), copy / "alien", **keys)
    shutil.copy(copy / "alien" / runs.CHECKPOINT, copy / "stopped" / runs.CHECKPOINT)
    assert_refused(resume(copy), "last.ckpt", "stopped")


def test_a_checkpoint_of_other_data_is_refused(copy: Path, pool: Path) -> None:
    shutil.copy(pool / "other" / "stopped" / runs.CHECKPOINT, copy / "stopped" / runs.CHECKPOINT)
    assert_refused(resume(copy), "last.ckpt", "another dataset")


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def changed_checkpoint(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def make(whole: bytes) -> bytes:
        content = torch.load(io.BytesIO(whole), weights_only=True)
        change(content)
        return saved(content)

    return make


def first_weight(content: dict[str, Any]) -> str:
    return str(next(name for name in content["state_dict"] if "user" in name))


CHECKPOINTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda whole: b"",
    "noise": lambda whole: random.Random(4).randbytes(3000),
    "half of it": lambda whole: whole[: len(whole) // 2],
    "a list": lambda whole: saved([1, 2]),
    "a number": lambda whole: saved(1),
    "no keys": lambda whole: saved({}),
    "nothing of cfcli's": changed_checkpoint(lambda c: c.pop("cfcli")),
    "version 0.1's": changed_checkpoint(lambda c: c["cfcli"].pop("format")),
    "a later version's": changed_checkpoint(lambda c: c["cfcli"].update(format=99)),
    "no state": changed_checkpoint(lambda c: c["cfcli"].pop("state")),
    "no history": changed_checkpoint(lambda c: c["cfcli"].pop("history")),
    "a history of another form": changed_checkpoint(
        lambda c: c["cfcli"].update(history=[{"epoch": "x"}])
    ),
    "a history that is empty": changed_checkpoint(lambda c: c["cfcli"].update(history=[])),
    "a best epoch out of range": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(best_epoch=10**9)
    ),
    "no best tensors": changed_checkpoint(lambda c: c["cfcli"]["state"].update(best={})),
    "a generator of another size": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(generator=torch.zeros(3, dtype=torch.uint8))
    ),
    "no callbacks": changed_checkpoint(lambda c: c.pop("callbacks")),
    "no optimizer": changed_checkpoint(lambda c: c.pop("optimizer_states")),
    "a weight missing": changed_checkpoint(lambda c: c["state_dict"].pop(first_weight(c))),
    "a weight of another shape": changed_checkpoint(
        lambda c: c["state_dict"].update({first_weight(c): torch.zeros(2, 2)})
    ),
    "a weight that is no tensor": changed_checkpoint(
        lambda c: c["state_dict"].update({first_weight(c): "x"})
    ),
    "best tensors that are no numbers": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(
            best={k: v * NAN for k, v in c["cfcli"]["state"]["best"].items()}
        )
    ),
    "best tensors of another shape": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(
            best={k: v[:1] for k, v in c["cfcli"]["state"]["best"].items()}
        )
    ),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_refused(what: str, copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    path.write_bytes(with_sum(CHECKPOINTS[what](path.read_bytes()[:-32])))
    assert_refused(resume(copy, "--epochs", 10**6), "last.ckpt")
    assert not (copy / "new").exists()


@pytest.mark.parametrize("solver", ["adam", "gibbs"])
def test_a_checkpoint_of_version_01_says_what_to_do(solver: str, copy: Path) -> None:
    keys: dict[str, Any] = {"max_time": "0.3s", "epochs": 10**6, "patience": 10**6}
    shutil.rmtree(copy / "stopped")
    planted.run(Dataset.load(copy / "data"), copy / "stopped", solver=solver, **keys)
    path = copy / "stopped" / runs.CHECKPOINT
    older = changed_checkpoint(lambda c: c["cfcli"].pop("format"))
    path.write_bytes(with_sum(older(path.read_bytes()[:-32])))
    assert_refused(resume(copy), "made by version 0.1 cannot be resumed; train again without")


def test_weights_that_are_no_numbers_come_to_no_run(copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    spoil = changed_checkpoint(
        lambda c: c["state_dict"].update({k: v * NAN for k, v in c["state_dict"].items()})
    )
    path.write_bytes(with_sum(spoil(path.read_bytes()[:-32])))
    code, out, err, _ = resume(copy, "--epochs", 10**6)
    assert code in (6, 7)
    assert (out, err.count("\n")) == ("", 1)
    assert not (copy / "new").exists()
