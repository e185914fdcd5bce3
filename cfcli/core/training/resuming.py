"""What all solvers' checkpoints hold beside what Lightning puts there."""

import json
import math
from dataclasses import asdict
from typing import Any

import pytorch_lightning as lightning

from cfcli.core.config.fields import keys_of
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ArtifactError, GateError
from cfcli.core.training.epochs import Epoch, Progress, is_settled

TRACED = 100  # entries of the trace, at most, from an epoch


class Resumable(lightning.LightningModule):
    """Keeps the history of its epochs, and a state of its own, in checkpoints.

    Attributes:
        history: one row per epoch.
        trace: the number of a step, and the mean squared error of the training rows that it and
            those since the entry before were on.
        fingerprint: of the data.
        least_gain: share of the validation error that counts as an improvement.
        settled: whether the validation error stopped falling, which ends the training.
    """

    def __init__(self, config: TrainConfig, progress: Progress) -> None:
        super().__init__()
        self.config, self.progress = config, progress
        self.history: list[Epoch] = []
        self.trace: list[tuple[int, float]] = []
        self.fingerprint = ""
        self.settled, self.least_gain = False, 0.0

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, as safe loading wants them."""
        raise NotImplementedError

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from a :meth:`state`; ``history`` is there already."""
        raise NotImplementedError

    def finish(self, row: Epoch, steps: list[tuple[int, float]]) -> None:
        """Takes the row of an epoch that is over, and its part of the trace.

        Raises:
            GateError: its error is no number.
        """
        self.history.append(row)
        every = max(1, -(-len(steps) // TRACED))
        self.trace += [
            (part[-1][0], math.fsum(mse for _, mse in part) / len(part))
            for part in (steps[k : k + every] for k in range(0, len(steps), every))
        ]
        self.progress.epoch(row)
        if not math.isfinite(row.train_mse if row.val_mse is None else row.val_mse):
            raise GateError(f"the loss diverged in epoch {row.epoch}; try a lower --learning-rate")
        errors = [row.val_mse for row in self.history if row.val_mse is not None]
        if is_settled(errors, self.config.min_epochs, self.config.patience, self.least_gain):
            self.settled = self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        history = [asdict(row) for row in self.history]
        checkpoint["cfcli"] = {
            "history": history,
            "trace": self.trace,
            "fingerprint": self.fingerprint,
            "settings": self.settings(),
            "state": self.state(),
        }

    def settings(self) -> str:
        """Those that must be the same for a training to go on."""
        values, keys = self.config.values(), keys_of(TrainConfig).values()
        fixed = {key.name: values[key.name] for key in keys if not key.facts.may_change}
        return json.dumps(fixed, sort_keys=True)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        found = checkpoint["cfcli"]
        if found["fingerprint"] != self.fingerprint:
            raise ArtifactError("is of another dataset; prepare that one again")
        if found["settings"] != self.settings():
            raise ArtifactError("is of another run, or config.toml was changed")
        self.history = [Epoch(**row) for row in found["history"]]
        self.trace = [(int(step), float(mse)) for step, mse in found["trace"]]
        self.load_state(found["state"])
        # A limit of time is for one go, not for all of them.
        checkpoint["callbacks"] = {
            k: v for k, v in checkpoint["callbacks"].items() if not k.startswith("Timer")
        }
