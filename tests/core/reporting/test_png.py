"""Pictures."""

import sys
from pathlib import Path
from typing import Any

import pytest

from cfcli.core.reporting import charts
from cfcli.core.reporting import png as plots
from cfcli.core.reporting.charts import Chart, Series
from cfcli.core.training.benchmark import Benchmark, Setting, Sweep, Timing


def result(*sweeps: Sweep) -> Benchmark:
    settings = [Setting(size, 0, "resident", 1, "cpu") for size in (256, 512)]
    timings = [
        Timing(sweep, "adam", setting, 0.1, 0.2, 0.4, 0.1, 0.1, 5000)
        for sweep in sweeps
        for setting in settings
    ]
    return Benchmark("cpu", 1000, timings, settings[0])


def test_a_panel_per_sweep_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    width = []
    first: Sweep = "batch-size"
    second: Sweep = "num-workers"
    for sweeps in ([first], [first, second]):
        path = tmp_path / "new" / "x.png"
        plots.draw(charts.sweeps(result(*sweeps)), path)
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width.append(int.from_bytes(data[16:20], "big"))
    assert width == [720, 1440]
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize("kind", ["line", "points", "bars"])
@pytest.mark.parametrize("labels", [None, ["a", "b\n1", "c"]])
def test_what_a_chart_has_is_on_the_axes(kind: Any, labels: list[str] | None) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    y, ends = [1.0, None, 3.0], [0.5, None, 2.5]
    series = [
        Series("one", y, kind=kind, low=ends, high=[1.5, None, 3.5]),
        Series("two", [2, 2, 2], kind=kind),
    ]
    axes = figure.subplots()
    plots._panel(axes, Chart("x", "A title", "across", "up", series, labels, True, (1, "here")))
    assert (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()) == (
        "A title",
        "across",
        "up",
    )
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"one", "two", "here"}
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 3.5
    if labels:
        assert [text.get_text() for text in axes.get_xticklabels()] == labels


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plots.NoMatplotlib, match=r"pip install 'cfcli\[plot\]'"):
        plots.write(charts.sweeps(result("batch-size")), tmp_path / "plots")
    assert not list(tmp_path.iterdir())
