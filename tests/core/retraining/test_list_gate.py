"""A new model whose lists are worse is refused."""

import json
from pathlib import Path

import numpy as np
import planted
import pytest

from cfcli.core.data.dataset import Dataset
from cfcli.core.retraining import gate
from cfcli.core.retraining.gate import Policy
from cfcli.core.runs.run import INTEREST, Run
from cfcli.core.storage import manifests
from cfcli.core.storage.tensors import load_tensors, save_tensors

POLICY = Policy(tolerance=10, min_gain_over="none")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return planted.dataset(tmp_path_factory.mktemp("many"), planted.tastes(users=900))


@pytest.fixture(scope="module")
def good(data: Dataset) -> Run:
    return Run.load(planted.run(data, data.path.parent / "good", epochs=2))


def spoilt(run: Run, path: Path) -> Run:
    """The run with the vectors of items shuffled: what users chose no longer says anything."""
    path.mkdir()
    for file in run.path.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    tensors = load_tensors(path / INTEREST)
    tensors["item"] = np.random.default_rng(0).permutation(tensors["item"])
    save_tensors(tensors, path / INTEREST)
    info = json.loads((path / "run.json").read_text())
    files = manifests.listing(path, list(info["files"]))
    planted.reseal(path / "run.json", files={name: vars(file) for name, file in files.items()})
    return Run.load(path)


def test_worse_lists_are_refused_and_better_ones_are_not(
    good: Run, data: Dataset, tmp_path: Path
) -> None:
    bad = spoilt(good, tmp_path / "bad")
    refused = gate.compare(bad, good, [], data, POLICY)
    assert "below that of the model in use" in refused.reason
    assert refused.reason.startswith("nDCG of its lists ")
    found = refused.found
    assert found.model is not None
    assert found.champion is not None
    assert found.ndcg_difference is not None
    assert found.model.ndcg == pytest.approx(found.champion.ndcg + found.ndcg_difference.value)  # type: ignore[operator]
    assert found.ndcg_difference.high < 0
    assert gate.compare(good, bad, [], data, POLICY).reason == ""
    loose = Policy(tolerance=10, min_gain_over="none", tolerance_lists=1)
    assert gate.compare(bad, good, [], data, loose).reason == ""


def test_the_same_lists_are_as_good(good: Run, data: Dataset) -> None:
    found = gate.compare(good, good, [], data, POLICY).found
    assert found.ndcg_difference is not None
    assert found.ndcg_difference.value == 0
    assert found.note is None


def test_few_users_decide_nothing(
    good: Run, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "FEWEST_USERS", 1000)
    found = gate.compare(good, good, [], data, POLICY).found
    assert found.ndcg_difference is None
    assert "users are too few" in (found.note or "")


def test_a_side_without_an_interest_model_is_not_judged(good: Run, data: Dataset) -> None:
    plain = Run.load(planted.run(data, data.path.parent / "plain", epochs=2, interest=False))
    for new, champion in ((good, plain), (plain, good)):
        found = gate.compare(new, champion, [], data, POLICY).found
        assert found.note == "lists are not judged: plain has no interest model"
