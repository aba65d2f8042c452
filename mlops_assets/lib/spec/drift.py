"""When new rows count as drifted from those that the champion was trained on."""

from datetime import date
from typing import Annotated

from pydantic import Field

from mlops_assets.lib.spec.model import Model, Share

Size = Annotated[float, Field(ge=0)]


class MinimumEffect(Model):
    """How large a difference must be to matter, however sure it is.

    Attributes:
        shift: Wasserstein distance of a number, in standard deviations of the reference.
        stability_index: Population stability index of a number or a category.
        jensen_shannon: Jensen-Shannon distance of a category.
        missing: Difference of the shares of missing values.
    """

    shift: Size = 0.1
    stability_index: Size = 0.1
    jensen_shannon: Size = 0.1
    missing: Share = 0.05

    def limit(self, effect: str) -> float:
        """The least of an effect, by its name."""
        return float(getattr(self, effect))


class Drift(Model):
    """When a window of new rows has drifted.

    Attributes:
        minimum_rows: A window with fewer rows is not judged, nor a column with fewer values.
        false_discovery_rate: Expected share of false findings among the columns that are found.
        minimum_effect: A column has drifted if it is found and one of these is reached, too.
        columns: So many drifted columns, the score counted as one, make a drifted window.
        since: The first day of the prediction log that ``live_drift`` has a partition for.
        report_rows: Rows of each side that Evidently draws its report from.
    """

    minimum_rows: Annotated[int, Field(ge=20)] = 100
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    minimum_effect: MinimumEffect = MinimumEffect()
    columns: Annotated[int, Field(ge=1)] = 1
    since: date = date(2026, 1, 1)
    report_rows: Annotated[int, Field(ge=100, le=50_000)] = 5_000
