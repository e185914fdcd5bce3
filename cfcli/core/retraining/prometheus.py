"""Numbers for the textfile collector of Prometheus' node_exporter."""

from collections.abc import Mapping
from pathlib import Path

from cfcli.core.storage import publishing

HELP = {
    "retrain_timestamp_seconds": "When the last retrain ended.",
    "retrain_exit_code": "Its exit code: 0 published or nothing to do, 6 refused.",
    "retrain_duration_seconds": "How long it took.",
    "retrain_published": "Whether it published a model.",
    "current_created_timestamp_seconds": "When the model in use was trained.",
    "current_rmse": "Its root mean squared error on the test rows of the night that it was published.",
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


def write(path: Path, store: Path, values: Mapping[str, float | None]) -> None:
    """Writes gauges ``cfcli_<name>{store="..."}``; those that are None are left out.

    Raises:
        MachineError: no permission, no space.
    """
    label = str(store).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name, value in values.items():
        if value is not None:
            lines += [f"# HELP cfcli_{name} {HELP[name]}", f"# TYPE cfcli_{name} gauge"]
            lines += [f'cfcli_{name}{{store="{label}"}} {float(value)!r}']
    with publishing.file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
