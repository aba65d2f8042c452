"""What is recorded of answers, and how it gets to the storage; see `serving.prediction_log`."""

from typing import Annotated, Literal

from pydantic import Field

from serving.settings.declared import Concern, Given


class PredictionLogSettings(Concern):
    """Whether answers are recorded, what of them, and in how much room."""

    prediction_log: bool = Field(
        default=True,
        description="whether predictions and feedback are recorded, under the storage root",
    )
    log_inputs: bool = Field(default=True, description="whether the values of requests are kept")
    log_features: bool = Field(default=True, description="whether the features are kept")
    log_entity_ids: bool = Field(default=True, description="whether ids of entities are kept")
    log_shadow_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="the share of a shadow's predictions that is kept, 0 to 1",
    )
    log_when_full: Literal["drop", "refuse"] = Field(
        default="drop",
        description="drop: answer and count what is not kept; refuse: answer 503",
    )
    # The field's default is for whoever makes the settings by hand.
    log_spool: Annotated[str, Given(home="spool")] = Field(
        default=".mlops/spool",
        min_length=1,
        description="a folder on a local disk for records on their way to the storage, which any "
        "number of workers may share",
    )
    log_spool_mb: int = Field(
        default=1024, ge=1, description="the most that a worker's part of the spool may hold, MiB"
    )
    log_roll_seconds: float = Field(
        default=30.0, ge=0.1, le=3600, description="how often records become a file of the storage"
    )
    log_roll_records: int = Field(
        default=50_000, ge=1, le=1_000_000, description="with so many they become one earlier"
    )
    log_queue_records: int = Field(
        default=20_000, ge=1, description="records that may wait in memory"
    )
    log_queue_mb: int = Field(default=64, ge=1, description="memory they may take, MiB, roughly")
