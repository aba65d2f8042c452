"""What is kept of what is not needed any more, and how long."""

from typing import Annotated, Literal

from pydantic import Field

from mlops_assets.lib.spec.model import Model

# Folders of the storage whose objects can be made again from what they are made of.
Store = Literal[
    "raw",
    "validated",
    "quarantine",
    "features",
    "training_sets",
    "candidates",
    "evaluations",
    "recipes",
    "bundles",
    "predictions",
]
Days = Annotated[float, Field(ge=0)]


class Retention(Model):
    """What ``mlops prune`` keeps. What serves, waits or can be rolled back to is always kept.

    Attributes:
        champions: Promoted versions that stay ready for a rollback, newest first.
        days: How long everything else is kept: rejected versions, runs of Dagster and MLflow.
        runs: The same for runs alone.
        served: How long a day of the prediction log stays once it is over.
        feedback: The same for labels, by the day on which they were told.
        monitoring: How long records of drift and of performance stay, with their reports. Those of
            a day that is still in the prediction log stay as long as it.
        landed: How long a landed file stays once its batch was ingested, whose raw rows stay.
            Without it for ever.
        stores: How long an object stays after it was made, by the folder that it lies in, though
            nothing needs it any more; without it no day.
    """

    champions: Annotated[int, Field(ge=1)] = 5
    days: Days = 30.0
    runs: Days | None = None
    served: Days = 400.0
    feedback: Days = 400.0
    monitoring: Days = 400.0
    landed: Days | None = None
    stores: dict[Store, Days] = Field(default_factory=dict)

    @property
    def days_of_runs(self) -> float:
        """How long runs of Dagster and MLflow are kept."""
        return self.days if self.runs is None else self.runs
