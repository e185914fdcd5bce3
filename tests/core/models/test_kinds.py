"""What each kind of model consists of, and that a new one takes the four files that are named."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import planted
import pytest

import cfcli
from cfcli.core.config.train import Model, TrainConfig
from cfcli.core.models import build
from cfcli.core.models.base import Shape
from cfcli.core.models.heads import LinearHead
from cfcli.core.models.kinds import KINDS, Sizes

MODULE = """
import torch
from torch import nn
from cfcli.core.models.base import Factors

class Scaled(Factors):
    def __init__(self, config, shape, statistics, device=None):
        super().__init__(config, shape, statistics, device)
        self.factor = nn.Parameter(torch.full((1,), 2.0))

    def head(self, product, p, q):
        return self.factor * product

    def head_backward(self, head, product, slope):
        self.factor.grad = (slope @ product)[None]
        return self.factor * slope

    @torch.no_grad()
    def folded(self):
        start = torch.full((1,), self.start)
        return super().folded() | {"factor": self.factor.clone(), "start": start.float()}
"""
HEAD = """

class ScaledProduct(Head):
    def pairs(self, p, q):
        return self.tensors["factor"] * (p * q).sum(axis=1) + self.tensors["start"]

    def all_items(self, users):
        q = self.tensors["item_embedding.weight"]
        scores = [self.pairs(np.tile(p, (len(q), 1)), q) for p in users[:, :-1]]
        return np.stack(scores) + users[:, -1:] + self.item_bias
"""
KIND = """

class ScaledFactorisation(Kind):
    has_linear_space = False

    def head_tensors(self, sizes):
        return {"factor": (1,), "start": (1,)}

    def module(self):
        from cfcli.core.models.scaled import Scaled

        return Scaled

    def head(self, tensors):
        from cfcli.core.models.heads import ScaledProduct

        return ScaledProduct(tensors)


KINDS["scaled"] = ScaledFactorisation()
"""
SCRIPT = """
import sys
import cfcli
assert cfcli.__file__.startswith(sys.argv[1]), cfcli.__file__
from cfcli.cli.app import main
sys.argv = ["cfcli", *sys.argv[2:]]
sys.exit(main())
"""


def test_the_configuration_knows_every_kind() -> None:
    assert get_args(Model) == tuple(KINDS)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("hidden", [(), (4,), (8, 3)])
@pytest.mark.parametrize("name", KINDS)
def test_the_tensors_are_those_that_a_model_leaves(
    name: str, hidden: tuple[int, ...], biases: bool
) -> None:
    layers = {"hidden": hidden} if name == "ncf" else {}
    config = TrainConfig.of(model=name, dim=3, biases=biases, **layers)  # type: ignore[arg-type]
    left = build(config, Shape(7, 5, 1.0, 5.0, 3.0)).folded()
    kind = KINDS[name]
    expected = kind.tensors(Sizes(7, 5, 3, biases, hidden))
    assert {key: tuple(value.shape) for key, value in left.items()} == expected
    head = kind.head({key: value.numpy() for key, value in left.items()})
    assert isinstance(head, LinearHead) == kind.has_linear_space


def test_a_new_kind_takes_changes_in_the_four_files_that_are_named(tmp_path: Path) -> None:
    """A copy of the package with those four changed trains, saves, loads and predicts with it."""
    package = tmp_path / "copy" / "cfcli"
    shutil.copytree(Path(cfcli.__file__).parent, package)
    models = package / "core" / "models"
    (models / "scaled.py").write_text(MODULE)
    for path, text in ((models / "heads.py", HEAD), (models / "kinds.py", KIND)):
        path.write_text(path.read_text() + text)
    train = package / "core" / "config" / "train.py"
    literal = 'Model = Literal["mf", "ncf"]'
    assert literal in train.read_text()
    train.write_text(train.read_text().replace(literal, 'Model = Literal["mf", "ncf", "scaled"]'))
    planted.dataset(tmp_path, planted.checkerboard())

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(package.parent), *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1", "CI": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(
        "train",
        "--model",
        "scaled",
        "--epochs",
        "20",
        "--learning-rate",
        "0.02",
        "--dim",
        "2",
        "--refit",
        "none",
        "--out",
        "run",
        "--quiet",
    )
    run("evaluate", "run", "--split", "val", "--min-gain-over", "mean")  # which has to predict
    assert len(run("recommend", "run", "--user", "100", "-n", "3").splitlines()) == 4
