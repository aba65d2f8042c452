"""What to serve, and from where."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from serving.settings.declared import Concern, Given
from serving.storage.bucket import SCHEME, check_url

# Names become parts of paths, so they hold nothing that could lead out of the storage root.
# As the graph has it: `Production` would be another one than `production`, without its rules.
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def _root(value: Any) -> str:
    text = str(value).removeprefix("file://")
    if text.startswith(SCHEME):
        return check_url(text)
    if re.match(r"[a-z][a-z0-9+.-]+:", text):
        raise ValueError("give a local folder, file:///folder or s3://bucket/prefix")
    return text


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _differ(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is named more than once")
    return names


class OriginSettings(Concern):
    """A desired state in a storage root to follow, or a bundle that is fixed at start."""

    use_cases: Annotated[
        tuple[Name, ...],
        BeforeValidator(_names),
        AfterValidator(_differ),
        # Nearly always one is served.
        Given(option="--use-case", variables=("SERVING_USE_CASE",)),
    ] = Field(min_length=1, description="the use cases to serve, a comma between; required")
    environment: Annotated[
        Environment, Given(variables=("SERVING_ENVIRONMENT", "MLOPS_ENVIRONMENT"))
    ] = Field(default="dev", description="which desired state to follow, <environment>.json")
    storage_root: Annotated[
        str,
        BeforeValidator(_root),
        Given(variables=("SERVING_STORAGE_ROOT", "MLOPS_STORAGE_ROOT"), home="storage"),
    ] = Field(description="where bundles and desired states are: a folder or s3://bucket/prefix")
    poll_seconds: float = Field(
        default=1.0, ge=0.2, le=60.0, description="how often to look for a new version"
    )
    cache: Annotated[
        Path | None,
        Given(
            default="$MLOPS_HOME/serving-cache or ~/.cache/mlops-serving for S3 and MLflow, none "
            "for a folder"
        ),
    ] = Field(
        default=None,
        description="a folder for local copies of bundles, shared by the servers of a machine",
    )
    bundle: Path | None = Field(
        default=None, description="serve this folder, and follow no desired state"
    )
    bundle_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="the digest that --bundle or --from-mlflow must have"
    )
    from_mlflow: (
        Annotated[str, Field(pattern=r"^models:/[^/@:]+(@[A-Za-z0-9_.-]+|/[0-9]+)$")] | None
    ) = Field(
        default=None,
        description="serve models:/<name>@<alias> or models:/<name>/<version> as it is at start",
    )
    mlflow_tracking_uri: Annotated[str, Given(variables=("MLFLOW_TRACKING_URI",))] = Field(
        default="", description="the server that --from-mlflow asks"
    )

    @model_validator(mode="after")
    def _fixed(self) -> Self:
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
        return self

    def origin(self, use_case: str) -> str:
        """Who says what to serve of a use case, for people."""
        if self.from_mlflow:
            return f"{self.from_mlflow} at {self.mlflow_tracking_uri}"
        return str(self.bundle or f"{self.storage_root}/{self.desired_state(use_case)}")

    def desired_state(self, use_case: str) -> str:
        """The file that says what to serve of a use case, under the storage root."""
        return f"{use_case}/desired/{self.environment}.json"
