"""Titles and genres of items, from a file of their own."""

import polars as pl
from polars.exceptions import PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs.records import is_quoted, one_character, sniff, with_one_character
from cfcli.core.inputs.roles import ALIASES
from cfcli.core.inputs.sources import Source

ML100K_GENRES = (  # the flags that end each line of MovieLens' u.item, in its order (u.genre)
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()


def read(source: Source) -> tuple[pl.DataFrame, list[str]]:
    """Columns ``id``, ``title`` and ``genres`` (joined by ``|``, null where unknown), the first row
    of each id, and notes for the user. Known forms: a table with a header (MovieLens'
    ``movies.csv``, or Parquet), ``movies.dat`` (``id::title::genres``), ``u.item`` (id, title,
    dates, address and 19 flags, between ``|``).

    Raises:
        InputError: none of these.
    """
    data, _ = source.read()
    notes: list[str] = []
    if data.startswith(b"PAR1"):
        try:
            frame = _by_name(pl.read_parquet(data), source.name)
        except (PolarsError, pl.exceptions.PanicException) as error:
            raise InputError(
                f"{source.name}: damaged Parquet: {str(error).splitlines()[0]}"
            ) from None
        return frame, notes
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        data = data.decode("latin-1").encode()
        notes.append(f"{source.name} is not UTF-8; read as Latin-1")
    first = data.split(b"\n", 1)[0].decode("utf-8-sig")
    separator = (
        "|"
        if first.count("|") >= 20
        else "::"
        if "::" in first
        else sniff(_head(data), source.name, fields=2)[0]
    )
    try:
        if separator in ("|", "::"):
            frame = _text_frame(
                data.replace(b'"', b"''") if separator == "|" else data, separator, header=False
            )
            names = frame.columns
            genres: pl.Expr = (
                pl.col(names[2])
                if separator == "::"
                else pl.concat_list(
                    pl.when(pl.col(column) == "1").then(pl.lit(genre))
                    for column, genre in zip(names[-19:], ML100K_GENRES, strict=True)
                )
                .list.drop_nulls()
                .list.join("|")
            )
            title = (
                pl.col(names[1]).str.replace_all("''", '"', literal=True)
                if separator == "|"
                else pl.col(names[1])
            )
            frame = frame.select(id=pl.col(names[0]), title=title, genres=genres)
        else:
            frame = _by_name(_text_frame(data, separator, header=True), source.name)
    except (PolarsError, ValueError, IndexError) as error:
        raise InputError(
            f"{source.name}: not a table of items: {str(error).splitlines()[0]}"
        ) from None
    return frame.filter(pl.col("id").is_not_null()).unique(
        "id", keep="first", maintain_order=True
    ), notes


def _head(data: bytes) -> str:
    return data.lstrip()[: 1 << 16].decode("utf-8-sig", "replace")


def _text_frame(data: bytes, separator: str, header: bool) -> pl.DataFrame:
    """The table in ``data``, every column as text; raises Polars' errors where rows are too
    long."""
    return pl.read_csv(
        with_one_character(data, separator),
        separator=one_character(separator),
        has_header=header,
        quote_char='"' if is_quoted(separator) else None,
        infer_schema=False,
        glob=False,
    )


def _by_name(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    keys = {"".join(name.replace("_", "").split()).casefold(): name for name in frame.columns}
    item = next((keys[alias] for alias in ALIASES["item"] if alias in keys), None)
    if item is None or "title" not in keys:
        raise InputError(
            f"{where}: needs a column of item ids and one called title; found {', '.join(frame.columns)}"
        )
    genres = pl.lit(None, pl.String)
    if "genres" in keys:
        genres = pl.col(keys["genres"])
        if isinstance(frame.schema[keys["genres"]], pl.List):
            genres = genres.cast(pl.List(pl.String)).list.join("|")
    columns = {"id": pl.col(item), "title": pl.col(keys["title"]), "genres": genres}
    frame = frame.select(**columns).cast(pl.String)
    return frame.unique("id", keep="first", maintain_order=True)
