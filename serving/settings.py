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
    "use_case": (("SERVING_USE_CASE",), "the use case to serve; required"),
    "storage_root": (
        ("SERVING_STORAGE_ROOT", "MLOPS_STORAGE_ROOT"),
        "a folder or s3://bucket/prefix; default: $MLOPS_HOME/storage or .mlops/storage",
    ),
    "environment": (("SERVING_ENVIRONMENT", "MLOPS_ENVIRONMENT"), "default: dev"),
    "host": (("SERVING_HOST",), "default: 127.0.0.1"),
    "port": (("SERVING_PORT",), "default: 8000; 0 lets the system choose"),
    "poll_seconds": (("SERVING_POLL_SECONDS",), "how often to look for a new version; default: 1"),
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


class Settings(BaseModel):
    """What the server needs to know before it starts.

    Attributes:
        use_case: The use case to serve; one a process.
        storage_root: Where bundles and desired states lie: a local folder, or
            `s3://bucket/prefix`.
        environment: Which desired state to follow, `<environment>.json`.
        host: The address to listen on.
        port: The port to listen on; 0 lets the system choose one.
        poll_seconds: How often the desired state is looked at, 0.2 to 60 s.
        log_level: The least severe level that is logged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use_case: Name
    storage_root: Annotated[str, BeforeValidator(_root)]
    environment: Name = "dev"
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    poll_seconds: float = Field(default=1.0, ge=0.2, le=60.0)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda v: str(v).upper())
    ] = "INFO"

    @property
    def desired_state(self) -> str:
        """The file that says what to serve, under the storage root."""
        return f"{self.use_case}/desired/{self.environment}.json"


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
    if not values["use_case"]:
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
    return "--" + name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serve the champion of one use case."
    )
    for name, (variables, purpose) in _SOURCES.items():
        parser.add_argument(_option(name), help=f"{purpose} (or {', '.join(variables)})")
    return parser
