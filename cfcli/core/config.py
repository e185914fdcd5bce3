"""Typed configuration: one frozen dataclass per command, read from TOML, flags and the environment.

Precedence, lowest first: the default here, the table of a ``--config`` file, ``--set KEY=VALUE``, then flags (which
the command line takes from ``CFCLI_*`` where a flag is not given). Every key is known here: an unknown one is an error
that names the nearest right one.
"""

import dataclasses
import datetime
import difflib
import json
import math
import sys
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cfcli.core.errors import ConfigError, MachineError

Split = Literal["hash", "random", "time", "user-last"]
Duplicates = Literal["last", "mean", "first", "error"]
Format = Literal["auto", "csv", "tsv", "dat", "parquet"]
Model = Literal["mf", "ncf"]
Solver = Literal["auto", "adam", "gibbs"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Link = Literal["identity", "sigmoid"]
Loader = Literal["resident", "stream", "dataloader"]
Optimizer = Literal["auto", "adam", "sparse-adam", "rowwise-adagrad"]


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a ratings file becomes a dataset: table ``[prepare]``."""

    format: Format = _key("auto", "Form of the input; auto looks at the content.")
    user_col: str | None = _key(None, "Column of user ids, where its name is not a known alias.")
    item_col: str | None = _key(None, "Column of item ids.")
    rating_col: str | None = _key(None, "Column of ratings.")
    time_col: str | None = _key(None, "Column of times: seconds, ms, us or ns since 1970, or ISO 8601.")
    no_header: bool = _key(False, "The first line is data; columns are column_0, column_1...")
    skip_lines: int = _key(0, "Lines to leave out above the names of the columns.")
    encoding: str = _key("utf-8", "Encoding of the text, such as latin-1 or utf-16.")
    decimal_comma: bool = _key(False, "Ratings are written like 3,5.")
    max_rows: int | None = _key(None, "Refuse an input with more rows.")
    max_bytes: int | None = _key(None, "Refuse an input with more bytes, after unpacking.")
    top_items: int | None = _key(None, "Keep only the N items with the most ratings.")
    min_user_ratings: int = _key(1, "Drop users with fewer ratings.")
    min_item_ratings: int = _key(1, "Drop items with fewer ratings.")
    since: str | None = _key(None, "Drop ratings before this date (YYYY-MM-DD).")
    sample: int | None = _key(None, "Keep N ratings, chosen by a hash of user, item and seed.")
    split: Split = _key("hash", "How rows are held out: by hash, at random, the newest, or each user's newest.")
    val_size: float = _key(0.2, "Share of the ratings that go to validation.")
    test_size: float = _key(0.1, "Share of the ratings that go to the test.")
    duplicates: Duplicates = _key("last", "Which rating of a pair counts: last (by time), mean, first; or error.")
    max_bad_rows: str = _key("0", "Bad rows to drop, as N or P%, before the input is refused.")
    no_rejects_file: bool = _key(False, "Keep no copy of bad rows, which may hold ids of people.")
    rating_range: tuple[float, float] | None = _key(None, "Lowest and highest rating allowed, as LO,HI.")
    seed: int = _key(42, "Seed of the split and the sample.")

    def __post_init__(self) -> None:
        _check(self)
        for name in ("val_size", "test_size"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is not a share from 0 to below 1")
        if self.val_size + self.test_size >= 1:
            raise ConfigError(f"val_size + test_size = {self.val_size + self.test_size:g} leaves no training rows")
        _at_least(self, 1, "top_items", "sample", "min_user_ratings", "min_item_ratings", "max_rows", "max_bytes")
        _at_least(self, 0, "skip_lines")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(f"encoding: '{self.encoding}' is not known; such as utf-8, latin-1, utf-16") from None
        _check_seed(self.seed)
        if self.rating_range and not self.rating_range[0] < self.rating_range[1]:
            raise ConfigError(f"rating_range: {self.rating_range[0]:g} is not below {self.rating_range[1]:g}")
        self.bad_rows_allowed(0)

    def bad_rows_allowed(self, rows: int) -> int:
        """How many of ``rows`` input rows may be bad."""
        try:
            share = float(self.max_bad_rows[:-1]) / 100 if self.max_bad_rows.endswith("%") else 0.0
            if not 0 <= share < math.inf:
                raise ValueError
            allowed = math.floor(share * rows) if self.max_bad_rows.endswith("%") else int(self.max_bad_rows)
            if allowed < 0:
                raise ValueError
            return allowed
        except ValueError:
            raise ConfigError(f"max_bad_rows: '{self.max_bad_rows}' is neither a count nor a share like 0.1%") from None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and how: table ``[train]``."""

    model: Model = _key("mf", "mf: matrix factorisation; ncf: a dense network on both embeddings.")
    solver: Solver = _key(
        "auto", "gibbs: Bayesian, by sampling, mf only; adam: by gradients; auto is gibbs unless a setting needs adam."
    )
    dim: int = _key(5, "Embedding dimension.")
    hidden: tuple[int, ...] = _key((64, 32), "Widths of ncf's hidden layers, as 64,32.")
    dropout: float = _key(0.0, "Share of hidden units that ncf drops in training.")
    epochs: int = _key(40, "Most epochs.")
    min_epochs: int = _key(6, "Early stopping starts to count at this epoch.")
    patience: int = _key(3, "Epochs without a better validation MSE before training stops.")
    batch_size: int | Literal["auto"] = _key("auto", "Ratings per step; auto takes it from the number of rows.")
    optimizer: Optimizer = _key(
        "auto",
        "What adam steps by: adam, 4 times the tables in memory; sparse-adam, 3 times; rowwise-adagrad, little more "
        "than once; auto is adam, or where that does not fit the first that does.",
    )
    learning_rate: float | None = _key(None, "Learning rate; default 0.002, for rowwise-adagrad 0.05.")
    l2: float = _key(1.0, "Weight of adam's squared parameters, over the root of the number of their ratings.")
    link: Link = _key(
        "identity", "How adam's score becomes a rating: itself, kept within the range, or a sigmoid of it."
    )
    implicit: bool = _key(True, "Let adam tell embeddings also from who rated what, whatever the rating.")
    sampler_rank: int | None = _key(
        None, "Rank of gibbs' samples; their mean is cut to dim. Default 15; from 500,000 rows 31, or dim up to 64."
    )
    biases: bool = _key(True, "Give every user and item a bias.")
    inner_product_weight: bool = _key(False, "Learn a weight on mf's inner product, as the notebook did.")
    init_scale: float | None = _key(
        None, "Standard deviation of the initial embeddings; default 0.01, with a sigmoid 0.05 for mf, 0.1 for ncf."
    )
    initial_rating: float | None = _key(None, "Rating that an untrained model predicts; default the training mean.")
    rating_range: tuple[float, float] | None = _key(None, "Predictions stay in LO,HI; default the training ratings'.")
    device: Device = _key("auto", "Where to train; auto takes CUDA, else MPS (for adam), else CPU.")
    loader: Loader = _key(
        "resident", "resident: batches cut from tensors; stream: from the disk; dataloader: PyTorch's, row by row."
    )
    num_workers: int = _key(
        0, "Worker processes that read for --loader stream; else for --loader dataloader, which it asks for."
    )
    devices: int = _key(1, "Processes on each machine that train one model together, by adam; on CUDA one a GPU.")
    num_nodes: int = _key(1, "Machines with that many processes each.")
    threads: int | Literal["auto"] = _key("auto", "CPU threads; auto takes all, but one where adam's steps are small.")
    shard_embeddings: bool = _key(False, "Give each process a part of the tables; without implicit.")
    compiled: bool = _key(False, "Let torch.compile make adam's step: takes a while, and a C++ compiler on a CPU.")
    warm_start: str | None = _key(None, "Begin with the vectors of this run; new users and items get the mean.")
    max_time: str | None = _key(None, "Stop after this long (90s, 20m, 8h) and keep the best epoch.")
    seed: int = _key(42, "Seed of all that is drawn at random, the order of the ratings too.")

    def __post_init__(self) -> None:
        _check(self)
        _at_least(self, 1, "dim", "epochs", "patience", "batch_size", "sampler_rank", "threads", "devices", "num_nodes")
        if self.shard_embeddings:
            object.__setattr__(self, "implicit", False)  # the features are tables, too
            others = [name for name in ("compiled", "warm_start", "is_sparse") if getattr(self, name)]
            if others:
                name = others[0].replace("is_sparse", "optimizer")
                raise ConfigError(f"shard_embeddings: goes with no {name}; leave one of them out")
        if self.solver == "gibbs" and (others := self.only_adam()):
            raise ConfigError(f"solver gibbs fits mf with biases and knows no {', '.join(others)}; leave it out")
        _at_least(self, 0, "min_epochs", "num_workers", "l2", "init_scale")
        _check_seed(self.seed)
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(f"learning_rate: {self.learning_rate:g} is not above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout:g} is not a share from 0 to below 1")
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden: {','.join(map(str, self.hidden))} has a width below 1")
        if self.rating_range and not self.rating_range[0] < self.rating_range[1]:
            raise ConfigError(f"rating_range: {self.rating_range[0]:g} is not below {self.rating_range[1]:g}")
        if self.ranks > 1 and (self.loader == "dataloader" or (self.num_workers and self.loader != "stream")):
            raise ConfigError("loader dataloader serves one process; with --devices leave it and --num-workers out")
        if self.compiled and self.is_sparse:
            raise ConfigError(f"optimizer {self.optimizer}: takes no compiled step; leave compiled out")
        self.max_seconds()

    def only_adam(self) -> list[str]:
        """The settings, other than by default, that only the solver adam heeds."""
        plain = {f.name: [f.default] for f in dataclasses.fields(self)}
        plain["learning_rate"].append(ADAM_RATE)  # as runs say that were made when this was the default
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
        """The learning rates of the tables and of all else, which is always Adam's and moves in proportion."""
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
            raise ConfigError(f"{command} is one process: leave out devices, num_nodes and shard_embeddings")

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
MAY_CHANGE = ("epochs", "min_epochs", "patience", "max_time", "device", "devices", "num_nodes", "threads")
TABLES: dict[str, type] = {"prepare": PrepareConfig, "train": TrainConfig}


Config = TypeVar("Config", PrepareConfig, TrainConfig)


def resolve(
    cls: type[Config],
    *,
    file: Path | None = None,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration from all places that may speak, later ones winning.

    Args:
        file: a TOML file with the tables ``[prepare]`` and ``[train]``, each optional.
        sets: ``KEY=VALUE`` texts; VALUE is TOML, or else taken as a string.
        flags: keys to values; those that are None were not given.

    Raises:
        ConfigError: unknown key, wrong type or value.
        MachineError: the file cannot be read.
    """
    table = next(name for name, known in TABLES.items() if known is cls)
    values: dict[str, Any] = {}
    if file is not None:
        for key, value in read_toml(file).get(table, {}).items():
            values[known_key(key, _names(cls), f"{file}: [{table}]")] = value
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: not of the form KEY=VALUE")
        values[known_key(key.strip(), _names(cls), "--set")] = _toml_value(value)
    values |= {key: value for key, value in (flags or {}).items() if value is not None}
    return cls(**values)


def resolve_resumed(begun: Path, file: Path | None, sets: Iterable[str], flags: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a run that goes on: as it was ``begun``, but for how it ends and where it computes.

    Raises:
        ConfigError: anything else was asked to change.
    """
    if file or tuple(sets):
        raise ConfigError("--resume takes the settings of the run: give no --config and no --set")
    before, after = resolve(TrainConfig, file=begun), resolve(TrainConfig, file=begun, flags=flags)
    for name in _names(TrainConfig):
        if getattr(before, name) != getattr(after, name) and name not in MAY_CHANGE:
            raise ConfigError(f"{name}: cannot change when a run is resumed; only {', '.join(MAY_CHANGE)} can")
    return after


def resolve_both(file: Path | None, sets: Iterable[str], flags: Mapping[str, Any]) -> tuple[PrepareConfig, TrainConfig]:
    """The configurations of both tables; what both know, such as ``seed``, is set in both."""
    both = sorted({*_names(PrepareConfig), *_names(TrainConfig)})
    keys = {text: known_key(text.partition("=")[0].strip(), both, "--set") for text in sets}

    def own(cls: type[Config]) -> Config:
        names = _names(cls)
        return resolve(
            cls,
            file=file,
            sets=[text for text, name in keys.items() if name in names],
            flags={name: value for name, value in flags.items() if name in names},
        )

    return own(PrepareConfig), own(TrainConfig)


def seconds_of(text: str, where: str) -> float:
    """A time like 90s, 20m, 8h or 2d in seconds."""
    try:
        seconds = float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1:]]
    except (KeyError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{where}: '{text}' is not a time like 90s, 20m or 8h")
    return seconds


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file, their names checked."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, table in tables.items():
        known_key(name, TABLES, f"{path}: table")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: '{name}' is not a table; write [{name}]")
    return tables


def to_toml(config: PrepareConfig | TrainConfig) -> str:
    """The configuration as a file that ``--config`` takes; keys that are None are left out."""
    table = next(name for name, known in TABLES.items() if isinstance(config, known))
    lines = [f"{name} = {to_toml_value(value)}" for name, value in as_dict(config).items() if value is not None]
    return "\n".join([f"[{table}]", *lines, ""])


def as_dict(config: PrepareConfig | TrainConfig) -> dict[str, Any]:
    """The configuration as plain numbers, strings, booleans and lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def known_key(key: str, known: Iterable[str], where: str) -> str:
    """``key`` in its canonical spelling.

    Raises:
        ConfigError: it is not among ``known``; the message names the nearest that is.
    """
    known = list(known)
    name = key.replace("-", "_") if key.replace("-", "_") in known else key
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(f"{where}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))


def _names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]


def to_toml_value(value: Any) -> str:
    """``value`` in TOML: as in JSON, but TOML knows no surrogate pairs and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check(config: PrepareConfig | TrainConfig) -> None:
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, _coerce(value, hint))
        except ValueError as error:
            raise ConfigError(f"{name}: {value!r} is not {error}") from None


