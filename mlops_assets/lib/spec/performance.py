"""When the answers of a day are judged, and where labels come from beside the server."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from mlops_assets.lib.contract.column import Header
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.model import Model


class Performance(Model):
    """When the answers of a day are judged.

    Attributes:
        minimum_labels: With fewer labelled answers a version is not measured.
        minimum_of_a_class: Nor with fewer labels of the rarer class.
        minimum_rows: With fewer answers nothing is estimated.
        label_horizon_days: A label that names an entity and a time, and no prediction, is about the
            last answer for that entity before that time, if it is no older than this.
    """

    minimum_labels: Annotated[int, Field(ge=20)] = 100
    minimum_of_a_class: Annotated[int, Field(ge=2)] = 10
    minimum_rows: Annotated[int, Field(ge=20)] = 100
    label_horizon_days: Annotated[float, Field(gt=0)] = 90.0


class LabelSource(Model):
    """A source of labels, by the names of its columns.

    Attributes:
        source: Where they come from, of any kind that data come from.
        label: Holds the outcome: a value or a name of one of the two classes. Without it the column
            that holds it in landed data.
        prediction_id: Holds the id of the answer. Without it ``entity`` and ``observed_at`` tell.
        entity: Holds whom the outcome is about.
        observed_at: Holds when the outcome was seen to be true; a time without an offset is UTC.
    """

    source: Source
    label: Header | None = None
    prediction_id: Header | None = None
    entity: Header | None = None
    observed_at: Header | None = None

    @property
    def name(self) -> str:
        """Names the asset ``<use case>/sources/<name>``, and is written as ``source``."""
        return self.source.name

    @model_validator(mode="after")
    def _says_which_answer(self) -> Self:
        if (self.prediction_id is None) == (self.entity is None):
            raise ValueError(
                "a label is about the answer that `prediction_id` names, or about `entity`: "
                "one of them is needed, and not both"
            )
        if self.entity is not None and self.observed_at is None:
            raise ValueError("entity needs observed_at: which of the entity's answers is meant?")
        return self
