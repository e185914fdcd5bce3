"""The times of pairs that ratings are predicted for."""

from collections.abc import Sequence

import polars as pl

from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import Form, shown
from cfcli.core.inputs.times import PLAIN, Times, Value


class PairTimes:
    """Reads the column of times, where a table has one.

    Args:
        names: of all columns.
        form: says what the column may be called and how times are written.
        where: name of the table, for errors.

    Attributes:
        column: its name; None where there is none.
        unread: rows whose time could not be read so far.

    Raises:
        InputError: several columns may be the time.
        ConfigError: the column that a flag names is not there.
    """

    def __init__(self, names: Sequence[str], form: Form, where: str) -> None:
        found = form.with_role(names, "time", where)
        if len(found) > 1:
            raise InputError(
                f"{where}: several may be the time: {shown(found)}; choose one with --time-col"
            )
        self.column = found[0] if found else None
        self.unread = 0
        self._times = Times(form.config.time_format)

    def read(self, frame: pl.DataFrame) -> pl.Series | None:
        """The times of rows, in UTC, (N,), null where there is none; None without a column.

        Args:
            frame: some rows of the table.
        """
        if self.column is None:
            return None
        read = self._times.read(frame[self.column])
        block = frame.select(timestamp=read.moment)
        if read.mark is not None:
            for mark in set(read.mark.unique()) - {PLAIN, *self._times.firsts}:
                self._times.firsts[mark] = Value(0, "", 0, self.column, "")
            self._times.count(read.mark)
            added = {"mark": read.mark, "other": read.other}
            block = block.with_columns(**{k: v for k, v in added.items() if v is not None})
            block = self._times.settle(block)
        moment = block["timestamp"]
        self.unread += moment.null_count() - frame[self.column].null_count()
        return moment

    def notes(self, name: str) -> list[str]:
        """What a person should know about the times.

        Args:
            name: of the table.
        """
        if self.column is None:
            return ["no column of times, which the model knows; it predicts for the newest time"]
        if self.unread:
            return [
                f"{name}: times that cannot be read: {self.unread:,}; each counts as the newest one"
            ]
        return []