def _coerce(value: Any, hint: Any) -> Any:
    """``value`` as ``hint`` wants it: an int may stand for a float, '1,2' or a list for a tuple; nothing else moves."""
    kind, args = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        for option in args:
            try:
                return _coerce(value, option)
            except ValueError as error:
                reason = str(error)
        raise ValueError(" or ".join(_describe(option) for option in args if option is not type(None)) or reason)
    if kind is Literal:
        if value in args:
            return value
    elif kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and (args[-1] is ... or len(parts) == len(args)):
            try:
                return tuple(_coerce(args[0](part) if isinstance(part, str) else part, args[0]) for part in parts)
            except (TypeError, ValueError):
                pass
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    elif hint is int and isinstance(value, str) and value.isdecimal():
        return int(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    elif hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    elif hint is str and isinstance(value, datetime.date):  # TOML has dates, also with a time
        return value.isoformat()
    raise ValueError(_describe(hint))


def _describe(hint: Any) -> str:
    kind, args = get_origin(hint), get_args(hint)
    if kind is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else f"'{args[0]}'"
    if kind is tuple:
        return f"a list like {'64,32' if args[-1] is ... else 'LO,HI'}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:  # what scikit-learn and Lightning take
        raise ConfigError(f"seed: {seed} is not from 0 to 4294967295")


def _at_least(config: PrepareConfig | TrainConfig, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < least:
            raise ConfigError(f"{name}: {value:g} is below {least}")
