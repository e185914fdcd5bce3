"""What a training does once early stopping has spoken: it trains on with the rows that were held
out, and fits the interest model."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.splits import NAMES
from cfcli.core.metrics.lists import liked_from
from cfcli.core.pair import Pair
from cfcli.core.training.epochs import Progress
from cfcli.core.training.plan import memory
from cfcli.core.training.plan.machine import available
from cfcli.core.training.plan.sizing import Job

if TYPE_CHECKING:
    from cfcli.core.training.interest import FittedInterest
    from cfcli.core.training.list_settings import Settings
    from cfcli.core.training.trained import TrainedModel

MAX_TIME = "--max-time"
SIDES = {"none": ("train",), "val": ("train", "val"), "all": NAMES}  # by ``refit``


@dataclass(frozen=True)
class Models:
    """The models of a run.

    Attributes:
        rating: the rating model.
        sides: of the split that it was trained on.
        interest: the interest model, or why there is none.
        reason: why the rating model was not trained on more sides, where that was asked for.
    """

    rating: "TrainedModel"
    sides: tuple[str, ...]
    interest: "FittedInterest | str"
    reason: str | None = None

    @property
    def lacks_time(self) -> bool:
        """Whether something was left out that more time would allow."""
        said = (self.reason, self.interest)
        return any(isinstance(text, str) and text.startswith(MAX_TIME) for text in said)


@dataclass(frozen=True)
class Finish:
    """The rest of a training.

    Attributes:
        dataset: that it is on.
        config: its settings.
        model: the rating model, trained on the training rows.
        progress: hears what is done.
        until: when to be done, by ``time.perf_counter``: what cannot be is left out.
        keeps_twin: whether each refit keeps a twin, and not only one on all rows.
    """

    dataset: Dataset
    config: TrainConfig
    model: "TrainedModel"
    progress: Progress
    until: float | None
    keeps_twin: bool = False

    def models(self) -> list[Models]:
        """The models of the run; before them those of its twin, where it needs one.

        Raises:
            StoppedError: a signal came.
            GateError: the training diverged.
            MachineError: no space.
        """
        wanted = self._with_rows(self.config.refit or "none")
        refitted, reason = self._refitted(wanted)
        if refitted is not None and (self.keeps_twin or self.config.refit == "all"):
            first = last = self._interest(self.model, ("train",))
            if not isinstance(first, str):
                last = self._interest(refitted, wanted, first.settings)
            return [Models(self.model, ("train",), first), Models(refitted, wanted, last)]
        sides = self._with_rows("none" if self.config.refit == "none" else "val")
        interest = self._interest(self.model, sides)
        if refitted is None:
            return [Models(self.model, ("train",), interest, reason)]
        return [Models(refitted, wanted, interest)]

    def _with_rows(self, refit: str) -> tuple[str, ...]:
        """The sides of the split that have rows."""
        return tuple(side for side in SIDES[refit] if self.dataset.info.rows(side))

    def _refitted(self, sides: tuple[str, ...]) -> "tuple[TrainedModel | None, str | None]":
        """The rating model, trained on with all sides, or why not."""
        if len(sides) == 1:
            return None, None
        if self.config.why_no_refit:
            return None, self.config.why_no_refit
        from cfcli.core.training.job import TrainingData
        from cfcli.core.training.refit import refit

        self.progress.stage(f"continuing with the {' and '.join(sides[1:])} rows")
        half_life, times = self.config.half_life_seconds(), self.config.gibbs.times
        rows = self.dataset.training_rows(sides, half_life, times=times)
        info = self.dataset.info
        data = TrainingData(
            rows,
            rows.clear(),
            info.users,
            info.items,
            scale=info.rating_scale,
            attributes=self.dataset.attributes,
        )
        del rows
        found = refit(self.model, data, self.config, self.until)
        return found, None if found else f"{MAX_TIME} {self.config.max_time} is too short for it"

    def _interest(
        self, model: "TrainedModel", sides: tuple[str, ...], settings: "Settings | None" = None
    ) -> "FittedInterest | str":
        """The interest model, or why there is none."""
        config, info = self.config, self.dataset.info
        if config.interest is False:
            return "--no-interest"
        if self.until is not None and time.perf_counter() >= self.until and settings is None:
            return f"{MAX_TIME} {config.max_time} was over"
        job = Job.of(info)
        machine = available(config, self.dataset.path)
        if not memory.has_interest(config, job, machine):
            needed, free = memory.size(int(memory.interest(job))), memory.size(machine.memory or 0)
            return f"it needs {needed} of memory where {free} are free, or more disk than there is"
        from cfcli.core.training.interest import fit

        self.progress.stage("fitting the interest model")
        shape = model.shape
        return fit(
            {name: self.dataset.blocks(name) for name in NAMES},
            Pair(info.users, info.items),
            model.predictor(config.model),
            liked_from(shape.low, shape.high),
            config.seed,
            on=sides,
            settings=settings,
            until=self.until,
        )
