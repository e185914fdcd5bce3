"""A clock that jumps back or stands still."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import planted
import pytest
from store_faults import fill, number_of

from cfcli.core.retraining import store as stores
from cfcli.core.retraining.store import Store, check_age
from cfcli.core.runs import verdict


def test_a_clock_that_jumps_back_or_stands_still_changes_nothing(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, start = Store(tmp_path / "store"), datetime(2028, 2, 29, 0, 0, 1, tzinfo=UTC)
    for hours in (0, 0, 24 * 366, -30, 0.5):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None, shown: datetime = start + timedelta(hours=hours)) -> Any:
                return shown

        for module in (stores, verdict):
            monkeypatch.setattr(module, "datetime", Clock)
        fill(store, made, True)
        planted.reseal(store.runs()[-1] / "run.json", created=verdict.now())
    assert [number_of(run) for run in store.runs()] == [1, 2, 3, 4, 5]
    assert len({run.name for run in store.runs()}) == 5
    assert [number_of(store.previous()), number_of(store.current())] == [4, 5]
    back = type("Back", (Clock,), {"now": classmethod(lambda *_: start)})
    for module in (stores, verdict):
        monkeypatch.setattr(module, "datetime", back)
    state = store.status()
    assert state.age_seconds < 0
    check_age(state, 3600)
    assert number_of(store.rollback().run) == 4
