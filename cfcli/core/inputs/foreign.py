"""What is no table that can be read: each is named for what it is, with the line that converts
it."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import has_roles, with_role
from cfcli.core.inputs.streams import HEAD, Opened

PANDAS = "import pandas as pd; pd.{call}.to_csv('{csv}', index=False)"
MANY = 10  # columns, from which those called by numbers are items
VERY_MANY = 20  # and those called by anything
MAGIC = (  # first bytes, what it is, and the Python that converts it
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel file (.xls)", "read_excel('{file}')"),
    (b"FEA1", "Feather version 1", "read_feather('{file}')"),
    (b"\x89HDF\r\n\x1a\n", "HDF5", "read_hdf('{file}')"),
    (
        b"\x93NUMPY",
        "a NumPy array",
        "DataFrame(__import__('numpy').load('{file}'), columns=['user', 'item', 'rating'])",
    ),
    (b"Obj\x01", "Avro", "DataFrame(__import__('polars').read_avro('{file}').to_dicts())"),
)
# Bytes that may begin a text, too, have to go on like the format.
ORC = re.compile(rb"ORC[^\x20-\x7e\x80-\xff]|ORC.{0,12}[\x00-\x08]", re.DOTALL)
PICKLE = re.compile(rb"\x80[\x02-\x05][\x8c\x95(}\]cq]")
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|table|\?xml|!--)", re.I)
NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


def refuse_foreign(opened: Opened) -> None:
    """Raises an InputError for a file of another kind.

    Args:
        opened: its bytes, of which none were read yet.
    """
    start = opened.peek()
    for magic, what, call in MAGIC:
        if start.startswith(magic):
            raise _refusal(opened.name, what, call)
    if ORC.match(start):
        raise _refusal(opened.name, "ORC", "read_orc('{file}')")
    if PICKLE.match(start):
        what = "a pickle, which may run any program when it is opened"
        raise _refusal(opened.name, what, "read_pickle('{file}')", "if you trust it: ")
    if start.startswith(b"PK\x03\x04"):
        _refuse_zip(opened.name, opened.read(HEAD))
    if start.lstrip().startswith((b"<", b"\xef\xbb\xbf")) and PAGE.match(opened.peek(HEAD)):
        what = "a web page (HTML) or XML; did a download go wrong?"
        before = "its first table is taken out by: "
        raise _refusal(opened.name, what, "read_html('{file}')[0]", before)


def refuse_matrix(names: Sequence[str], where: str, config: PrepareConfig) -> None:
    """Raises an InputError where the columns are items, as most of their names are numbers.

    Args:
        names: of all columns.
        where: name of the input.
        config: a table of which it names columns is no matrix.
    """
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    # Ids of items differ; a row of a matrix without a header is all ratings.
    are_ids = len(set(numbers)) == len(numbers) or len(numbers) == len(names)
    is_wide = len(names) >= MANY and len(numbers) > len(names) / 2 and are_ids
    is_named = has_roles(names, ("user", "item")) or config.user_col or config.item_col
    if is_wide and not is_named:
        raise _matrix(names, where)


def refuse_unknown_matrix(names: Sequence[str], where: str, config: PrepareConfig) -> None:
    """Raises an InputError where the columns of ratings seem to be items: there are very many, and
    none is called as those of ratings are.

    Args:
        names: of all columns.
        where: name of the input.
        config: a table of which it names columns is no matrix.
    """
    is_named = any(with_role(names, role) for role in ("item", "rating"))
    is_named |= bool(config.user_col or config.item_col or config.rating_col or config.no_header)
    if len(names) >= VERY_MANY and not is_named:
        raise _matrix(names, where)


def _matrix(names: Sequence[str], where: str) -> InputError:
    """What to do with a matrix; its first column is the user, unless it is one like the others."""
    file, csv = _file_names(where)
    read = f"d = pl.read_csv('{file}', separator=',', infer_schema=False)"
    if NUMBER.fullmatch(names[0]):
        read = f"{read[:-1]}, has_header=False).with_row_index('user')"
    code = (
        f"import polars as pl; {read}; "
        "d.unpivot(index=d.columns[0], variable_name='item', value_name='rating')"
        ".filter((pl.col('rating') != '') & (pl.col('rating').cast(float, strict=False) != 99))"
        f".rename({{d.columns[0]: 'user'}}).write_csv('{csv}')"
    )
    return InputError(
        f"{where}: looks like a matrix of users by items ({len(names)} columns; if it is none, "
        "name its columns with --user-col, --item-col and --rating-col); a row for each rating, "
        "but not "
        f'for 99 or nothing, is made by: python -c "{code}"'
    )


def _refuse_zip(name: str, start: bytes) -> None:
    """Raises an InputError for a zip archive, or for a spreadsheet, which is one inside."""
    if b"xl/" in start or b"opendocument.spreadsheet" in start:
        raise _refusal(name, "a spreadsheet (.xlsx or .ods)", "read_excel('{file}')")
    raise InputError(
        f"{name}: is a zip archive; unpack it with 'unzip' and give the file in it "
        "(a spreadsheet has to be saved as CSV)"
    )


def _refusal(name: str, what: str, call: str, before: str = "convert it with: ") -> InputError:
    file, csv = _file_names(name)
    code = PANDAS.format(call=call.format(file=file), csv=csv)
    return InputError(f'{name}: is {what}; {before}python -c "{code}"')


def _file_names(name: str) -> tuple[str, str]:
    """Names of the file and of the CSV that it becomes, which a shell takes as they are."""
    if shlex.quote(name) != name:
        return "FILE", "FILE.csv"
    path = PurePath(name)
    csv = path.with_suffix(".csv")
    return name, str(csv if csv != path else path.with_name(f"{path.stem}-new.csv"))
