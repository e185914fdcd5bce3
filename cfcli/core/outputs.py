"""Tables for other programs."""

import polars as pl


def excel_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts that a spreadsheet would take for a formula get an apostrophe in front, as OWASP's "CSV Injection" has it:
    those that begin with = + - @, a tab or a carriage return."""
    text = pl.selectors.string()
    return frame.with_columns(pl.when(text.str.contains(r"^[=+\-@\t\r]")).then("'" + text).otherwise(text).name.keep())
