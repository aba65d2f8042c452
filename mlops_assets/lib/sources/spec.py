"""The sources of a spec, told apart by ``kind``.

Credentials are in the environment: a spec names the variable, never the value.
"""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mlops_assets.lib.spec.cron import Cron
from mlops_assets.lib.spec.model import Model

GIB = 1 << 30
# What a query parameter that holds a secret is usually called.
SECRET_NAMES = re.compile(r"token|secret|passw|signature|credential|api_?key|^sig$|^key$", re.I)

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Attempts = Annotated[int, Field(ge=1, le=20)]
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def _without_secrets(url: str) -> str:
    """Refuse an address that lets somebody in; the message does not repeat it."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "the URL holds a user or a password: name environment variables in the spec instead"
        )
    secret = [name for name, _ in parse_qsl(parts.query) if SECRET_NAMES.search(name)]
    if secret:
        raise ValueError(
            f"the URL's parameter {secret[0]!r} looks like a secret: name an environment variable "
            "in the spec instead"
        )
    return url


Url = Annotated[str, AfterValidator(_without_secrets)]


class _Source(Model):
    """What every source has.

    Attributes:
        name: Names the asset ``<use case>/sources/<name>``.
        schedule: When it is fetched, as five cron fields in UTC; None: only when somebody asks.
    """

    name: SourceName
    schedule: Cron | None = None

    @property
    def variables(self) -> list[str]:
        """The environment variables without which the source is not let in."""
        return []


class FilesSource(_Source):
    """Files of a folder or of an S3-compatible bucket.

    Attributes:
        url: ``/folder``, ``/folder/*.csv``, ``s3://bucket/prefix/`` or ``s3://bucket/*.parquet``. A
            folder is taken with all that lies below it.
        endpoint_env: Variable with the address of the store; without it the client's own rules hold
            (``AWS_ENDPOINT_URL``, else Amazon).
        key_env: Variable with the access key. Without it the client's own rules hold
            (``AWS_ACCESS_KEY_ID``, a profile, the role of the pod).
        secret_env: Variable with the secret key.
        max_bytes: A larger file is refused.
        attempts: How often a request is made of a store that answers 5xx or not at all.
        timeout_seconds: How long each of them may take to connect, or to send the next bytes.
    """

    kind: Literal["files"]
    url: Url
    endpoint_env: Variable | None = None
    key_env: Variable | None = None
    secret_env: Variable | None = None
    max_bytes: Bytes = 100 * GIB
    attempts: Attempts = 6
    timeout_seconds: Seconds = 60.0

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        local = self.url.startswith(("/", "~/"))
        if not local and not re.fullmatch(r"s3://[^/*?\[]+(/.*)?", self.url):
            raise ValueError(
                f"url {self.url!r}: an absolute path or s3://bucket/... is expected; for a file "
                "behind http(s) use kind: http"
            )
        if (self.key_env is None) != (self.secret_env is None):
            raise ValueError("key_env and secret_env belong together")
        if local and self.variables:
            raise ValueError("endpoint_env, key_env and secret_env are for s3:// only")
        return self

    @property
    def variables(self) -> list[str]:
        named = (self.endpoint_env, self.key_env, self.secret_env)
        return [variable for variable in named if variable]


class HttpSource(_Source):
    """One file behind a URL.

    Attributes:
        url: ``http://`` or ``https://``.
        headers_env: Header by variable, for example ``Authorization: CRM_TOKEN``. They are sent to
            the URL's own server only, not to where it redirects.
        sha256: Digest that the file must have, if it never changes.
        max_bytes: A larger file is refused.
        attempts: How often it is asked for while the server answers 5xx, 429 or not at all.
        timeout_seconds: How long an attempt may take to connect, or to send the next bytes.
        most_seconds: How long a whole download may take.
    """

    kind: Literal["http"]
    url: Url
    headers_env: dict[str, Variable] = Field(default_factory=dict)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    max_bytes: Bytes = 10 * GIB
    attempts: Attempts = 5
    timeout_seconds: Seconds = 30.0
    most_seconds: Seconds = 3600.0

    @model_validator(mode="after")
    def _is_http(self) -> Self:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise ValueError(f"url {self.url!r}: http:// or https:// and a host are expected")
        return self

    @property
    def variables(self) -> list[str]:
        return sorted(set(self.headers_env.values()))


class DatabaseSource(_Source):
    """New rows of a query, as one batch or several.

    Attributes:
        url_env: Variable with the SQLAlchemy URL, password included.
        query: Selects the rows whose watermark is above ``:watermark``, in the watermark's order.
        watermark: A column of the result that only grows: a number or a time, never NULL.
        start: Where the first fetch begins: rows above it are taken.
        batch_rows: Rows of one batch. Rows of an equal watermark stay together, so that one may
            have more.
    """

    kind: Literal["database"]
    url_env: Variable
    query: str
    watermark: str
    start: int | float | str
    batch_rows: Annotated[int, Field(ge=1)] = 500_000

    @model_validator(mode="after")
    def _has_a_watermark(self) -> Self:
        if not re.search(r"(?<![:\w]):watermark\b", self.query):
            raise ValueError(
                "query: it must select the rows above :watermark, for example "
                f"`where {self.watermark} > :watermark order by {self.watermark}`"
            )
        return self

    @property
    def variables(self) -> list[str]:
        return [self.url_env]


class SyntheticSource(_Source):
    """Generated rows: each fetch is one more batch, drawn with the next seed.

    Attributes:
        generator: One of ``mlops_assets.lib.synthetic``.
        rows: Of one batch.
        seed: Of the first batch.
        options: Further options of the generator.
    """

    kind: Literal["synthetic"]
    generator: str
    rows: Annotated[int, Field(ge=1)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 1
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        from mlops_assets.lib.synthetic import GENERATORS

        if self.generator not in GENERATORS:
            raise ValueError(
                f"generator: there is no {self.generator!r}; there are: {', '.join(GENERATORS)}"
            )
        taken = {"rows", "seed"} & set(self.options)
        if taken:
            raise ValueError(f"options: {', '.join(sorted(taken))} is set beside options")
        GENERATORS[self.generator].options(rows=self.rows, seed=self.seed, **self.options)
        return self


Source = Annotated[
    FilesSource | HttpSource | DatabaseSource | SyntheticSource, Field(discriminator="kind")
]
