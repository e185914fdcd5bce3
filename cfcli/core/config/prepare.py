"""The keys of ``[prepare]``: how a ratings file becomes a dataset."""

import math
from dataclasses import dataclass
from typing import Literal

from cfcli.core.config.fields import Settings, check_range, key
from cfcli.core.errors import ConfigError

Split = Literal["hash", "random", "time", "user-last"]
Duplicates = Literal["last", "mean", "first", "error"]
Format = Literal[
    "auto", "csv", "tsv", "dat", "semicolon", "pipe", "blanks", "parquet", "arrow", "sqlite",
    "jsonl", "json", "netflix",
]  # fmt: skip
COLUMNS_PANEL = "Columns"
FILES_PANEL = "Form of the files"
ROWS_PANEL = "Rows to keep"
SPLIT_PANEL = "Split"
CHECKS_PANEL = "Checks"
TIME_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

# The keys that say what form an input has: flags of all commands that read one.
FORM = (
    "format", "table", "query", "user_col", "item_col", "rating_col", "time_col", "title_col",
    "no_header", "skip_lines", "encoding", "decimal_comma", "time_format",
)  # fmt: skip
# What a run expects of further inputs, beside the names of columns.
INHERITED = (
    "no_header", "encoding", "decimal_comma", "user_col", "item_col", "rating_col", "time_col",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """How a ratings file becomes a dataset: table ``[prepare]``."""

    format: Format = key(
        "auto",
        "Format, if the content does not tell: csv, tsv, dat (with '::'), semicolon, pipe, blanks, "
        "parquet, arrow, sqlite, jsonl (JSON lines), json (an array) or netflix ('1:' lines).",
        panel=FILES_PANEL,
        rare=True,
    )
    table: str | None = key(
        None, "Table or view of a SQLite database.", metavar="NAME", panel=FILES_PANEL, rare=True
    )
    query: str | None = key(
        None,
        "One SELECT, instead of a table of a SQLite database.",
        metavar="SQL",
        panel=FILES_PANEL,
        rare=True,
    )
    user_col: str | None = key(
        None, "Column of user ids, if its name is not recognised.", panel=COLUMNS_PANEL
    )
    item_col: str | None = key(None, "Column of item ids.", panel=COLUMNS_PANEL)
    rating_col: str | None = key(None, "Column of ratings.", panel=COLUMNS_PANEL)
    time_col: str | None = key(
        None, "Column of times: numbers since 1970, or dates.", panel=COLUMNS_PANEL
    )
    time_format: str | None = key(
        None,
        "Form of times, if it is not clear: ISO, s, ms, us or ns since 1970, or such as %d/%m/%Y.",
        metavar="FORM",
        panel=COLUMNS_PANEL,
        rare=True,
    )
    weight_col: str | None = key(
        None,
        "Column of weights above 0: how much each rating counts in training.",
        panel=COLUMNS_PANEL,
        rare=True,
    )
    title_col: str | None = key(None, "Column of titles in --items.", panel=COLUMNS_PANEL)
    attributes: tuple[str, ...] | None = key(
        None,
        "Columns of --items and --users that are attributes, or none; by default all of the items, "
        "none of the users.",
        metavar="COL,...",
        panel=COLUMNS_PANEL,
        rare=True,
    )
    no_header: bool = key(
        False,
        "The first line is data: user, item, rating and time.",
        panel=COLUMNS_PANEL,
    )
    skip_lines: int = key(
        0, "Lines to skip before the header.", least=0, panel=FILES_PANEL, rare=True
    )
    encoding: str = key(
        "utf-8", "Text encoding, such as latin-1 or utf-16.", panel=FILES_PANEL, rare=True
    )
    decimal_comma: bool = key(
        False, "Ratings have a decimal comma, as in 3,5.", panel=FILES_PANEL, rare=True
    )
    max_rows: int | None = key(
        None, "Refuse an input with more rows.", least=1, panel=CHECKS_PANEL, rare=True
    )
    max_bytes: int | None = key(
        None,
        "Refuse an input with more bytes after unpacking.",
        least=1,
        panel=CHECKS_PANEL,
        rare=True,
    )
    top_items: int | None = key(
        None, "Keep only the N items with the most ratings.", least=1, panel=ROWS_PANEL
    )
    min_user_ratings: int = key(1, "Drop users with fewer ratings.", least=1, panel=ROWS_PANEL)
    min_item_ratings: int = key(1, "Drop items with fewer ratings.", least=1, panel=ROWS_PANEL)
    since: str | None = key(
        None, "Drop ratings before this date (YYYY-MM-DD).", metavar="DATE", panel=ROWS_PANEL
    )
    sample: int | None = key(
        None,
        "Keep N ratings, chosen by a hash of user, item and seed.",
        least=1,
        panel=ROWS_PANEL,
    )
    split: Split = key(
        "hash",
        "How to hold out rows: hash, random, time (the newest) or user-last (each user's newest).",
        panel=SPLIT_PANEL,
    )
    val_size: float = key(
        0.2, "Share of the ratings for validation.", least=0, below=1, panel=SPLIT_PANEL
    )
    test_size: float = key(
        0.1, "Share of the ratings for the test.", least=0, below=1, panel=SPLIT_PANEL
    )
    duplicates: Duplicates = key(
        "last",
        "Rating to keep of each user and item: last (by time), mean, first, or error to refuse.",
        panel=CHECKS_PANEL,
    )
    max_bad_rows: str = key(
        "0", "Bad rows to drop; more are an error.", metavar="N|P%", panel=CHECKS_PANEL
    )
    no_rejects_file: bool = key(
        False,
        "Do not write bad rows to rejects.csv; they may contain personal ids.",
        panel=CHECKS_PANEL,
        rare=True,
    )
    rating_range: tuple[float, float] | None = key(
        None, "Lowest and highest valid rating.", metavar="LO,HI", panel=CHECKS_PANEL
    )
    seed: int = key(
        42, "Seed of the split and the sample.", least=0, below=2**32, panel=SPLIT_PANEL
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_size + self.test_size >= 1:
            raise ConfigError(
                f"val_size + test_size = {self.val_size + self.test_size:g} leaves no training rows"
            )
        if self.attributes is not None:
            names = tuple(name.strip() for name in self.attributes)
            object.__setattr__(self, "attributes", names)
            if not all(names):
                raise ConfigError("attributes: a name is empty; write them as COL,COL")
        if self.table is not None and self.query is not None:
            raise ConfigError("give table or query, one of them")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(
                f"encoding: '{self.encoding}' is not known; such as utf-8, latin-1, utf-16"
            ) from None
        form = self.time_format
        for known in ("ISO", *TIME_UNITS):
            if form is not None and form.lower() == known.lower():
                form = known
        object.__setattr__(self, "time_format", form)
        if form is not None and form not in ("ISO", *TIME_UNITS) and "%" not in form:
            raise ConfigError(
                f"time_format: '{form}' is not ISO, s, ms, us or ns, nor a format such as %d/%m/%Y"
            )
        if self.rating_range:
            check_range(*self.rating_range)
        self.bad_rows_allowed(0)

    def bad_rows_allowed(self, rows: int) -> int:
        """How many of ``rows`` input rows may be bad.

        Args:
            rows: number of input rows.

        Raises:
            ConfigError: ``max_bad_rows`` is neither a count nor a share.
        """
        try:
            share = float(self.max_bad_rows[:-1]) / 100 if self.max_bad_rows.endswith("%") else 0.0
            if not 0 <= share < math.inf:
                raise ValueError
            allowed = (
                math.floor(share * rows)
                if self.max_bad_rows.endswith("%")
                else int(self.max_bad_rows)
            )
            if allowed < 0:
                raise ValueError
            return allowed
        except ValueError:
            raise ConfigError(
                f"max_bad_rows: '{self.max_bad_rows}' is neither a count nor a share like 0.1%"
            ) from None
