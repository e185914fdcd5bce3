"""What charts show."""

from typing import Any

import polars as pl
import pytest

from cfcli.core.evaluation.diagnostics import ActivityGroup, Coverage, Diagnosis, RatingGroup
from cfcli.core.metrics.intervals import Interval
from cfcli.core.reporting import charts, svg
from cfcli.core.training import epochs

HISTORY = pl.DataFrame(
    {"epoch": [1, 2, 3], "train_mse": [3.0, 2.0, 1.0], "val_mse": [3.5, 2.5, 2.75]}
).with_columns(learning_rate=0.1)
ROWS = [RatingGroup("1", 3, 0, 1.5, 0.5, 0.75), RatingGroup("2", 0, 3, None, None, None)]


def test_loss_marks_the_best_epoch() -> None:
    chart = charts.loss(HISTORY, 2)
    assert [(s.name, s.y, s.x) for s in chart.series] == [
        ("training", [3.0, 2.0, 1.0], [1, 2, 3]),
        ("validation", [3.5, 2.5, 2.75], [1, 2, 3]),
    ]
    assert chart.mark == (2, "best epoch 2")


def test_curves_of_the_sampler_say_that_they_are_of_one_sample_and_of_the_mean() -> None:
    sampled = HISTORY.with_columns(learning_rate=0.0)
    names = [series.name for series in charts.loss(sampled, 3).series]
    assert names == ["training (one sample)", "validation (mean)"]
    names = [series.name for series in charts.losses({"mf 3": sampled}).series]
    assert names == ["mf 3, validation (mean)", "mf 3, training (one sample)"]


def test_curves_of_several_runs_lie_in_one_chart() -> None:
    without = HISTORY.with_columns(val_mse=pl.lit(None, pl.Float64))
    chart = charts.losses({"mf 3": HISTORY, "mf 2": without})
    assert [(s.name, s.dashed, s.muted) for s in chart.series] == [
        ("mf 3, validation", False, False),
        ("mf 3, training", True, False),
        ("mf 2, training", False, False),
    ]
    assert svg.styles(chart) == ["c1", "c1 dashed", "c2"]


@pytest.mark.parametrize("kind", [pl.Float64, pl.String])
def test_without_validation_there_is_one_line(kind: Any) -> None:
    chart = charts.loss(HISTORY.with_columns(val_mse=pl.lit(None, kind)), 3)
    assert [series.name for series in chart.series] == ["training"]


def test_steps_have_a_running_mean_and_the_validation_where_epochs_end() -> None:
    trace = pl.DataFrame(
        {"step": [10 * k for k in range(1, 31)], "train_mse": [float(k % 2) for k in range(30)]}
    )
    chart = charts.steps(trace, HISTORY)
    training, validation, running = chart.series
    assert training.x == running.x == trace["step"].to_list()
    assert validation.x == [100, 200, 300]
    assert running.y[10:13] == pytest.approx([2 / 3, 1 / 3, 2 / 3])  # of three: a tenth of 30
    assert (running.y[0], running.y[-1]) == (0, 0.5)  # no mean of what comes after the beginning


def test_a_trace_of_many_steps_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    from cfcli.core.training.epochs import Epoch, History, Silent, TracePoint

    monkeypatch.setattr(epochs, "TRACED", 2)
    history = History(Silent())
    row = Epoch(1, 1.0, 1.0, None, None, None, 0.1, 1.0, 1.0)
    history.add(row, [TracePoint(1, 4.0), TracePoint(2, 2.0), TracePoint(3, 1.0)])
    assert history.trace == [(2, 3.0), (3, 1.0)]
    history.add(row, [])
    assert history.trace == [(2, 3.0), (3, 1.0)]


def test_ratings_without_rows_have_no_error() -> None:
    assert charts.predictions({"model": ROWS}).series[0].y == [3, 0]
    chart = charts.error_by_rating({"a": ROWS, "b": ROWS})
    assert [series.name for series in chart.series] == ["damped biases", "a", "b"]
    assert (chart.labels, chart.series[1].y) == (["1\n3"], [0.5])


def test_the_ladder_has_baselines_first() -> None:
    rung = Interval(1.0, 0.9, 1.1)
    chart = charts.ladder({"mean": rung, "bias": rung}, {"x": rung, "y": rung})
    assert chart.labels == ["global mean", "damped biases", "x", "y"]
    assert chart.series[0].y == [1.0, 1.0, None, None]
    assert [(series.name, series.low) for series in chart.series[1:]] == [
        ("x", [None, None, 0.9, None]),
        ("y", [None, None, None, 0.9]),
    ]
    assert charts.ladder({}, {"20260102T030405Z-mf": rung}).labels == ["…T030405Z-mf"]


def test_many_rows_are_rounded() -> None:
    counts = (999, 4086, 9999, 12_345, 999_999, 2_100_000)
    rows = [ActivityGroup("500+", n, 0.5, 0.75) for n in counts]
    found = charts.error_by_activity({"model": rows}, "user").labels
    assert found is not None
    assert [label.split("\n") for label in found] == [
        ["500", shown] for shown in ("999", "4.1k", "10k", "12k", "1M", "2.1M")
    ]


def test_a_judgement_has_a_calibration_where_there_is_one() -> None:
    found = charts.of_judgement(Diagnosis(ROWS, [], [], None))
    assert [chart.name for chart in found] == ["predictions", "error_by_rating"]
    chart = charts.of_judgement(Diagnosis(ROWS, [], [], [Coverage(0.5, 0.25)]))[2]
    assert (chart.name, chart.series[1].x, chart.series[1].y) == ("calibration", [50], [25])


@pytest.mark.parametrize(
    ("value", "text", "beside_an_axis"),
    [
        (0.86801, "0.86801", "0.86801"),
        (0.1 + 0.2, "0.3", "0.3"),
        (9000, "9,000", "9,000"),
        (50_000, "50,000", "50k"),
        (4e6, "4,000,000", "4M"),
        (1_234_567, "1,234,567", "1.23457M"),
    ],
)
def test_large_numbers_are_read_without_powers(
    value: float, text: str, beside_an_axis: str
) -> None:
    assert (charts.number(value), charts.short(value, value)) == (text, beside_an_axis)


def test_an_axis_has_one_unit() -> None:
    assert [charts.short(value, 10_000) for value in (0, 5000, 10_000)] == ["0", "5k", "10k"]
    assert charts.short(-500_000, 2e6) == "-0.5M"
