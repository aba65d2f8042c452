"""When a use case is trained anew without anybody asking for it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlops_assets.lib.spec.cron import Cron
from mlops_assets.lib.spec.gate import FloorMetric
from mlops_assets.lib.spec.model import Model, Share

Hours = Annotated[float, Field(ge=0)]
Which = Literal["measured", "estimated", "either"]


class DriftTrigger(Model):
    """So many drifted windows: batches that no contest has seen, and days since the last one.

    Attributes:
        windows: How many of the newest windows count.
        drifted: So many of them must have drifted from what the champion was trained on.
    """

    windows: Annotated[int, Field(ge=1, le=100)] = 5
    drifted: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.drifted > self.windows:
            raise ValueError(f"{self.drifted} drifted windows out of {self.windows}")
        return self


class PerformanceTrigger(Model):
    """The champion answers worse than it should: the whole interval lies under a floor.

    Attributes:
        floors: The least value by metric; without them that of ``alerts.accuracy.warning``.
        which: ``measured`` with labels, ``estimated`` without, or ``either``: measured where the
            newest day has labels.
    """

    floors: dict[FloorMetric, Share] | None = None
    which: Which = "either"


class Retrain(Model):
    """The retrain policy. A trigger that is null is turned off.

    Whatever triggers, there must be something to learn: rows that no contest has seen, or another
    SQL, contract, plan or choice of batches. The same rows give the same model.

    Attributes:
        new_rows: So many rows that no contest has seen are worth a training by themselves.
        new_rows_cooldown_hours: So long after a contest they wait for more.
        drift: Trains on fewer new rows, since what comes has changed.
        performance: Likewise, since the champion does badly.
        schedule: Likewise, at these times: five cron fields, UTC.
        cooldown_hours: So long after a contest drift, performance and schedule wait.
        attempts: So often a retrain may fail on the same rows; then a person is told.
        backoff_minutes: To wait after a failure; twice as long after each further one, at most a
            day, whatever rows have come.
    """

    new_rows: Annotated[int, Field(ge=1)] | None = 1
    new_rows_cooldown_hours: Hours = 0.0
    drift: DriftTrigger | None = DriftTrigger()
    performance: PerformanceTrigger | None = PerformanceTrigger()
    schedule: Cron | None = "0 3 * * 1"
    cooldown_hours: Hours = 24.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff_minutes: Annotated[float, Field(ge=0)] = 5.0
