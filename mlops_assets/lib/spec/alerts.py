"""Where a value of the running model becomes somebody's business."""

from typing import Annotated

from pydantic import Field

from mlops_assets.lib.spec.model import Model, Share

Seconds = Annotated[float, Field(gt=0)]
# Dagster looks at freshness in minutes.
Days = Annotated[float, Field(ge=0.01)]


class ShareLevels(Model):
    """A share that warns, and one that is critical."""

    warning: Share
    critical: Share


class SecondsLevels(Model):
    """A time that warns, and one that is critical."""

    warning: Seconds
    critical: Seconds


class StaleDays(Model):
    """After how many days without anything new an asset is stale; None for never.

    Attributes:
        raw: Only a team knows how often its data come.
        live_drift: A day of answers is judged soon after it is over.
    """

    raw: Days | None = None
    live_drift: Days | None = 2.0


class Alerts(Model):
    """The levels at which somebody is told, and how often.

    Attributes:
        accuracy: Of live predictions, measured or estimated; below it.
        error_rate: Share of requests that the server answered with a 5xx; above it.
        latency_p95_seconds: 95th percentile of the time to answer; above it.
        stale_days: By asset.
        repeat_hours: What is still wrong after so long is told again.
    """

    accuracy: ShareLevels = ShareLevels(warning=0.75, critical=0.70)
    error_rate: ShareLevels = ShareLevels(warning=0.02, critical=0.05)
    latency_p95_seconds: SecondsLevels = SecondsLevels(warning=0.5, critical=1.0)
    stale_days: StaleDays = StaleDays()
    repeat_hours: Annotated[float, Field(gt=0)] = 24.0

    @property
    def levels(self) -> dict[str, ShareLevels | SecondsLevels]:
        """The levels, by what they are about."""
        return {
            "accuracy": self.accuracy,
            "error_rate": self.error_rate,
            "latency_p95_seconds": self.latency_p95_seconds,
        }
