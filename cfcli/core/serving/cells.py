"""Cells of types that a text has no form for."""

import math
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from json import dumps

import polars as pl

NOT_JSON = re.compile(r"Binary|Map\((?!String)")  # what Polars has no JSON for inside other types


def without_bytes(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as JSON can have it: binaries as hexadecimal digits, durations in ISO 8601.

    Args:
        frame: any table.
    """
    nested = [
        pl.Series(column.name, [_plain(cell) for cell in column.to_list()], strict=False)
        for column in frame
        if NOT_JSON.search(str(column.dtype)) and column.dtype.is_nested()
    ]
    return frame.with_columns(
        pl.selectors.binary().bin.encode("hex"),
        pl.selectors.duration().dt.to_string("iso"),
        *nested,
    )


def without_nesting(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as CSV can have it: as :func:`without_bytes` gives it, and with lists, structs and
    maps as JSON.

    Args:
        frame: any table.
    """
    texts = [
        pl.Series(column.name, [_json(cell) for cell in column.to_list()], pl.String)
        for column in frame
        if column.dtype.is_nested()
    ]
    return without_bytes(frame.with_columns(texts))


def _json(cell: object) -> str | None:
    return None if cell is None else dumps(_plain(cell), ensure_ascii=False)


def _plain(value: object) -> object:
    """A value of types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return pl.Series([value]).dt.to_string("iso")[0]
    return value.isoformat() if isinstance(value, date | time) else str(value)
