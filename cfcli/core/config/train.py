"""The keys of ``[train]``: what is trained, and how."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from cfcli.core.config.fields import at_least, check, check_seed, key, seconds_of
from cfcli.core.errors import ConfigError

Model = Literal["mf", "ncf"]
Solver = Literal["auto", "adam", "gibbs"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Link = Literal["identity", "sigmoid"]
Loader = Literal["resident", "stream", "dataloader"]
Optimizer = Literal["auto", "adam", "sparse-adam", "rowwise-adagrad"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and how: table ``[train]``."""

    model: Model = key("mf", "mf: matrix factorisation; ncf: a dense network on both embeddings.")
    solver: Solver = key(
        "auto",
        "gibbs: Bayesian, by sampling, mf only; adam: by gradients; auto is gibbs unless a setting needs adam.",
    )
    dim: int = key(5, "Embedding dimension.")
    hidden: tuple[int, ...] = key((64, 32), "Widths of ncf's hidden layers, as 64,32.")
    dropout: float = key(0.0, "Share of hidden units that ncf drops in training.")
    epochs: int = key(40, "Most epochs.")
    min_epochs: int = key(6, "Early stopping starts to count at this epoch.")
    patience: int = key(3, "Epochs without a better validation MSE before training stops.")
    batch_size: int | Literal["auto"] = key(
        "auto", "Ratings per step; auto takes it from the number of rows."
    )
    optimizer: Optimizer = key(
        "auto",
        "What adam steps by: adam, 4 times the tables in memory; sparse-adam, 3 times; rowwise-adagrad, little more "
        "than once; auto is adam, or where that does not fit the first that does.",
    )
    learning_rate: float | None = key(
        None, "Learning rate; default 0.002, for rowwise-adagrad 0.05."
    )
    l2: float = key(
        1.0, "Weight of adam's squared parameters, over the root of the number of their ratings."
    )
    link: Link = key(
        "identity",
        "How adam's score becomes a rating: itself, kept within the range, or a sigmoid of it.",
    )
    implicit: bool = key(
        True, "Let adam tell embeddings also from who rated what, whatever the rating."
    )
    sampler_rank: int | None = key(
        None,
        "Rank of gibbs' samples; their mean is cut to dim. Default 15; from 500,000 rows 31, or dim up to 64.",
    )
    biases: bool = key(True, "Give every user and item a bias.")
    inner_product_weight: bool = key(
        False, "Learn a weight on mf's inner product, as the notebook did."
    )
    init_scale: float | None = key(
        None,
        "Standard deviation of the initial embeddings; default 0.01, with a sigmoid 0.05 for mf, 0.1 for ncf.",
    )
    initial_rating: float | None = key(
        None, "Rating that an untrained model predicts; default the training mean."
    )
    rating_range: tuple[float, float] | None = key(
        None, "Predictions stay in LO,HI; default the training ratings'."
    )
    device: Device = key("auto", "Where to train; auto takes CUDA, else MPS (for adam), else CPU.")
    loader: Loader = key(
        "resident",
        "resident: batches cut from tensors; stream: from the disk; dataloader: PyTorch's, row by row.",
    )
    num_workers: int = key(
        0,
        "Worker processes that read for --loader stream; else for --loader dataloader, which it asks for.",
    )
    devices: int = key(
        1, "Processes on each machine that train one model together, by adam; on CUDA one a GPU."
    )
    num_nodes: int = key(1, "Machines with that many processes each.")
    threads: int | Literal["auto"] = key(
        "auto", "CPU threads; auto takes all, but one where adam's steps are small."
    )
    shard_embeddings: bool = key(False, "Give each process a part of the tables; without implicit.")
    compiled: bool = key(
        False, "Let torch.compile make adam's step: takes a while, and a C++ compiler on a CPU."
    )
    warm_start: str | None = key(
        None, "Begin with the vectors of this run; new users and items get the mean."
    )
    max_time: str | None = key(None, "Stop after this long (90s, 20m, 8h) and keep the best epoch.")
    seed: int = key(42, "Seed of all that is drawn at random, the order of the ratings too.")

    def __post_init__(self) -> None:
        check(self)
        at_least(
            self,
            1,
            "dim",
            "epochs",
            "patience",
            "batch_size",
            "sampler_rank",
            "threads",
            "devices",
            "num_nodes",
        )
        if self.shard_embeddings:
            object.__setattr__(self, "implicit", False)  # the features are tables, too
            others = [
                name for name in ("compiled", "warm_start", "is_sparse") if getattr(self, name)
            ]
            if others:
                name = others[0].replace("is_sparse", "optimizer")
                raise ConfigError(f"shard_embeddings: goes with no {name}; leave one of them out")
        if self.solver == "gibbs" and (others := self.only_adam()):
            raise ConfigError(
                f"solver gibbs fits mf with biases and knows no {', '.join(others)}; leave it out"
            )
        at_least(self, 0, "min_epochs", "num_workers", "l2", "init_scale")
        check_seed(self.seed)
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(f"learning_rate: {self.learning_rate:g} is not above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout:g} is not a share from 0 to below 1")
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden: {','.join(map(str, self.hidden))} has a width below 1")
        if self.rating_range and not self.rating_range[0] < self.rating_range[1]:
            raise ConfigError(
                f"rating_range: {self.rating_range[0]:g} is not below {self.rating_range[1]:g}"
            )
        if self.ranks > 1 and (
            self.loader == "dataloader" or (self.num_workers and self.loader != "stream")
        ):
            raise ConfigError(
                "loader dataloader serves one process; with --devices leave it and --num-workers out"
            )
        if self.compiled and self.is_sparse:
            raise ConfigError(
                f"optimizer {self.optimizer}: takes no compiled step; leave compiled out"
            )
        self.max_seconds()

    def only_adam(self) -> list[str]:
        """The settings, other than by default, that only the solver adam heeds."""
        plain = {f.name: [f.default] for f in dataclasses.fields(self)}
        plain["learning_rate"].append(
            ADAM_RATE
        )  # as runs say that were made when this was the default
        return [name for name in ONLY_ADAM if getattr(self, name) not in plain[name]]

    def fitted_by(self) -> str:
        """The solver, once ``auto`` is settled."""
        return self.solver if self.solver != "auto" else "adam" if self.only_adam() else "gibbs"

    def stepped_by(self) -> str | None:
        """The optimizer, once ``auto`` is settled; None where there is none."""
        if self.fitted_by() == "gibbs":
            return None
        return self.optimizer if self.optimizer != "auto" else "adam"

    @property
    def is_sparse(self) -> bool:
        """Whether the optimizer moves only the rows of the tables that a step is on."""
        return self.optimizer in ("sparse-adam", "rowwise-adagrad")

    @property
    def rates(self) -> tuple[float, float]:
        """The learning rates of the tables and of all else, which is always Adam's and moves in
        proportion."""
        default = LEARNING_RATES.get(self.optimizer, ADAM_RATE)
        rate = default if self.learning_rate is None else self.learning_rate
        return rate, rate * (ADAM_RATE / default)

    @property
    def ranks(self) -> int:
        """Processes that train one model together, on all machines."""
        return self.devices * self.num_nodes

    def refuse_ranks(self, command: str) -> None:
        """Raises a ConfigError where several processes are asked for by a command that is one."""
        if self.ranks > 1 or self.shard_embeddings:
            raise ConfigError(
                f"{command} is one process: leave out devices, num_nodes and shard_embeddings"
            )

    def max_seconds(self) -> float | None:
        """``max_time`` in seconds."""
        if self.max_time is None:
            return None
        return seconds_of(self.max_time, "max_time")


ADAM_RATE = 2e-3
LEARNING_RATES = {"rowwise-adagrad": 0.05}  # measured: by default, where not Adam's
ONLY_ADAM = (
    "model", "hidden", "dropout", "batch_size", "optimizer", "learning_rate", "l2", "link", "implicit", "biases",
    "inner_product_weight", "init_scale", "initial_rating", "loader", "num_workers", "compiled", "devices", "num_nodes",
    "shard_embeddings",
)  # fmt: skip
TRAIN_FLAGS = (
    "model", "solver", "dim", "hidden", "dropout", "epochs", "min_epochs", "patience", "batch_size", "optimizer",
    "learning_rate", "l2", "device", "loader", "num_workers", "warm_start", "max_time", "seed",
)  # fmt: skip
TOGETHER_FLAGS = (
    "devices",
    "num_nodes",
    "shard_embeddings",
)  # of trainings by several processes, which no night's work is
# When a run is resumed.
MAY_CHANGE = (
    "epochs",
    "min_epochs",
    "patience",
    "max_time",
    "device",
    "devices",
    "num_nodes",
    "threads",
)
