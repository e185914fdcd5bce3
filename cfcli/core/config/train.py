"""The keys of ``[train]``: what is trained, and how."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from cfcli.core.config.fields import (
    Key,
    Settings,
    check_range,
    key,
    keys_of,
    seconds_of,
    topic,
)
from cfcli.core.errors import ConfigError

Model = Literal["mf", "ncf"]
Algorithm = Literal["adam", "gibbs"]
Solver = Literal["auto", "adam", "gibbs"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Link = Literal["identity", "sigmoid"]
Loader = Literal["resident", "stream"]
Refit = Literal["none", "val", "all"]
Optimizer = Literal["auto", "adam", "sparse-adam", "rowwise-adagrad"]

DIMS = (4, 8, 16, 32, 64, 128)  # that ``auto`` tries
SAMPLER_DIM = 64  # the largest of them for the sampler, whose samples have no larger rank
ADAM_RATE = 2e-3
MANY = 1 << 31  # more than PyTorch can count of processes and threads
DEFAULT_RATES = {"rowwise-adagrad": 0.05}  # measured; all others have Adam's
TRAINING_PANEL = "Training"
FINAL_PANEL = "After the training"
ADAM_PANEL = "Gradient descent (--solver adam)"
NCF_PANEL = "Network (--model ncf)"
PROCESSES_PANEL = "Several processes (--solver adam)"


@dataclass(frozen=True, kw_only=True)
class AdamConfig(Settings):
    """How gradients move the parameters: table ``[train.adam]``."""

    batch_size: int | Literal["auto"] = key(
        "auto",
        "Ratings per step.",
        least=1,
        below=MANY,
        metavar="auto|N",
        panel=ADAM_PANEL,
    )
    optimizer: Optimizer = key(
        "auto",
        "Update rule: adam (needs 4 times the memory of the tables), sparse-adam (3 times), "
        "rowwise-adagrad (little more than once) or auto (the first of these that fits).",
        panel=ADAM_PANEL,
        rare=True,
    )
    learning_rate: float | None = key(
        None,
        "By default 0.002 (rowwise-adagrad: 0.05).",
        above=0,
        panel=ADAM_PANEL,
        stands_for=ADAM_RATE,
    )
    l2: float = key(
        1.0,
        "L2 penalty on parameters, divided by the square root of their number of ratings.",
        least=0,
        panel=ADAM_PANEL,
    )
    link: Link = key(
        "identity",
        "How a score becomes a rating: identity (limited to the range) or sigmoid.",
        flag=False,
        same_for_warm_start=True,
    )
    implicit: bool | None = key(
        None,
        "Also learn embeddings from who rated what, whatever the rating; default true, and "
        "false with shard_embeddings.",
        flag=False,
        stands_for=True,
    )
    biases: bool = key(
        True, "Give every user and item a bias.", flag=False, same_for_warm_start=True
    )
    inner_product_weight: bool = key(
        False,
        "Learn a weight for the inner product of mf, as the notebook did.",
        flag=False,
        same_for_warm_start=True,
    )
    init_scale: float | None = key(
        None,
        "Standard deviation of the initial embeddings; default 0.01, and with the sigmoid 0.05 for "
        "mf and 0.1 for ncf.",
        least=0,
        flag=False,
    )
    initial_rating: float | None = key(
        None, "Rating that an untrained model predicts; default the training mean.", flag=False
    )
    loader: Loader = key(
        "resident",
        "Where ratings come from: resident (memory) or stream (disk).",
        panel=ADAM_PANEL,
        rare=True,
    )
    num_workers: int = key(
        0,
        "Processes that read ratings for --loader stream.",
        least=0,
        panel=ADAM_PANEL,
        rare=True,
    )

    @property
    def is_sparse(self) -> bool:
        """Whether the optimizer moves only those rows of the tables that a step uses."""
        return self.optimizer in ("sparse-adam", "rowwise-adagrad")

    @property
    def rates(self) -> tuple[float, float]:
        """The learning rates of the tables and of everything else, which Adam always moves.

        The second is in proportion to the first.
        """
        default = DEFAULT_RATES.get(self.optimizer, ADAM_RATE)
        rate = default if self.learning_rate is None else self.learning_rate
        return rate, rate * (ADAM_RATE / default)


@dataclass(frozen=True, kw_only=True)
class GibbsConfig(Settings):
    """How the sampler works: table ``[train.gibbs]``."""

    sampler_rank: int | None = key(
        None,
        "Rank of the samples of gibbs; their mean is compressed to dim. Default 15; from 500,000 "
        "rows on 31, or dim up to 64.",
        least=1,
        flag=False,
    )
    times: bool = key(
        False,
        "Learn moods of sittings and slow moves of items.",
        panel=TRAINING_PANEL,
    )


@dataclass(frozen=True, kw_only=True)
class NcfConfig(Settings):
    """The network of the model ncf: table ``[train.ncf]``."""

    hidden: tuple[int, ...] = key(
        (64, 32),
        "Widths of the hidden layers.",
        least=1,
        metavar="N,N,...",
        panel=NCF_PANEL,
        same_for_warm_start=True,
    )
    dropout: float = key(
        0.0,
        "Share of hidden units to drop.",
        least=0,
        below=1,
        panel=NCF_PANEL,
    )


@dataclass(frozen=True, kw_only=True)
class ProcessesConfig(Settings):
    """The processes that train one model: table ``[train.processes]``."""

    devices: int = key(
        1,
        "Processes on each machine that train one model; on CUDA, one per GPU.",
        least=1,
        below=MANY,
        panel=PROCESSES_PANEL,
        rare=True,
        may_change=True,
    )
    num_nodes: int = key(
        1,
        "Machines, each with that many processes.",
        least=1,
        below=MANY,
        panel=PROCESSES_PANEL,
        rare=True,
        may_change=True,
    )
    shard_embeddings: bool = key(
        False,
        "Divide the tables among the processes; turns implicit off.",
        panel=PROCESSES_PANEL,
        rare=True,
    )

    @property
    def ranks(self) -> int:
        """Processes that train one model together, on all machines."""
        return self.devices * self.num_nodes

    @property
    def are_several(self) -> bool:
        """Whether several processes train one model, or one does as several would."""
        return self.ranks > 1 or self.shard_embeddings


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """What is trained and how: table ``[train]`` and its topics."""

    model: Model = key(
        "mf",
        "mf: matrix factorisation; ncf: a dense network on both embeddings.",
        panel=TRAINING_PANEL,
        same_for_warm_start=True,
    )
    solver: Solver = key(
        "auto",
        "gibbs: Bayesian sampling (mf only); adam: gradient descent; auto: gibbs for mf, unless a "
        "flag needs adam.",
        panel=TRAINING_PANEL,
    )
    dim: int | Literal["auto"] = key(
        5,
        "Embedding dimension; auto tries some.",
        least=1,
        metavar="auto|N",
        panel=TRAINING_PANEL,
        same_for_warm_start=True,
    )
    epochs: int = key(
        40, "Largest number of epochs.", least=1, panel=TRAINING_PANEL, may_change=True
    )
    min_epochs: int = key(
        6,
        "First epoch that counts for early stopping.",
        least=0,
        panel=TRAINING_PANEL,
        rare=True,
        may_change=True,
    )
    patience: int = key(
        3,
        "Stop after N epochs without gain.",
        least=1,
        panel=TRAINING_PANEL,
        may_change=True,
    )
    rating_range: tuple[float, float] | None = key(
        None,
        "Limits of predictions, as LO,HI; by default those of the training ratings.",
        metavar="LO,HI",
        flag=False,
    )
    device: Device = key(
        "auto",
        "Device to train on; auto: CUDA, else MPS (adam only), else CPU.",
        panel=TRAINING_PANEL,
        may_change=True,
    )
    threads: int | Literal["auto"] = key(
        "auto",
        "CPU threads; auto: all of them, but one if the steps of adam are small.",
        least=1,
        below=MANY,
        flag=False,
        may_change=True,
    )
    warm_start: str | None = key(
        None,
        "Start from the vectors of this run; new users and items get the mean.",
        metavar="RUN",
        panel=TRAINING_PANEL,
        rare=True,
    )
    max_time: str | None = key(
        None,
        "Stop after this long (90s, 20m, 8h) and keep the best epoch.",
        metavar="TIME",
        panel=TRAINING_PANEL,
        may_change=True,
    )
    half_life: str | None = key(
        None,
        "Age, such as 180d, at which a rating counts half.",
        metavar="TIME",
        panel=TRAINING_PANEL,
        rare=True,
    )
    interest: bool | None = key(
        None,
        "Fit the interest model, which orders lists; by default where it fits in memory.",
        panel=FINAL_PANEL,
        may_change=True,
    )
    refit: Refit | None = key(
        None,
        "Held-out rows to continue with: none, val or all; by default val, for retrain all.",
        panel=FINAL_PANEL,
        may_change=True,
    )
    seed: int = key(
        42,
        "Seed of all random numbers.",
        least=0,
        below=2**32,  # what scikit-learn and Lightning take
        panel=TRAINING_PANEL,
    )
    adam: AdamConfig = topic(AdamConfig())
    gibbs: GibbsConfig = topic(GibbsConfig())
    ncf: NcfConfig = topic(NcfConfig())
    processes: ProcessesConfig = topic(ProcessesConfig())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rating_range:
            check_range(*self.rating_range)
        self.max_seconds()
        self.half_life_seconds()
        self._check_solver()
        self._check_shards()
        self._check_dim()

    def _check_dim(self) -> None:
        """Raises a ConfigError where the dimension cannot be chosen."""
        if self.dim != "auto":
            return
        if self.warm_start is not None:
            raise ConfigError(
                "dim auto cannot be combined with warm_start; give the dimension of that run"
            )
        if self.processes.are_several:
            raise ConfigError("dim auto uses one process: give a number, which 'train' found there")

    def _check_solver(self) -> None:
        """Raises a ConfigError where a key belongs to another solver or model than the one used."""
        gradient, sampler = self.changed("adam", "processes"), self.changed("gibbs")
        network = self.changed("ncf")
        if self.solver == "gibbs" and self.model != "mf":
            raise ConfigError(f"solver gibbs only trains mf, not {self.model}; leave it out")
        if self.solver == "gibbs" and gradient:
            raise ConfigError(
                f"solver gibbs does not use {_listed(gradient)}; only adam does: leave it out, or "
                "choose --solver adam"
            )
        if self.resolved_solver == "adam" and sampler:
            chosen = f" (chosen by {self.chosen_by})" if self.chosen_by else ""
            raise ConfigError(
                f"solver adam{chosen} does not use {_listed(sampler)}; only gibbs does: leave it "
                "out"
            )
        if self.model == "mf" and network:
            raise ConfigError(
                f"{_listed(network)}: only ncf has hidden layers; choose --model ncf, or leave it "
                "out"
            )

    def _check_shards(self) -> None:
        """Raises a ConfigError where tables in parts cannot do what else is asked for."""
        if not self.processes.shard_embeddings:
            return
        conflicts = {
            "implicit = true": bool(self.adam.implicit),  # its features are tables, too
            "warm_start": self.warm_start is not None,
            f"optimizer {self.adam.optimizer}": self.adam.is_sparse,
        }
        for name, there in conflicts.items():
            if there:
                raise ConfigError(
                    f"shard_embeddings cannot be combined with {name}; leave one of them out"
                )

    def changed(self, *topics: str) -> list[Key]:
        """The keys of some topics whose value is not the default.

        Args:
            topics: names of topics, as ``adam``.
        """
        values = self.values()
        keys = [key for key in keys_of(TrainConfig).values() if key.topic in topics]
        return [key for key in keys if not key.is_default(values[key.name])]

    @property
    def resolved_solver(self) -> Algorithm:
        """The solver that trains, once ``auto`` is resolved: gibbs for mf, unless a key is set that
        only gradient descent knows."""
        if self.solver != "auto":
            return self.solver
        return "adam" if self.model != "mf" or self.changed("adam", "processes") else "gibbs"

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions to train with, ascending: one, or those that ``auto`` may try."""
        if self.dim != "auto":
            return (self.dim,)
        return tuple(dim for dim in DIMS if self.resolved_solver != "gibbs" or dim <= SAMPLER_DIM)

    @property
    def dimension(self) -> int:
        """The dimension; for ``auto`` the largest that it may try."""
        return self.dims[-1]

    @property
    def chosen_by(self) -> str:
        """What made ``auto`` adam, as the command line spells it; empty where nothing had to."""
        if self.solver != "auto" or self.model != "mf":
            return ""
        return ", ".join(key.spelling for key in self.changed("adam", "processes"))

    @property
    def resolved_optimizer(self) -> Optimizer | None:
        """The optimizer, once ``auto`` is resolved; None for the sampler, which has none."""
        if self.resolved_solver == "gibbs":
            return None
        return self.adam.optimizer if self.adam.optimizer != "auto" else "adam"

    @property
    def uses_features(self) -> bool:
        """Whether adam learns embeddings also from who rated what: ``implicit``, resolved."""
        if self.adam.implicit is None:
            return not self.processes.shard_embeddings
        return self.adam.implicit

    def with_solver_named(self) -> "TrainConfig":
        """The configuration with ``auto`` replaced by the solver that trains, and ``refit`` by what
        it is by default."""
        return dataclasses.replace(self, solver=self.resolved_solver, refit=self.refit or "val")

    @property
    def has_more_to_fit(self) -> bool:
        """Whether something follows on the training that stops early and can be resumed: a refit or
        the interest model."""
        follows = self.refit != "none" or self.interest is not False
        return follows and not self.processes.are_several

    @property
    def why_no_refit(self) -> str:
        """Why the rating model cannot be trained on more rows afterwards, or an empty text."""
        if self.processes.are_several:
            return "several processes train together"
        return "--loader stream holds no more rows" if self.adam.loader == "stream" else ""

    def refuse_ranks(self, command: str) -> None:
        """Raises a ConfigError where a command of one process is asked for several.

        Args:
            command: its name, for the message.
        """
        if self.processes.are_several:
            raise ConfigError(
                f"{command} uses one process: leave out devices, num_nodes and shard_embeddings"
            )

    def max_seconds(self) -> float | None:
        """``max_time`` in seconds."""
        if self.max_time is None:
            return None
        return seconds_of(self.max_time, "max_time")

    def half_life_seconds(self) -> float | None:
        """``half_life`` in seconds."""
        return None if self.half_life is None else seconds_of(self.half_life, "half_life")


def _listed(keys: list[Key]) -> str:
    return ", ".join(key.name for key in keys)
