"""Every setting of the server in one place, so that its start either succeeds or says why not."""

import argparse
import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from serving.access import tls
from serving.access.keys import ApiKeys, parse_api_keys
from serving.bundle.signature import Trust, parse_digests, parse_public_keys
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
    "trusted_keys": (
        ("SERVING_TRUSTED_KEYS",),
        "public keys that may sign bundles, base64, comma separated; with one, bundles must be "
        "signed",
    ),
    "trusted_keys_file": (("SERVING_TRUSTED_KEYS_FILE",), "more of them, one a line"),
    "allowed_digests": (
        ("SERVING_ALLOWED_DIGESTS",),
        "bundles that are served without a signature, comma separated",
    ),
    "api_keys": (("SERVING_API_KEYS",), "who may ask: name:sha256, comma separated"),
    "api_keys_file": (
        ("SERVING_API_KEYS_FILE",),
        "more of them, one a line; read again when it changes",
    ),
    "insecure_no_api_keys": (
        ("SERVING_INSECURE_NO_API_KEYS",),
        "true: answer everybody, on an address that others can reach, too",
    ),
    "open_metrics": (("SERVING_OPEN_METRICS",), "true: /metrics needs no API key"),
    "rate": (("SERVING_RATE",), "requests a second for each client; default: no limit"),
    "burst": (("SERVING_BURST",), "requests at once for each client; default: 2 s of the rate"),
    "tls_certificate": (("SERVING_TLS_CERTIFICATE",), "serve HTTPS with this PEM file"),
    "tls_key": (("SERVING_TLS_KEY",), "the key of the certificate, PEM without a passphrase"),
    "tls_client_ca": (
        ("SERVING_TLS_CLIENT_CA",),
        "let in only clients with a certificate of these authorities, PEM",
    ),
    "largest_body": (("SERVING_LARGEST_BODY",), "bytes; default: 1048576"),
    "body_seconds": (
        ("SERVING_BODY_SECONDS",),
        "within which a request must have arrived; default: 20",
    ),
}
# Given as options they would be seen in the list of processes; read as secrets, they are never
# repeated in a message: somebody may have put the wrong half there.
_SECRET: Final = frozenset({"trusted_keys", "api_keys"})
# An option that may stand alone.
_SWITCHES: Final = frozenset({"insecure_no_api_keys", "open_metrics"})
_PRODUCTION: Final = "production"


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


def _read_by(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Read text as a list of the kind that `parse` reads."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _is_loopback(host: str) -> bool:
    # A name could lead anywhere; it counts as one that others can reach.
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        trusted_keys: Public keys that may sign bundles, 32 bytes, by their id.
        trusted_keys_file: A file with more of them.
        allowed_digests: Bundles that need no signature.
        api_keys: Names of API keys by their SHA-256, 32 bytes.
        api_keys_file: A file with more of them.
        insecure_no_api_keys: Whether to answer everybody on an address that others can reach.
        open_metrics: Whether /metrics needs no API key.
        rate: Requests a second for each client, over all workers, or None for no limit.
        burst: Requests at once for each client, or None for two seconds of the rate.
        tls_certificate: The server's certificate, or None for plain HTTP.
        tls_key: Its key.
        tls_client_ca: Authorities of the certificates that clients must have, or None.
        largest_body: Bytes of a request's body, 1 KiB to 16 MiB.
        body_seconds: Within which a request must have arrived, 1 to 300 s.
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
    trusted_keys: Annotated[dict[str, bytes], BeforeValidator(_read_by(parse_public_keys))] = {}
    trusted_keys_file: Path | None = None
    allowed_digests: Annotated[frozenset[str], BeforeValidator(_read_by(parse_digests))] = (
        frozenset()
    )
    api_keys: Annotated[dict[bytes, str], BeforeValidator(_read_by(parse_api_keys))] = Field(
        default={}, repr=False
    )
    api_keys_file: Path | None = None
    insecure_no_api_keys: bool = False
    open_metrics: bool = False
    rate: float | None = Field(default=None, ge=0.01, le=1e6)
    burst: int | None = Field(default=None, ge=1, le=10**6)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    largest_body: int = Field(default=1 << 20, ge=1 << 10, le=1 << 24)
    body_seconds: float = Field(default=20.0, ge=1.0, le=300.0)

    @model_validator(mode="after")
    def _safe(self) -> "Settings":
        """Refuse to start where nobody would notice that a door is open, or a file is wrong."""
        if self.environment == _PRODUCTION and not self.trust():
            raise ValueError(
                "environment 'production' serves only bundles that somebody vouches for: set "
                "SERVING_TRUSTED_KEYS (or …_FILE) or SERVING_ALLOWED_DIGESTS"
            )
        self.trust()
        keys = ApiKeys(self.api_keys, self.api_keys_file)
        if not keys and not self.insecure_no_api_keys and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached by others: set SERVING_API_KEYS or "
                "SERVING_API_KEYS_FILE (`mlops keys api NAME` makes a key), or say "
                "--insecure-no-api-keys"
            )
        tls.uvicorn_options(self.tls_certificate, self.tls_key, self.tls_client_ca)
        return self

    def trust(self) -> Trust:
        """Who may vouch for a bundle.

        Raises:
            ValueError: The file of keys cannot be read, or holds something else.
        """
        path, keys = self.trusted_keys_file, self.trusted_keys
        if path is not None:
            try:
                more = parse_public_keys(path.read_text("utf-8"))
            except OSError as error:
                raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ValueError(f"{path}: not UTF-8 text") from None
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if not more:
                raise ValueError(f"{path}: holds no key")
            keys = {**keys, **more}
        return Trust(keys, self.allowed_digests)

    @property
    def requests_at_once(self) -> int:
        """How many requests of a client may come at once, where they have a rate."""
        return self.burst or math.ceil(2 * (self.rate or 0))

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
        vouched = self.bundle_digest or self.trust()
        if self.bundle and not vouched and not _is_loopback(self.host):
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
        name: options.get(name) or next((environ[v] for v in variables if environ.get(v)), None)
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
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    if name in _SECRET:
        return f"{_SOURCES[name][0][0]}: {message}"
    return f"{_option(name)} or {_SOURCES[name][0][0]} = {problem['input']!r:.80}: {message}"


def _option(name: str) -> str:
    # Nearly always one is served.
    return "--use-case" if name == "use_cases" else "--" + name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serve the champions of use cases."
    )
    for name, (variables, purpose) in _SOURCES.items():
        if name in _SECRET:
            continue
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if name in _SWITCHES else {}
        parser.add_argument(
            _option(name), dest=name, help=f"{purpose} (or {', '.join(variables)})", **alone
        )
    return parser
