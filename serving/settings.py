"""Every setting of the server in one place, so that its start either succeeds or says why not."""

import argparse
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

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
    "cache": (
        ("SERVING_CACHE",),
        "a folder for local copies of bundles, shared by the servers of a machine; default: "
        "$MLOPS_HOME/serving-cache or ~/.cache/mlops-serving for S3 and MLflow, none for a folder",
    ),
    "bundle": (("SERVING_BUNDLE",), "serve this folder, and follow no desired state"),
    "bundle_digest": (("SERVING_BUNDLE_DIGEST",), "what --bundle or --from-mlflow must have"),
    "from_mlflow": (
        ("SERVING_FROM_MLFLOW",),
        "serve models:/<name>@<alias> or models:/<name>/<version> as it is at start",
    ),
    "mlflow_tracking_uri": (("MLFLOW_TRACKING_URI",), "the server that --from-mlflow asks"),
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


def _is_loopback(host: str) -> bool:
    # A name could lead anywhere; it counts as one that others can reach.
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Settings(BaseModel):
    """What the server needs to know before it starts.

    Attributes:
        use_cases: The use cases to serve.
        storage_root: Where bundles and desired states lie: a local folder, or
            `s3://bucket/prefix`.
        cache: A folder for local copies of bundles; None for the usual one, which is none where
            the storage root is a folder.
        bundle: A folder with a bundle to serve in place of a desired state's, or None.
        bundle_digest: The digest that `bundle` or `from_mlflow` must have.
        from_mlflow: A version in MLflow to serve in place of a desired state's, or None.
        mlflow_tracking_uri: The server that knows the version.
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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use_cases: Annotated[tuple[Name, ...], BeforeValidator(_names), Field(min_length=1)]
    storage_root: Annotated[str, BeforeValidator(_root)]
    cache: Path | None = None
    bundle: Path | None = None
    bundle_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    from_mlflow: (
        Annotated[str, Field(pattern=r"^models:/[^/@:]+(@[A-Za-z0-9_.-]+|/[0-9]+)$")] | None
    ) = None
    mlflow_tracking_uri: str = ""
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

    @model_validator(mode="after")
    def _fixed(self) -> "Settings":
        """Refuse what is fixed at start if it is not one thing that can be found."""
        if self.bundle is None and self.from_mlflow is None:
            if self.bundle_digest:
                raise ValueError("--bundle-digest says what --bundle or --from-mlflow must have")
            return self
        if self.bundle and self.from_mlflow:
            raise ValueError("--bundle and --from-mlflow: give one of them")
        if len(self.use_cases) > 1:
            raise ValueError("--bundle and --from-mlflow serve one use case")
        server = urlsplit(self.mlflow_tracking_uri)
        if self.from_mlflow and (server.scheme not in ("http", "https") or not server.hostname):
            raise ValueError("--from-mlflow needs MLFLOW_TRACKING_URI, http://… or https://…")
        if self.from_mlflow and "@" in server.netloc:
            # It is shown and logged.
            raise ValueError(
                "MLFLOW_TRACKING_URI holds a password: give MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        if self.bundle and not self.bundle_digest and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached by others: say which bundle they may be served "
                "with --bundle-digest"
            )
        return self

    def origin(self, use_case: str) -> str:
        """Who says what to serve of a use case, for people."""
        if self.from_mlflow:
            return f"{self.from_mlflow} at {self.mlflow_tracking_uri}"
        return str(self.bundle or f"{self.storage_root}/{self.desired_state(use_case)}")

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
    if values["storage_root"] is None:
        home = environ.get("MLOPS_HOME") or ".mlops"
        values["storage_root"] = f"{home}/storage"
    if not values["use_cases"]:
        raise SettingsError("no use case to serve: give --use-case NAME or set SERVING_USE_CASE")
    try:
        return Settings.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(map(_explain, error.errors()))) from None


def _explain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
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
