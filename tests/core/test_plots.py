"""Pictures."""

import sys
from pathlib import Path
from typing import Any

import pytest

from cfcli.core import plots
from cfcli.core.errors import MachineError


def result(*sweeps: str) -> dict[str, Any]:
    row = {"seconds_min": 0.1, "seconds_median": 0.2, "seconds_max": 0.4, "num_workers": 0, "loader": "resident"}
    row |= {"threads": 1, "compiled": False, "device": "cpu"}
    rows = [row | {"sweep": sweep, "batch_size": size} for sweep in sweeps for size in (256, 512)]
    return {"device": "cpu", "rows": 1000, "results": rows}


def test_a_panel_per_sweep_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    width = []
    for sweeps in (["batch-size"], ["batch-size", "num-workers"]):
        path = tmp_path / "new" / "x.png"
        plots.sweeps(result(*sweeps), path)
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width.append(int.from_bytes(data[16:20], "big"))
    assert width == [720, 1440]
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MachineError, match=r"pip install 'cfcli\[plot\]'"):
        plots.sweeps(result("batch-size"), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
