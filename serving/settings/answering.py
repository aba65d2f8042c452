"""Where requests are answered, by how many processes, and how long each may take."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from serving.settings.declared import Concern


class AnsweringSettings(Concern):
    """The address, the workers, their queues and their deadlines.

    Attributes:
        worker: Which of the workers this process is, from 0; its supervisor tells it.
    """

    host: str = Field(default="127.0.0.1", min_length=1, description="the address to listen on")
    port: int = Field(
        default=8000, ge=0, le=65535, description="the port; 0 lets the system choose"
    )
    workers: int = Field(default=1, ge=1, le=64, description="processes that answer")
    worker: int = Field(default=0, ge=0)
    batch_rows: int = Field(
        default=1000, ge=1, le=10_000, description="rows that one request may hold"
    )
    queue_rows: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="rows that may wait for a version; several times what a request may hold, or "
        "large requests are refused under load",
    )
    answer_seconds: float = Field(
        default=2.0, gt=0, le=60.0, description="after which a request that still waits is refused"
    )
    challenger_seconds: float = Field(
        default=0.25,
        gt=0,
        le=60.0,
        description="after which the champion answers in a challenger's place",
    )
    drain_seconds: float = Field(
        default=1.0, ge=0, le=300.0, description="how long clients are sent away before a stop"
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda v: str(v).upper())
    ] = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
