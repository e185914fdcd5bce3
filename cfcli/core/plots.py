"""Pictures, with Matplotlib (the extra ``plot``)."""

from pathlib import Path
from typing import Any

from cfcli.core import benchmark, publishing
from cfcli.core.errors import MachineError


def sweeps(result: dict[str, Any], path: Path) -> None:
    """Draws what :func:`cfcli.core.benchmark.bench` returns: the median epoch, with its spread, one panel per sweep.

    Raises:
        MachineError: Matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MachineError("--plot needs Matplotlib; install it with: pip install 'cfcli[plot]'") from None
    names = list(dict.fromkeys(row["sweep"] for row in result["results"]))
    figure = Figure(figsize=(6 * len(names), 4), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), k + 1)
        rows = [row for row in result["results"] if row["sweep"] == name]
        labels = [benchmark.label(row) for row in rows]
        middle = [row["seconds_median"] for row in rows]
        low = [row["seconds_median"] - row["seconds_min"] for row in rows]
        high = [row["seconds_max"] - row["seconds_median"] for row in rows]
        axes.errorbar(labels, middle, yerr=[low, high], fmt="o-" if name == "batch-size" else "o", capsize=4)
        axes.set_title(f"One epoch of {result['rows']:,} ratings on {result['device']}")
        axes.set_xlabel(
            {"batch-size": "batch size (resident loader)", "num-workers": "loader, at batches of 4,096"}.get(name, name)
        )
        axes.set_ylabel("seconds (median, min to max)")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", rotation=30)
        axes.grid(axis="y", alpha=0.3)
    with publishing.file(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
