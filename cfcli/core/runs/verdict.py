"""What was decided about a run, kept beside it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cfcli.core.data.info import PlainConfig
from cfcli.core.errors import ArtifactError
from cfcli.core.metrics.intervals import Interval
from cfcli.core.metrics.ratings import Errors, ModelErrors
from cfcli.core.storage import manifests
from cfcli.core.storage.manifests import File
from cfcli.core.storage.schema import read_as, to_json

FORMAT = 1
GATE = "gate.json"


@dataclass(frozen=True)
class JudgedErrors(ModelErrors):
    """Errors of a model that was judged beside another one.

    Attributes:
        coverage: share of the rows whose user and item it knows.
        ndcg: of its lists for liked rows; None where lists were not judged.
    """

    coverage: float
    ndcg: float | None = None


@dataclass(frozen=True)
class BestRun:
    """The best of several runs on the same rows.

    Attributes:
        run: its name.
        rmse: its error.
    """

    run: str
    rmse: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a decision rests on: errors on the rows that no judged run was trained on.

    All is None where nothing was judged; what concerns the run in use, where there was none.

    Attributes:
        n: how many rows there were.
        model: errors of the new run.
        champion: errors of the run in use.
        baselines: errors of the baselines, by their names.
        mse_difference: what the MSE of the new run is above that of the run in use.
        best: of the run in use and those in use before it.
        ndcg_difference: what the nDCG of the new run is above that of the run in use.
        note: why lists were not judged.
        judged: whether the new run was judged, or its twin, which has not seen the rows.
    """

    n: int | None = None
    model: JudgedErrors | None = None
    champion: JudgedErrors | None = None
    baselines: dict[str, Errors] | None = None
    mse_difference: Interval | None = None
    best: BestRun | None = None
    ndcg_difference: Interval | None = None
    note: str | None = None
    judged: Literal["run", "twin"] | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict(Findings):
    """What was decided about a run: ``gate.json``.

    Attributes:
        format: number of the format of verdicts.
        decided: when, in UTC, as ISO 8601 has it.
        published: whether the run may be used.
        reason: why not, or why again.
        key: of all that the run was made from; empty where that is unknown.
        split: the settings that rows were split by.
        previous: name of the run that was in use.
        tolerance: share by which the RMSE was allowed to be above that of the run in use.
        tolerance_lists: what nDCG was allowed to be below that of the run in use.
        min_gain_over: the baseline that had to be beaten, or ``none``.
        files: no others belong to it.
    """

    format: int = FORMAT
    decided: str
    published: bool
    reason: str
    key: str
    split: PlainConfig | None = None
    previous: str | None = None
    tolerance: float | None = None
    tolerance_lists: float | None = None
    min_gain_over: str | None = None
    files: dict[str, File] | None = None


def gate_of(run: Path) -> Verdict | None:
    """What was decided about a run; None where nothing was yet.

    A record that is damaged counts as a refusal, with the damage as its reason.

    Args:
        run: its folder.
    """
    if not (run / GATE).exists():
        return None
    try:
        return read_gate(run)
    except ArtifactError as error:
        return Verdict(decided="", published=False, reason=str(error), key="")


def read_gate(run: Path) -> Verdict:
    """What was decided about a run.

    Args:
        run: its folder.

    Raises:
        ArtifactError: nothing was, or the record is damaged.
    """
    return read_as(Verdict, run / GATE, manifests.read(run / GATE, "verdict", FORMAT))


def write_gate(run: Path, verdict: Verdict) -> None:
    """Record what was decided about a run.

    Args:
        run: its folder.
        verdict: the decision.
    """
    manifests.write(run / GATE, to_json(verdict), {})


def amend_gate(run: Path, *, published: bool, reason: str) -> None:
    """Change what was decided about a run, and keep what that rested on.

    Args:
        run: its folder.
        published: whether it may be used.
        reason: why.
    """
    former = gate_of(run) or Verdict(decided="", published=False, reason="", key="")
    changed = replace(former, published=published, reason=reason, decided=now())
    write_gate(run, changed)


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
