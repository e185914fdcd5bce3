"""What became of one night: for people, for programs and for Prometheus."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cfcli.core.runs.verdict import Findings, now

Status = Literal["published", "refused", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Night(Findings):
    """What became of one call of :func:`cfcli.core.retraining.retrain.retrain`.

    Attributes:
        status: what was done.
        published: whether a new run is in use now.
        run: the new run, or the one that it would be the same as.
        previous: the run that was in use before.
        reason: why the new run was refused, or why there was nothing to do.
        start: ``warm``, or ``full`` and why; None where nothing was trained.
        new_users: users that the run in use did not know.
        new_items: items that the run in use did not know.
        ratings: of the dataset.
        users: with ratings.
        items: with ratings.
        fingerprint: of the dataset.
        rejected: rows that were no ratings.
        notes: on the input, one sentence each.
        removed: names of the old runs that were removed.
        seconds: that all of it took.
    """

    status: Status
    published: bool
    run: Path
    previous: Path | None
    reason: str
    start: str | None
    new_users: int
    new_items: int
    ratings: int
    users: int
    items: int
    fingerprint: str
    rejected: int
    notes: list[str]
    removed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """All that happened as ``key=value``, for people and for grep."""
        values = {
            "status": self.status,
            "run": self.run.name,
            "rmse": _shown(self.model.rmse if self.model else None),
            "champion_rmse": _shown(self.champion.rmse if self.champion else None),
            "ndcg": _shown(self.model.ndcg if self.model else None),
            "champion_ndcg": _shown(self.champion.ndcg if self.champion else None),
            "bias_rmse": _shown(self.baselines["bias"].rmse if self.baselines else None),
            "judged": self.judged or "-",
            "rows": "-" if self.n is None else self.n,
            "ratings": self.ratings,
            "rejected": self.rejected,
            "new_users": self.new_users,
            "new_items": self.new_items,
            "start": (self.start or "-").partition(":")[0],
            "seconds": f"{self.seconds:.1f}",
        }
        text = " ".join(f"{name}={value}" for name, value in values.items())
        note = f' note="{self.note}"' if self.note else ""
        return f'{now()} retrain {text} reason="{self.reason}"{note}'


def _shown(rmse: float | None) -> str:
    return "-" if rmse is None else f"{rmse:.4f}"
