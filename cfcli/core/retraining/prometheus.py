"""Numbers for the textfile collector of Prometheus' node_exporter."""

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cfcli.core.errors import ArtifactError
from cfcli.core.retraining.night import Night
from cfcli.core.retraining.store import Store
from cfcli.core.storage import publishing

HELP = {
    "retrain_timestamp_seconds": "When the last retrain ended.",
    "retrain_exit_code": "Its exit code: 0 published or nothing to do, 6 refused.",
    "retrain_duration_seconds": "How long it took.",
    "retrain_published": "Whether it published a model.",
    "current_created_timestamp_seconds": "When the model in use was trained.",
    "current_rmse": "Its root mean squared error on the test rows of the night it was published.",
    "model_rmse": "Root mean squared error of the model that was trained now.",
    "champion_rmse": "That of the model that was in use, on the same rows.",
    "baseline_rmse": "That of damped biases.",
    "ratings": "Ratings read.",
    "rejected": "Rows that were no ratings.",
    "users": "Users with ratings.",
    "items": "Items with ratings.",
    "new_users": "Users that the model in use did not know.",
    "new_items": "Items that the model in use did not know.",
}


def gauges(
    store: Store, night: Night | None, exit_code: int, seconds: float
) -> dict[str, float | None]:
    """The values after one night, None where there is none.

    Args:
        store: that was worked in.
        night: what became of it; None where it failed.
        exit_code: of the command.
        seconds: that it took.
    """
    values: dict[str, float | None] = {
        "retrain_timestamp_seconds": time.time(),
        "retrain_exit_code": exit_code,
        "retrain_duration_seconds": seconds,
        "retrain_published": night is not None and night.published,
    }
    with contextlib.suppress(ArtifactError):  # nothing is in use, or it is damaged
        status = store.status()
        values["current_created_timestamp_seconds"] = datetime.fromisoformat(
            status.created
        ).timestamp()
        for row in status.runs:
            if row.run == status.current and row.verdict and row.verdict.model:
                values["current_rmse"] = row.verdict.model.rmse
    if night is not None:
        values |= {
            "model_rmse": night.model.rmse if night.model else None,
            "champion_rmse": night.champion.rmse if night.champion else None,
            "baseline_rmse": night.baselines["bias"].rmse if night.baselines else None,
            "ratings": night.ratings,
            "rejected": night.rejected,
            "users": night.users,
            "items": night.items,
            "new_users": night.new_users,
            "new_items": night.new_items,
        }
    return values


def write(path: Path, store: Path, values: Mapping[str, float | None]) -> None:
    """Write gauges ``cfcli_<name>{store="..."}``.

    Args:
        path: of the file.
        store: folder of the store, for the label.
        values: by the names of :data:`HELP`; those that are None are left out.

    Raises:
        MachineError: no permission, no space.
    """
    label = str(store).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name, value in values.items():
        if value is None:
            continue
        lines.append(f"# HELP cfcli_{name} {HELP[name]}")
        lines.append(f"# TYPE cfcli_{name} gauge")
        lines.append(f'cfcli_{name}{{store="{label}"}} {float(value)!r}')
    with publishing.file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
