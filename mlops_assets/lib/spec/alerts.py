"""Where a value of the running model becomes somebody's business."""

from typing import Annotated

from pydantic import Field

from mlops_assets.lib.spec.model import Model, Share

Seconds = Annotated[float, Field(gt=0)]


class ShareLevels(Model):
    """A share that warns, and one that is critical."""

    warning: Share
    critical: Share


class SecondsLevels(Model):
    """A time that warns, and one that is critical."""

    warning: Seconds
    critical: Seconds


class Alerts(Model):
    """The levels at which somebody is told.

    Attributes:
        accuracy: Of live predictions, measured or estimated; below it.
        error_rate: Share of requests that the server answered with a 5xx; above it.
        latency_p95_seconds: 95th percentile of the time to answer; above it.
    """

    accuracy: ShareLevels = ShareLevels(warning=0.75, critical=0.70)
    error_rate: ShareLevels = ShareLevels(warning=0.02, critical=0.05)
    latency_p95_seconds: SecondsLevels = SecondsLevels(warning=0.5, critical=1.0)
