"""Every setting of the server in one place, so that its start either succeeds or says why not."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from serving.storage.bucket import SCHEME, check_url

# Names become parts of paths, so they hold nothing that could lead out of the storage root.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]

# The variables of each setting, first one wins, and what it is for. The command line comes first.
_SOURCES: dict[str, tuple[tuple[str, ...], str]] = {
    "use_cases": (("SERVING_USE_CASE",), "the use cases to serve, a comma between; required"),
    "storage_root": (
        ("SERVING_STORAGE_ROOT", "MLOPS_STORAGE_ROOT"),
        "a folder or s3://bucket/prefix; default: $MLOPS_HOME/storage or .mlops/storage",
    ),
    "environment": (("SERVING_ENVIRONMENT", "MLOPS_ENVIRONMENT"), "default: dev"),
    "host": (("SERVING_HOST",), "default: 127.0.0.1"),
    "port": (("SERVING_PORT",), "default: 8000; 0 lets the system choose"),
    "poll_seconds": (("SERVING_POLL_SECONDS",), "how often to look for a new version; default: 1"),
    "workers": (("SERVING_WORKERS",), "processes that answer; default: 1"),
    "queue_rows": (("SERVING_QUEUE_ROWS",), "rows that may wait for a version; default: 1024"),
    "batch_rows": (("SERVING_BATCH_ROWS",), "rows that one request may hold; default: 1000"),
    "answer_seconds": (
        ("SERVING_ANSWER_SECONDS",),
        "after which a request that still waits is refused; default: 2",
    ),
    "challenger_seconds": (
        ("SERVING_CHALLENGER_SECONDS",),
        "after which the champion answers in a challenger's place; default: 0.25",
    ),
    "drain_seconds": (
        ("SERVING_DRAIN_SECONDS",),
        "how long clients are sent away before a stop; default: 1",
    ),
    "log_level": (("SERVING_LOG_LEVEL",), "DEBUG, INFO, WARNING or ERROR; default: INFO"),
    "log_spool": (
        ("SERVING_LOG_SPOOL",),
        "a folder on a local disk for predictions on their way to the storage; "
        "default: $MLOPS_HOME/spool or .mlops/spool",
    ),
    "log_spool_mb": (("SERVING_LOG_SPOOL_MB",), "the most the spool may hold; default: 1024"),
    "log_inputs": (("SERVING_LOG_INPUTS",), "whether the values of requests are kept: true"),
    "log_features": (("SERVING_LOG_FEATURES",), "whether the features are kept: true"),
    "log_entity_ids": (("SERVING_LOG_ENTITY_IDS",), "whether ids of entities are kept: true"),
    "log_shadow_share": (
        ("SERVING_LOG_SHADOW_SHARE",),
        "the share of a shadow's predictions that is kept, 0 to 1; default: 1",
    ),
    "log_when_full": (
        ("SERVING_LOG_WHEN_FULL",),
        "drop: answer and count what is not kept; refuse: answer 503; default: drop",
    ),
    "log_roll_seconds": (
        ("SERVING_LOG_ROLL_SECONDS",),
        "how often predictions become a file of the storage; default: 30",
    ),
    "log_roll_records": (
        ("SERVING_LOG_ROLL_RECORDS",),
        "with so many predictions they become one earlier; default: 50000",
    ),
    "log_queue_records": (
        ("SERVING_LOG_QUEUE_RECORDS",),
        "predictions that may wait in memory; default: 20000",
    ),
    "log_queue_mb": (("SERVING_LOG_QUEUE_MB",), "memory they may take; default: 64"),
}


class SettingsError(ValueError):
    """A setting is missing or wrong. The message is one line that names it and how to give it."""


def _root(value: Any) -> str:
    text = str(value).removeprefix("file://")
    if text.startswith(SCHEME):
        return check_url(text)
    if re.match(r"[a-z][a-z0-9+.-]+:", text):
        raise ValueError("give a local folder, file:///folder or s3://bucket/prefix")
    return text


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Settings(BaseModel):
    """What the server needs to know before it starts.

    Attributes:
        use_cases: The use cases to serve.
        storage_root: Where bundles and desired states lie: a local folder, or
            `s3://bucket/prefix`.
        environment: Which desired state to follow, `<environment>.json`.
        host: The address to listen on.
        port: The port to listen on; 0 lets the system choose one.
        poll_seconds: How often the desired state is looked at, 0.2 to 60 s.
        workers: Processes that answer, 1 to 64.
        worker: Which of them this one is, from 0.
        queue_rows: Rows that may wait for a version; more are refused.
        batch_rows: Rows that one request may hold.
        answer_seconds: After which a request that still waits is refused.
        challenger_seconds: After which the champion answers in a challenger's place.
        drain_seconds: How long answers send their clients away before a stop.
        log_level: The least severe level that is logged.
        log_spool: Where predictions wait for the storage; a folder on a local disk, which any
            number of workers may share.
        log_spool_mb: The most a worker's part of the spool may hold.
        log_inputs: Whether the values of requests are kept.
        log_features: Whether the features are kept.
        log_entity_ids: Whether the ids of entities are kept.
        log_shadow_share: The share of a shadow's predictions that is kept.
        log_when_full: Whether what cannot be kept is answered all the same, and counted, or 503.
        log_roll_seconds: How often predictions become a file.
        log_roll_records: With so many they become one earlier.
        log_queue_records: Predictions that may wait in memory.
        log_queue_mb: Memory that they may take, roughly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use_cases: Annotated[tuple[Name, ...], BeforeValidator(_names), Field(min_length=1)]
    storage_root: Annotated[str, BeforeValidator(_root)]
    environment: Name = "dev"
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    poll_seconds: float = Field(default=1.0, ge=0.2, le=60.0)
    workers: int = Field(default=1, ge=1, le=64)
    worker: int = Field(default=0, ge=0)
    queue_rows: int = Field(default=1024, ge=1, le=1_000_000)
    batch_rows: int = Field(default=1000, ge=1, le=10_000)
    answer_seconds: float = Field(default=2.0, gt=0, le=60.0)
    challenger_seconds: float = Field(default=0.25, gt=0, le=60.0)
    drain_seconds: float = Field(default=1.0, ge=0, le=300.0)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda v: str(v).upper())
    ] = "INFO"
    log_spool: str = Field(default=".mlops/spool", min_length=1)
    log_spool_mb: int = Field(default=1024, ge=1)
    log_inputs: bool = True
    log_features: bool = True
    log_entity_ids: bool = True
    log_shadow_share: float = Field(default=1.0, ge=0, le=1)
    log_when_full: Literal["drop", "refuse"] = "drop"
    log_roll_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    log_roll_records: int = Field(default=50_000, ge=1, le=1_000_000)
    log_queue_records: int = Field(default=20_000, ge=1)
    log_queue_mb: int = Field(default=64, ge=1)

    def desired_state(self, use_case: str) -> str:
        """The file that says what to serve of a use case, under the storage root."""
        return f"{use_case}/desired/{self.environment}.json"


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings from the command line, then from the environment, then the defaults.

    Raises:
        SettingsError: A setting is missing or out of its range.
        SystemExit: `--help`, or an option that does not exist.
    """
    options = vars(_parser().parse_args(arguments))
    values = {
        # An empty variable counts as unset: that is how compose files and shells leave one out.
        name: options[name] or next((environ[v] for v in variables if environ.get(v)), None)
        for name, (variables, _) in _SOURCES.items()
    }
    home = environ.get("MLOPS_HOME") or ".mlops"
    values["storage_root"] = values["storage_root"] or f"{home}/storage"
    values["log_spool"] = values["log_spool"] or f"{home}/spool"
    if not values["use_cases"]:
        raise SettingsError("no use case to serve: give --use-case NAME or set SERVING_USE_CASE")
    try:
        return Settings.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(map(_explain, error.errors()))) from None


def _explain(problem: Any) -> str:
    name = str(problem["loc"][0])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{_option(name)} or {_SOURCES[name][0][0]} = {problem['input']!r:.80}: {message}"


def _option(name: str) -> str:
    # Nearly always one is served.
    return "--use-case" if name == "use_cases" else "--" + name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serve the champions of use cases."
    )
    for name, (variables, purpose) in _SOURCES.items():
        parser.add_argument(_option(name), dest=name, help=f"{purpose} (or {', '.join(variables)})")
    return parser
