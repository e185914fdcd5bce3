"""The keys of ``[prepare]``: how a ratings file becomes a dataset."""

import math
from dataclasses import dataclass
from typing import Literal

from cfcli.core.config.fields import Settings, check_range, key
from cfcli.core.errors import ConfigError

Split = Literal["hash", "random", "time", "user-last"]
Duplicates = Literal["last", "mean", "first", "error"]
Format = Literal["auto", "csv", "tsv", "dat", "parquet"]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """How a ratings file becomes a dataset: table ``[prepare]``."""

    format: Format = key("auto", "Form of the input; auto looks at the content.")
    user_col: str | None = key(None, "Column of user ids, where its name is not a known alias.")
    item_col: str | None = key(None, "Column of item ids.")
    rating_col: str | None = key(None, "Column of ratings.")
    time_col: str | None = key(
        None, "Column of times: seconds, ms, us or ns since 1970, or ISO 8601."
    )
    no_header: bool = key(False, "The first line is data; columns are column_0, column_1...")
    skip_lines: int = key(0, "Lines to leave out above the names of the columns.", least=0)
    encoding: str = key("utf-8", "Encoding of the text, such as latin-1 or utf-16.")
    decimal_comma: bool = key(False, "Ratings are written like 3,5.")
    max_rows: int | None = key(None, "Refuse an input with more rows.", least=1)
    max_bytes: int | None = key(None, "Refuse an input with more bytes, after unpacking.", least=1)
    top_items: int | None = key(None, "Keep only the N items with the most ratings.", least=1)
    min_user_ratings: int = key(1, "Drop users with fewer ratings.", least=1)
    min_item_ratings: int = key(1, "Drop items with fewer ratings.", least=1)
    since: str | None = key(None, "Drop ratings before this date (YYYY-MM-DD).", metavar="DATE")
    sample: int | None = key(
        None, "Keep N ratings, chosen by a hash of user, item and seed.", least=1
    )
    split: Split = key(
        "hash", "How rows are held out: by hash, at random, the newest, or each user's newest."
    )
    val_size: float = key(0.2, "Share of the ratings that go to validation.", least=0, below=1)
    test_size: float = key(0.1, "Share of the ratings that go to the test.", least=0, below=1)
    duplicates: Duplicates = key(
        "last", "Which rating of a pair counts: last (by time), mean, first; or error."
    )
    max_bad_rows: str = key(
        "0", "Bad rows to drop, as N or P%, before the input is refused.", metavar="N|P%"
    )
    no_rejects_file: bool = key(False, "Keep no copy of bad rows, which may hold ids of people.")
    rating_range: tuple[float, float] | None = key(
        None, "Lowest and highest rating allowed, as LO,HI.", metavar="LO,HI"
    )
    seed: int = key(42, "Seed of the split and the sample.", least=0, below=2**32)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_size + self.test_size >= 1:
            raise ConfigError(
                f"val_size + test_size = {self.val_size + self.test_size:g} leaves no training rows"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(
                f"encoding: '{self.encoding}' is not known; such as utf-8, latin-1, utf-16"
            ) from None
        if self.rating_range:
            check_range(*self.rating_range)
        self.bad_rows_allowed(0)

    def bad_rows_allowed(self, rows: int) -> int:
        """How many of ``rows`` input rows may be bad."""
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
